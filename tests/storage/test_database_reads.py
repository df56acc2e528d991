"""Units of work that read: each sees one snapshot, changes nothing, and neither waits for the writer nor stops it."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from storage import installation
from storage.database.database import Database
from storage.database.sqlite import READERS
from storage.errors import DatabaseUnavailable
from tests.storage.units_of_work import Pause, add_setting, held, increment, number, setting_names

pytestmark = pytest.mark.sqlite


async def test_read_sees_every_earlier_commit(db: Database) -> None:
    for value in range(20):
        assert await db.read(number) == value
        await db.write(increment)
        assert await asyncio.gather(*(db.read(number) for _ in range(READERS + 1))) == [value + 1] * (READERS + 1)


async def test_read_sees_nothing_of_a_unit_that_is_not_committed(db: Database) -> None:
    with Pause() as pause:

        def unit(tx: sa.Connection) -> None:
            increment(tx)
            pause()

        writing = asyncio.create_task(db.write(unit))
        await pause.reached()
        assert await db.read(number) == 0
    await writing
    assert await db.read(number) == 1


async def test_reads_that_overlap_have_each_a_snapshot_and_let_writes_pass(db: Database) -> None:
    with Pause() as early, Pause() as late:

        def read_twice(tx: sa.Connection, pause: Pause) -> tuple[int, int]:
            before = number(tx)
            pause()
            return before, number(tx)

        reading_early = asyncio.create_task(db.read(read_twice, early))
        await early.reached()
        assert await db.write(increment) == 1
        reading_late = asyncio.create_task(db.read(read_twice, late))
        await late.reached()
        assert await db.write(increment) == 2
        early.release()
        assert await reading_early == (0, 0)
        late.release()
        assert await reading_late == (1, 1)
    assert await db.read(number) == 2


async def test_reads_go_on_while_a_write_blocks(db: Database) -> None:
    await db.write(increment)
    async with held(db.write):
        for _ in range(READERS * 2):
            assert await db.read(number) == 1


async def test_reads_go_on_while_a_read_blocks(db: Database) -> None:
    await db.write(increment)
    async with held(db.read):
        for _ in range(READERS * 2):
            assert await db.read(number) == 1


async def test_more_reads_than_readers_wait_for_a_free_one_and_open_no_more_connections(db: Database) -> None:
    before = connections()
    with Pause() as pause:
        reading = [asyncio.create_task(db.read(lambda tx: pause())) for _ in range(READERS * 3)]
        await pause.reached()
        await db.write(increment)
        assert len(connections() - before) <= READERS + 1
        assert not any(task.done() for task in reading)
    await asyncio.gather(*reading)
    assert len(connections() - before) == READERS + 1
    assert await db.read(number) == 1


async def test_read_that_writes_raises_and_changes_nothing(db: Database) -> None:
    with pytest.raises(DatabaseUnavailable, match="readonly"):
        await db.read(add_setting, "a")
    assert await db.read(setting_names) == []
    assert db.is_writable


async def test_read_that_raises_leaves_the_next_one_in_order(db: Database) -> None:
    def unit(tx: sa.Connection) -> None:
        number(tx)
        raise KeyError

    for expected in range(READERS * 2):
        with pytest.raises(KeyError):
            await db.read(unit)
        assert await db.read(number) == expected
        await db.write(increment)


async def test_unread_rows_of_a_unit_that_raised_hold_no_snapshot(db: Database) -> None:
    """While the exception lives, so does its statement, and SQLite would keep that snapshot for later units."""
    for name in ("a", "b", "c"):
        await db.write(add_setting, name)

    def unit(tx: sa.Connection) -> None:
        result = tx.exec_driver_sql("SELECT name FROM installation_settings")
        raise KeyError(result.fetchone())

    errors = []
    for _ in range(READERS):
        with pytest.raises(KeyError) as caught:
            await db.read(unit)
        errors.append(caught.value)
    with pytest.raises(KeyError) as caught:
        await db.write(unit)
    other = Database(f"sqlite:///{db.path}")
    assert await other.write(increment) == 1
    await other.close()
    assert await asyncio.gather(*(db.read(number) for _ in range(READERS))) == [1] * READERS
    assert await db.write(increment) == 2


async def test_open_result_that_a_unit_returns_holds_no_snapshot(db: Database) -> None:
    for name in ("a", "b", "c"):
        await db.write(add_setting, name)
    results = [
        await db.read(lambda tx: tx.exec_driver_sql("SELECT 1 FROM installation_settings")) for _ in range(READERS)
    ]
    await db.write(increment)
    assert await asyncio.gather(*(db.read(number) for _ in range(READERS))) == [1] * READERS
    assert len(results) == READERS


async def test_event_loop_runs_while_a_read_waits_for_a_locked_file(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/kvit.db", busy_seconds=30)
    await db.migrate()
    await db.write(increment)
    await db.close()
    db = Database(f"sqlite:///{tmp_path}/kvit.db", busy_seconds=30)
    with closing(sqlite3.connect(db.path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("UPDATE installation_settings SET value = '7'")
        reading = asyncio.create_task(db.read(number))
        for _ in range(20):
            await in_another_thread()
        assert not reading.done()
        other.execute("COMMIT")
    assert await reading == 7
    await db.close()


async def test_event_loop_runs_while_a_write_waits_for_another_process(db: Database) -> None:
    with closing(sqlite3.connect(db.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO installation_settings VALUES ('number', '7')")
        writing = asyncio.create_task(db.write(increment))
        for _ in range(20):
            await in_another_thread()
            assert await db.read(installation.get_setting, "number") is None
        assert not writing.done()
        other.execute("COMMIT")
    assert await writing == 8


async def in_another_thread() -> None:
    """Come back once another thread has run and the event loop has noticed."""
    await asyncio.to_thread(lambda: None)


def connections() -> set[sqlite3.Connection]:
    """The connections to SQLite of this process; each has a cache of its own."""
    gc.collect()
    return {one for one in gc.get_objects() if isinstance(one, sqlite3.Connection)}
