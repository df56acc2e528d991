"""The database loses no update, lets readers pass, and says plainly when it cannot be written."""

from __future__ import annotations

import asyncio
import random
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from storage.database.database import Database
from storage.errors import DatabaseUnavailable
from storage.job_queue import JobQueue
from storage.models.job import NewJob
from storage.schema.shops import installation_settings, members

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


async def _number(db: Database) -> int:
    async with db.reading() as tx:
        return int(
            (
                await tx.execute(sa.select(installation_settings.c.value).where(installation_settings.c.name == "n"))
            ).scalar_one()
        )


async def _set(db: Database, name: str, value: str) -> None:
    async with db.transaction() as tx:
        await tx.execute(installation_settings.delete().where(installation_settings.c.name == name))
        await tx.execute(installation_settings.insert().values(name=name, value=value))


async def _add_one(tx: AsyncConnection) -> None:
    """Read, let others run, write: the pattern that loses updates when the lock is taken too late."""
    number = int(
        (
            await tx.execute(sa.select(installation_settings.c.value).where(installation_settings.c.name == "n"))
        ).scalar_one()
    )
    await asyncio.sleep(0)
    await tx.execute(
        installation_settings.update().where(installation_settings.c.name == "n").values(value=str(number + 1))
    )


async def test_two_hundred_increments_by_ten_tasks_are_all_counted(db: Database) -> None:
    await _set(db, "n", "0")

    async def twenty() -> None:
        for _ in range(20):
            async with db.transaction() as tx:
                await _add_one(tx)

    await asyncio.gather(*(twenty() for _ in range(10)))
    assert await _number(db) == 200


async def test_the_same_increments_are_lost_with_the_settings_a_driver_comes_with(db: Database) -> None:
    await _set(db, "n", "0")
    engine = create_async_engine(f"sqlite+aiosqlite:///{db.path}", pool_size=10)

    async def twenty() -> None:
        for _ in range(20):
            try:
                async with engine.begin() as tx:
                    await _add_one(tx)
            except DBAPIError:
                pass

    await asyncio.gather(*(twenty() for _ in range(10)))
    await engine.dispose()
    assert await _number(db) < 200


async def test_increments_of_two_processes_are_all_counted(db: Database) -> None:
    await _set(db, "n", "0")
    program = f"""
import asyncio
from storage.database.database import Database
from tests.storage.test_database import _add_one
async def main():
    db = Database("sqlite:///{db.path}")
    for _ in range(50):
        async with db.transaction() as tx:
            await _add_one(tx)
    await db.close()
asyncio.run(main())
"""
    others = [await asyncio.create_subprocess_exec(sys.executable, "-c", program) for _ in range(2)]
    for _ in range(50):
        async with db.transaction() as tx:
            await _add_one(tx)
    assert [await other.wait() for other in others] == [0, 0]
    assert await _number(db) == 150


@pytest.mark.parametrize("seed", range(5))
async def test_canceled_writers_leave_the_database_in_order(db: Database, seed: int) -> None:
    chance = random.Random(seed)
    await _set(db, "n", "0")

    async def write() -> None:
        async with db.transaction() as tx:
            await _add_one(tx)

    tasks = [asyncio.create_task(write()) for _ in range(40)]
    for task in chance.sample(tasks, 30):
        await asyncio.sleep(chance.random() / 500)
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    finished = sum(outcome is None for outcome in ended)
    assert {type(outcome) for outcome in ended} <= {type(None), asyncio.CancelledError}
    assert finished <= await _number(db) <= 40
    await write()


async def test_an_error_rolls_everything_back_and_passes_unchanged(db: Database) -> None:
    async def fail_half_way() -> None:
        async with db.transaction() as tx:
            await tx.execute(installation_settings.insert().values(name="half", value="done"))
            raise KeyError

    with pytest.raises(KeyError):
        await fail_half_way()
    async with db.reading() as tx:
        assert (await tx.execute(sa.select(installation_settings.c.name))).all() == []


async def test_a_reader_sees_one_state_while_a_writer_commits(db: Database) -> None:
    await _set(db, "n", "1")
    query = sa.select(installation_settings.c.value).where(installation_settings.c.name == "n")
    async with db.reading() as tx:
        assert (await tx.execute(query)).scalar_one() == "1"
        await _set(db, "n", "2")
        assert (await tx.execute(query)).scalar_one() == "1"
    assert await _number(db) == 2


async def test_a_reader_cannot_write(db: Database) -> None:
    with pytest.raises(DatabaseUnavailable, match="readonly"):
        async with db.reading() as tx:
            await tx.execute(installation_settings.insert().values(name="n", value="1"))


async def test_every_connection_is_durable_and_guards_references(db: Database) -> None:
    for opened in (db.transaction, db.reading):
        async with opened() as tx:
            for pragma, value in (("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)):
                assert (await tx.exec_driver_sql(f"PRAGMA {pragma}")).scalar() == value
    with pytest.raises(IntegrityError, match="FOREIGN KEY"):
        async with db.transaction() as tx:
            await tx.execute(members.insert().values(shop_id=7, user_id=1, role=1, name="x", since=NOW))


async def test_a_transaction_within_a_transaction_is_an_error_not_a_standstill(db: Database) -> None:
    with pytest.raises(RuntimeError, match="within a transaction"):
        async with db.transaction(), db.transaction():
            pass


async def test_after_commit_rings_only_when_something_was_committed(db: Database) -> None:
    rung: list[str] = []

    async def fail() -> None:
        async with db.transaction() as tx:
            db.after_commit(tx, lambda: rung.append("rolled back"))
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    async with db.transaction() as tx:
        db.after_commit(tx, lambda: rung.append("committed"))
        assert rung == []
    assert rung == ["committed"]


async def test_writers_of_one_process_wait_for_each_other_longer_than_for_strangers(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/kvit.db", busy_seconds=0.05)
    await db.migrate()
    async with db.transaction():
        put = asyncio.create_task(JobQueue(db, "inbox").enqueue(NewJob("a", "lane", "kind"), now=NOW))
        await asyncio.sleep(0.3)
        assert not put.done()
    assert await put == 1
    await db.close()


@pytest.mark.parametrize("url", ["postgresql://localhost/kvit", "sqlite://", "sqlite:///:memory:", "kvit.db", ""])
def test_an_address_that_names_no_file_is_refused_in_plain_words(url: str) -> None:
    with pytest.raises(ValueError, match=r"sqlite:///"):
        Database(url)


def test_an_address_may_be_relative_or_absolute() -> None:
    assert Database("sqlite:///kvit.db").path == Path("kvit.db")
    assert Database("sqlite:////var/lib/kvit.db").path == Path("/var/lib/kvit.db")
