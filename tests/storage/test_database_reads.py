"""Looks that nobody waits for see what was committed, change nothing, and never hold anybody up."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from storage.database.database import Database
from storage.errors import DatabaseUnavailable
from storage.schema.shops import installation_settings

VALUE = sa.select(installation_settings.c.value).where(installation_settings.c.name == "n")


async def write(db: Database, value: str) -> None:
    async with db.transaction() as tx:
        await tx.execute(installation_settings.delete().where(installation_settings.c.name == "n"))
        await tx.execute(installation_settings.insert().values(name="n", value=value))


async def glanced(db: Database) -> str | None:
    async with db.glance() as tx:
        found: str | None = (await tx.execute(VALUE)).scalar()
    return found


async def test_a_glance_sees_what_was_committed_just_before(db: Database) -> None:
    for number in range(20):
        await write(db, str(number))
        assert await glanced(db) == str(number)


async def test_a_glance_sees_nothing_of_a_transaction_that_is_not_committed(db: Database) -> None:
    await write(db, "before")
    async with db.transaction() as tx:
        await tx.execute(
            installation_settings.update().where(installation_settings.c.name == "n").values(value="after")
        )
        assert await glanced(db) == "before"
    assert await glanced(db) == "after"


async def test_glances_that_overlap_have_each_their_own_moment(db: Database) -> None:
    await write(db, "1")
    async with db.glance() as early:
        await write(db, "2")
        async with db.glance() as late:
            assert (await late.execute(VALUE)).scalar_one() == "2"
        assert (await early.execute(VALUE)).scalar_one() == "1"
    assert await glanced(db) == "2"


async def test_a_glance_cannot_write(db: Database) -> None:
    with pytest.raises(DatabaseUnavailable, match="readonly"):
        async with db.glance() as tx:
            await tx.execute(installation_settings.insert().values(name="n", value="1"))
    assert await glanced(db) is None


async def test_a_glance_that_fails_leaves_the_next_one_in_order(db: Database) -> None:
    with pytest.raises(KeyError):
        async with db.glance():
            raise KeyError
    await write(db, "1")
    assert await glanced(db) == "1"


async def test_a_glance_at_a_locked_file_waits_beside_the_loop(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/kvit.db", busy_seconds=30)
    await db.migrate()
    await write(db, "1")
    await db.close()
    db = Database(f"sqlite:///{tmp_path}/kvit.db", busy_seconds=30)
    with closing(sqlite3.connect(db.path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("UPDATE installation_settings SET value = '2'")
        looking = asyncio.create_task(glanced(db))
        for _ in range(20):  # the loop goes on meanwhile
            await asyncio.sleep(0.01)
        assert not looking.done()
        other.execute("COMMIT")
    assert await looking == "2"
    await db.close()


async def test_after_the_end_there_are_no_glances(db: Database) -> None:
    await write(db, "1")
    assert await glanced(db) == "1"
    await db.close()
    with pytest.raises(DatabaseUnavailable, match="closed"):
        await glanced(db)


async def test_a_writer_who_leaves_while_he_waits_for_the_lock_leaves_no_transaction_behind(db: Database) -> None:
    await write(db, "1")
    with closing(sqlite3.connect(db.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(write(db, "2"))
        await asyncio.sleep(0.05)
        waiting.cancel()
        next_one = asyncio.create_task(write(db, "3"))
        await asyncio.sleep(0.05)
        other.execute("ROLLBACK")
    await next_one
    assert waiting.cancelled()
    assert await glanced(db) == "3"
