"""Units of work that write: each is one transaction, none loses an update, and waiting ones share a commit."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError
from sqlalchemy.ext.asyncio import create_async_engine

from storage.database.database import Database, after_commit
from storage.database.sqlite import MAX_UNITS_PER_COMMIT
from storage.errors import DatabaseUnavailable
from storage.job_queue import JobQueue
from storage.models.job import NewJob
from storage.schema.shops import members
from tests.storage.programs import command
from tests.storage.units_of_work import (
    Pause,
    Unit,
    add_setting,
    count_commits,
    held,
    increment,
    number,
    setting_names,
    write_in_one_batch,
)

pytestmark = pytest.mark.sqlite

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


async def test_write_returns_what_the_unit_returns(db: Database) -> None:
    assert [await db.write(increment), await db.write(increment)] == [1, 2]
    assert await db.write(add_setting, "by position") == "by position"
    assert await db.write(add_setting, name="by keyword") == "by keyword"


async def test_write_that_raises_is_rolled_back_and_the_error_passes_unchanged(db: Database) -> None:
    error = KeyError("half")

    def unit(tx: sa.Connection) -> None:
        add_setting(tx, "half")
        raise error

    with pytest.raises(KeyError) as caught:
        await db.write(unit)
    assert caught.value is error
    assert await db.read(setting_names) == []
    assert await db.write(increment) == 1


async def test_200_concurrent_increments_are_all_counted(db: Database) -> None:
    results = await asyncio.gather(*(db.write(increment) for _ in range(200)))
    assert sorted(results) == list(range(1, 201))
    assert await db.read(number) == 200


async def test_200_increments_of_ten_tasks_are_all_counted(db: Database) -> None:
    async def twenty() -> None:
        for _ in range(20):
            await db.write(increment)

    await asyncio.gather(*(twenty() for _ in range(10)))
    assert await db.read(number) == 200


async def test_the_same_increments_are_lost_with_the_default_settings_of_the_driver(db: Database) -> None:
    """Shows that the two tests above can fail: by default a transaction takes its lock at the first write."""
    await db.write(increment)
    engine = create_async_engine(f"sqlite+aiosqlite:///{db.path}", pool_size=10)

    async def twenty() -> None:
        for _ in range(20):
            try:
                async with engine.begin() as tx:
                    await tx.run_sync(increment)
            except DBAPIError:
                pass

    await asyncio.gather(*(twenty() for _ in range(10)))
    await engine.dispose()
    assert await db.read(number) < 201


async def test_increments_of_three_processes_are_all_counted(db: Database) -> None:
    others = [await asyncio.create_subprocess_exec(*command("increment_fifty_times", db.path)) for _ in range(2)]
    for _ in range(50):
        await db.write(increment)
    assert [await other.wait() for other in others] == [0, 0]
    assert await db.read(number) == 150


async def test_waiting_units_share_a_commit_and_return_in_order(db: Database) -> None:
    await db.write(add_setting, "opened")
    before = count_commits(db.path)
    assert await write_in_one_batch(db, *[increment] * MAX_UNITS_PER_COMMIT) == [*range(1, MAX_UNITS_PER_COMMIT + 1)]
    assert count_commits(db.path) - before == 1  # the unit that held the writer wrote nothing
    before = count_commits(db.path)
    await write_in_one_batch(db, *[increment] * (MAX_UNITS_PER_COMMIT + 1))
    assert count_commits(db.path) - before == 2


async def test_unit_that_raises_is_rolled_back_alone_while_its_batch_is_committed(db: Database) -> None:
    calls: list[str] = []

    def unit(name: str, error: Exception | None) -> Unit:
        def run(tx: sa.Connection) -> str:
            after_commit(tx, lambda: calls.append(name))
            add_setting(tx, f"{name}, first half")
            if error:
                raise error
            return add_setting(tx, f"{name}, second half")

        return run

    def refer_to_nothing(tx: sa.Connection) -> None:
        add_setting(tx, "refers")
        tx.execute(members.insert().values(shop_id=7, user_id=1, role=1, name="x", since=NOW))

    await db.write(add_setting, "opened")
    before = count_commits(db.path)
    first, raised, refused, last = await write_in_one_batch(
        db, unit("a", None), unit("b", KeyError("b")), refer_to_nothing, unit("c", None)
    )
    assert (first, last) == ("a, second half", "c, second half")
    assert (type(raised), type(refused)) == (KeyError, IntegrityError)
    assert count_commits(db.path) - before == 1
    written = ["a, first half", "a, second half", "c, first half", "c, second half", "opened"]
    assert await db.read(setting_names) == written
    assert calls == ["a", "c"]
    assert db.is_writable


async def test_open_result_of_a_unit_stops_neither_its_commit_nor_its_batch(db: Database) -> None:
    """SQLite commits nothing while a statement that writes has rows to return."""

    def insert_pair(name: str) -> Unit:
        insert = "INSERT INTO installation_settings VALUES (?, ''), (?, '') RETURNING name"
        return lambda tx: tx.exec_driver_sql(insert, (f"{name} 1", f"{name} 2"))

    alone = await db.write(insert_pair("a"))
    first, count, last = await write_in_one_batch(db, insert_pair("b"), increment, insert_pair("c"))
    assert count == 1
    assert await db.read(setting_names) == ["a 1", "a 2", "b 1", "b 2", "c 1", "c 2", "number"]
    for result in (alone, first, last):
        assert isinstance(result, sa.CursorResult)  # it is open, and lives until here


async def test_after_commit_calls_run_only_once_the_unit_is_committed(db: Database) -> None:
    calls: list[str] = []

    def fail_later(tx: sa.Connection) -> None:
        after_commit(tx, lambda: calls.append("rolled back"))
        raise KeyError

    with pytest.raises(KeyError):
        await db.write(fail_later)
    with Pause() as pause:

        def commit(tx: sa.Connection) -> None:
            after_commit(tx, lambda: calls.append(threading.current_thread().name))
            pause()

        writing = asyncio.create_task(db.write(commit))
        await pause.reached()
        assert calls == []
    await writing
    assert calls == [threading.current_thread().name]


async def test_listeners_learn_of_each_changed_payment_after_the_commit(db: Database) -> None:
    changed: list[tuple[str, int]] = []
    for listener in (1, 2):
        db.on_payment_changed(lambda payment_id, listener=listener: changed.append((payment_id, listener)))  # type: ignore[misc]

    def change_and_fail(tx: sa.Connection) -> None:
        db.notify_payment_changed(tx, "never")
        raise KeyError

    with pytest.raises(KeyError):
        await db.write(change_and_fail)
    await db.write(db.notify_payment_changed, "a")
    assert changed == [("a", 1), ("a", 2)]


async def test_after_commit_call_that_raises_disturbs_no_other_caller(db: Database) -> None:
    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
    calls: list[str] = []

    def unit(tx: sa.Connection) -> str:
        after_commit(tx, lambda: int("no number"))
        after_commit(tx, lambda: calls.append("second call"))
        return add_setting(tx, "a")

    def next_unit(tx: sa.Connection) -> str:
        after_commit(tx, lambda: calls.append("second unit"))
        return add_setting(tx, "b")

    assert await write_in_one_batch(db, unit, next_unit) == ["a", "b"]
    assert calls == ["second call", "second unit"]
    assert [type(error) for error in reported] == [ValueError]


async def test_transaction_begun_within_a_unit_is_refused(db: Database) -> None:
    def begin(tx: sa.Connection) -> None:
        with tx.begin():
            add_setting(tx, "inner")

    with pytest.raises(InvalidRequestError, match="already initialized"):
        await db.write(begin)
    assert await db.read(setting_names) == []
    assert await db.write(increment) == 1


async def coroutine_function(tx: sa.Connection) -> None:
    """Is no unit of work."""


class Repository:
    async def method(self, tx: sa.Connection) -> None:
        """Is no unit of work."""


@pytest.mark.parametrize(
    "unit",
    [coroutine_function, functools.partial(coroutine_function), Repository().method],
    ids=["function", "partial", "method"],
)
async def test_coroutine_function_is_refused_as_a_unit(db: Database, unit: Callable[[sa.Connection], object]) -> None:
    for run in (db.write, db.read, db.run_migration):
        with pytest.raises(TypeError, match="a unit of work is a plain function"):
            await run(unit)


async def test_stop_iteration_of_a_unit_becomes_runtime_error(db: Database) -> None:
    def stop(tx: sa.Connection) -> None:
        add_setting(tx, "half")
        raise StopIteration

    for run in (db.write, db.read, db.run_migration):
        with pytest.raises(RuntimeError, match="StopIteration"):
            await run(stop if run != db.read else lambda tx: next(iter(())))
    raised, counted = await write_in_one_batch(db, stop, increment)
    assert (type(raised), counted) == (RuntimeError, 1)
    assert await db.read(setting_names) == ["number"]


async def test_refused_commit_leaves_no_open_transaction(db: Database) -> None:
    """A reference that is checked at the COMMIT only makes it fail; SQLite leaves the transaction open then."""

    def refer_to_nothing(tx: sa.Connection) -> None:
        tx.exec_driver_sql("PRAGMA defer_foreign_keys = 1")
        tx.execute(members.insert().values(shop_id=7, user_id=1, role=1, name="x", since=NOW))

    with pytest.raises(IntegrityError, match="FOREIGN KEY"):
        await db.write(refer_to_nothing)
    other = Database(f"sqlite:///{db.path}", busy_seconds=0)
    assert await other.write(increment) == 1
    await other.close()
    assert await db.write(increment) == 2
    assert await db.write(lambda tx: tx.execute(sa.select(members)).all()) == []


async def test_connections_are_durable_and_check_references(db: Database) -> None:
    def pragmas(tx: sa.Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "query_only")
        return [tx.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    assert await db.write(pragmas) == ["wal", 2, 1, 0]
    assert await db.read(pragmas) == ["wal", 2, 1, 1]
    with pytest.raises(IntegrityError, match="FOREIGN KEY"):
        await db.write(
            lambda tx: tx.execute(members.insert().values(shop_id=7, user_id=1, role=1, name="x", since=NOW)).rowcount
        )


async def test_writers_of_one_process_wait_for_each_other_longer_than_for_other_processes(tmp_path: Path) -> None:
    db, other = (Database(f"sqlite:///{tmp_path}/kvit.db", busy_seconds=0.05) for _ in range(2))
    await db.migrate()
    async with held(db.write):
        enqueuing = asyncio.create_task(JobQueue(db, "inbox").enqueue(NewJob("a", "lane", "kind"), now=NOW))
        with pytest.raises(DatabaseUnavailable, match="locked"):
            await other.write(increment)
        assert not enqueuing.done()
    assert await enqueuing == 1
    await other.close()
    await db.close()


@pytest.mark.parametrize("url", ["mysql://localhost/kvit", "sqlite://", "sqlite:///:memory:", "kvit.db", ""])
def test_url_that_names_no_file_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"sqlite:///"):
        Database(url)


def test_url_may_be_relative_or_absolute() -> None:
    assert Database("sqlite:///kvit.db").path == Path("kvit.db")
    assert Database("sqlite:////var/lib/kvit.db").path == Path("/var/lib/kvit.db")
