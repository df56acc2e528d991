"""A database that is locked, full, missing or closed raises DatabaseUnavailable, loses nothing, and works later."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import aiosqlite
import pytest
import sqlalchemy as sa

from storage.database.database import Database, after_commit
from storage.database.sqlite import READERS
from storage.errors import DatabaseUnavailable
from storage.job_queue import JobQueue
from storage.models.job import NewJob
from tests.storage.programs import command
from tests.storage.units_of_work import (
    TIMEOUT,
    Pause,
    held,
    increment,
    number,
    setting_names,
    write_in_one_batch,
)

pytestmark = pytest.mark.sqlite

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


async def test_lock_that_another_process_holds_too_long_fails_the_write(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/kvit.db", busy_seconds=0.05)
    await db.migrate()
    queue = JobQueue(db, "inbox")
    with closing(sqlite3.connect(db.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailable, match="database is locked"):
            await db.write(increment)
        with pytest.raises(DatabaseUnavailable, match="database is locked"):
            await queue.enqueue(NewJob("a", "lane", "kind"), now=NOW)
        errors = await asyncio.gather(*(db.write(increment) for _ in range(3)), return_exceptions=True)
        assert [type(error) for error in errors] == [DatabaseUnavailable] * 3
        with pytest.raises(DatabaseUnavailable, match="database is locked"):
            await db.run_migration(increment)
        assert await db.read(number) == 0
        other.execute("COMMIT")
    assert await db.write(increment) == 1
    assert await queue.enqueue(NewJob("a", "lane", "kind"), now=NOW) == 1
    await db.close()


@pytest.mark.parametrize("program", ["fill_the_disk", "fill_the_disk_at_commit"])
def test_full_disk_refuses_whole_writes_and_later_ones_succeed(tmp_path: Path, program: str) -> None:
    done = subprocess.run(command(program, tmp_path / "kvit.db"), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    with closing(sqlite3.connect(tmp_path / "kvit.db")) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_full_file_fails_every_unit_of_the_batch_and_leaves_no_open_transaction(db: Database) -> None:
    called: list[None] = []

    def fill(tx: sa.Connection) -> None:
        for index in range(9):
            tx.exec_driver_sql("INSERT INTO installation_settings VALUES (?, ?)", (f"{index}", "x" * 9_000))

    def increment_and_call(tx: sa.Connection) -> int:
        after_commit(tx, lambda: called.append(None))
        return increment(tx)

    pages = await db.write(limit_pages)
    errors = await write_in_one_batch(db, increment_and_call, fill, increment_and_call)
    assert [str(error) for error in errors] == ["the database is out of reach: database or disk is full"] * 3
    assert {type(error) for error in errors} == {DatabaseUnavailable}
    with pytest.raises(DatabaseUnavailable, match="full"):
        await db.write(fill)
    assert await db.read(setting_names) == []
    assert called == []
    other = Database(f"sqlite:///{db.path}", busy_seconds=0)
    assert await other.write(increment) == 1
    await other.close()
    await db.write(limit_pages, pages + 100)
    assert await write_in_one_batch(db, increment_and_call, fill, increment_and_call) == [2, None, 3]
    assert len(called) == 2


async def test_database_counts_as_reachable_again_once_a_row_was_written(db: Database) -> None:
    pages = await db.write(limit_pages)
    with pytest.raises(DatabaseUnavailable, match="full"):
        await db.write(lambda tx: tx.exec_driver_sql("CREATE TABLE large (a)").rowcount)
    assert (db.is_writable, await db.is_reachable()) == (False, False)
    await db.write(limit_pages, pages + 100)
    assert (db.is_writable, await db.is_reachable()) == (False, False)  # no row was written
    await db.write(increment)
    assert (db.is_writable, await db.is_reachable()) == (True, True)


@pytest.mark.parametrize("cause", ["missing folder", "no database"])
async def test_failed_opening_raises_every_time_and_recovers_once_the_cause_is_gone(tmp_path: Path, cause: str) -> None:
    folder = tmp_path / "folder"
    if cause == "no database":
        folder.mkdir()
        (folder / "kvit.db").write_text("Dear bank, " * 1000)
    db = Database(f"sqlite:///{folder}/kvit.db")
    queue = JobQueue(db, "inbox")
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            await db.migrate()
        with pytest.raises(DatabaseUnavailable):
            await db.write(increment)
        with pytest.raises(DatabaseUnavailable):
            await queue.enqueue(NewJob("a", "lane", "kind"), now=NOW)
        outcomes = await asyncio.gather(*(db.read(number) for _ in range(READERS * 2)), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {DatabaseUnavailable}
        assert not await db.has_current_schema()
        assert not await db.is_reachable()
    if cause == "no database":
        (folder / "kvit.db").unlink()
    else:
        folder.mkdir()
    await db.migrate()
    assert await db.write(increment) == 1
    assert await asyncio.gather(*(db.read(number) for _ in range(READERS * 2))) == [1] * READERS * 2
    assert await db.is_reachable()
    await db.close()


async def test_caller_cancelled_while_its_connection_opens_does_not_disturb_the_next_one(db: Database) -> None:
    for run, unit in ((db.read, number), (db.write, increment)):
        first = asyncio.create_task(run(unit))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        assert first.cancelled()
    assert await db.read(number) == 0
    assert await db.write(increment) == 1


async def test_close_finishes_pending_writes_and_refuses_later_ones(db: Database) -> None:
    async with held(db.write):
        writing = [asyncio.create_task(db.write(increment)) for _ in range(70)]
        await asyncio.sleep(0)
        closing_db = asyncio.create_task(db.close())
        await asyncio.sleep(0)
        with pytest.raises(DatabaseUnavailable, match="closed"):
            await db.write(increment)
        with pytest.raises(DatabaseUnavailable, match="closed"):
            await db.read(number)
        assert not closing_db.done()
    await closing_db
    assert all(task.done() for task in writing)
    assert await asyncio.gather(*writing) == list(range(1, 71))
    assert [path.name for path in db.path.parent.glob("kvit.db*")] == ["kvit.db"]  # all connections are closed
    again = Database(f"sqlite:///{db.path}")
    assert await again.read(number) == 70
    await again.close()


async def test_close_finishes_running_reads_and_refuses_waiting_ones(db: Database) -> None:
    with Pause() as pause:

        def unit(tx: sa.Connection) -> int:
            pause()
            return number(tx)

        reading = [asyncio.create_task(db.read(unit)) for _ in range(READERS)]
        await pause.reached()
        waiting = asyncio.create_task(db.read(number))
        await asyncio.sleep(0)
        closing_db = asyncio.create_task(db.close())
        await asyncio.sleep(0)
        assert not closing_db.done()
    assert await asyncio.gather(*reading) == [0] * READERS
    with pytest.raises(DatabaseUnavailable, match="closed"):
        await waiting
    await closing_db


async def test_close_waits_for_a_running_migration(db: Database) -> None:
    with Pause() as pause:

        def unit(tx: sa.Connection) -> int:
            pause()
            return increment(tx)

        migrating = asyncio.create_task(db.run_migration(unit))
        await pause.reached()
        closing_db = asyncio.create_task(db.close())
        await asyncio.sleep(0)
        assert not closing_db.done()
    await closing_db
    assert [path.name for path in db.path.parent.glob("kvit.db*")] == ["kvit.db"]  # all connections are closed
    assert await migrating == 1


async def test_migration_whose_caller_is_cancelled_is_finished_before_the_next_write(db: Database) -> None:
    with Pause() as pause:

        def unit(tx: sa.Connection) -> int:
            pause()
            return increment(tx)

        migrating = asyncio.create_task(db.run_migration(unit))
        await pause.reached()
        migrating.cancel()
        writing = asyncio.create_task(db.write(increment))
        await asyncio.sleep(0)
    assert await writing == 2
    assert migrating.cancelled()


async def test_closed_database_refuses_everything(db: Database) -> None:
    await db.write(increment)
    await db.close()
    for refused in (
        db.write(increment),
        db.read(number),
        db.run_migration(increment),
        db.migrate(),
        JobQueue(db, "inbox").enqueue(NewJob("a", "lane", "kind"), now=NOW),
    ):
        with pytest.raises(DatabaseUnavailable, match="closed"):
            await refused
    assert not await db.is_reachable()
    assert not await db.has_current_schema()


async def test_closing_twice_or_at_the_same_time_closes_once(db: Database) -> None:
    assert await db.write(increment) == 1
    assert await db.read(number) == 1
    await asyncio.gather(db.close(), db.close())
    await db.close()


async def test_closing_before_anything_was_opened_opens_nothing(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/kvit.db")
    before = threading.active_count()
    await db.close()
    assert threading.active_count() == before
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DatabaseUnavailable, match="closed"):
        await db.write(increment)


def test_no_thread_outlives_the_loop_whose_database_was_closed(tmp_path: Path) -> None:
    async def fail_to_open_and_close() -> None:
        db = Database(f"sqlite:///{tmp_path}/nowhere/kvit.db")
        with pytest.raises(DatabaseUnavailable):
            await JobQueue(db, "inbox").enqueue(NewJob("a", "lane", "kind"), now=NOW)
        with pytest.raises(DatabaseUnavailable):
            await db.read(number)
        await db.close()

    async def use_and_close() -> None:
        db = Database(f"sqlite:///{tmp_path}/kvit.db")
        await db.migrate()
        await asyncio.gather(db.write(increment), *(db.read(setting_names) for _ in range(READERS * 2)))
        await db.close()

    before = set(threading.enumerate())
    for run in [fail_to_open_and_close, use_and_close] * 10:
        asyncio.run(run())
        for thread in set(threading.enumerate()) - before:
            thread.join(TIMEOUT)  # it ends by itself, a moment after its last function
            assert not thread.is_alive()


@pytest.mark.parametrize(("error", "code"), [("SystemExit", 7), ("KeyError", 1)])
def test_database_that_is_not_closed_keeps_no_program_from_its_end(tmp_path: Path, error: str, code: int) -> None:
    program = command("end_without_closing", tmp_path / "kvit.db", error)
    assert subprocess.run(program, capture_output=True, timeout=TIMEOUT, check=False).returncode == code


async def test_aiosqlite_execute_runs_functions_on_the_thread_of_the_connection_in_order() -> None:
    """Names what the database uses of aiosqlite's private parts: `_execute`, and `_thread` for its daemon flag."""
    threads, order = [], []

    def connect() -> sqlite3.Connection:
        threads.append(threading.get_ident())
        return sqlite3.connect(":memory:")

    def run(argument: int) -> int:
        threads.append(threading.get_ident())
        order.append(argument)
        if argument == 1:
            raise KeyError(argument)
        return argument

    opening = aiosqlite.Connection(connect, iter_chunk_size=64)
    opening._thread.daemon = True
    async with opening as connection:
        running = [asyncio.create_task(connection._execute(run, argument)) for argument in range(3)]  # type: ignore[no-untyped-call]
        first, raised, last = await asyncio.gather(*running, return_exceptions=True)
    assert (first, type(raised), last) == (0, KeyError, 2)
    assert order == [0, 1, 2]
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


def limit_pages(tx: sa.Connection, most: int | None = None) -> int:
    """Let the file have at most so many pages, by default those it has; returns how many it has."""
    pages: int = tx.exec_driver_sql("PRAGMA page_count").scalar_one()
    tx.exec_driver_sql(f"PRAGMA max_page_count = {most or pages}")
    return pages
