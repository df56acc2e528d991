"""The database loses no update, lets readers pass, and says plainly when it cannot be written."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from storage.database import Database
from storage.errors import DatabaseUnavailable
from storage.mailbox import Draft, Mailbox
from storage.tables import facts, members

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


async def _number(db: Database) -> int:
    async with db.reading() as tx:
        return int((await tx.execute(sa.select(facts.c.value).where(facts.c.name == "n"))).scalar_one())


async def _set(db: Database, name: str, value: str) -> None:
    async with db.transaction() as tx:
        await tx.execute(facts.delete().where(facts.c.name == name))
        await tx.execute(facts.insert().values(name=name, value=value))


async def _add_one(tx: AsyncConnection) -> None:
    """Read, let others run, write: the pattern that loses updates when the lock is taken too late."""
    number = int((await tx.execute(sa.select(facts.c.value).where(facts.c.name == "n"))).scalar_one())
    await asyncio.sleep(0)
    await tx.execute(facts.update().where(facts.c.name == "n").values(value=str(number + 1)))


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
from storage.database import Database
from tests.test_database import _add_one
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
            await tx.execute(facts.insert().values(name="half", value="done"))
            raise KeyError

    with pytest.raises(KeyError):
        await fail_half_way()
    async with db.reading() as tx:
        assert (await tx.execute(sa.select(facts.c.name))).all() == []


async def test_a_reader_sees_one_state_while_a_writer_commits(db: Database) -> None:
    await _set(db, "n", "1")
    query = sa.select(facts.c.value).where(facts.c.name == "n")
    async with db.reading() as tx:
        assert (await tx.execute(query)).scalar_one() == "1"
        await _set(db, "n", "2")
        assert (await tx.execute(query)).scalar_one() == "1"
    assert await _number(db) == 2


async def test_a_reader_cannot_write(db: Database) -> None:
    with pytest.raises(DatabaseUnavailable, match="readonly"):
        async with db.reading() as tx:
            await tx.execute(facts.insert().values(name="n", value="1"))


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


async def test_another_process_that_keeps_the_lock_is_named_as_such(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/kvit.db", busy_seconds=0.05)
    await db.migrate()
    other = sqlite3.connect(db.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    box = Mailbox(db, "inbox")
    with pytest.raises(DatabaseUnavailable, match="database is locked"):
        await _set(db, "n", "1")
    with pytest.raises(DatabaseUnavailable, match="database is locked"):
        await box.put(Draft("a", "lane", "kind"), now=NOW)
    other.execute("COMMIT")
    other.close()
    await _set(db, "n", "1")
    assert await box.put(Draft("a", "lane", "kind"), now=NOW) == 1
    await db.close()


async def test_writers_of_one_process_wait_for_each_other_longer_than_for_strangers(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/kvit.db", busy_seconds=0.05)
    await db.migrate()
    async with db.transaction():
        put = asyncio.create_task(Mailbox(db, "inbox").put(Draft("a", "lane", "kind"), now=NOW))
        await asyncio.sleep(0.3)
        assert not put.done()
    assert await put == 1
    await db.close()


FULL_DISK = """
import asyncio, resource, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from storage.database import Database
from storage.errors import DatabaseUnavailable
from storage.mailbox import Draft, Mailbox
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

async def main() -> None:
    db = Database("sqlite:///" + sys.argv[1])
    await db.migrate()
    box = Mailbox(db, "inbox")
    kept = await box.put(Draft("first", "lane", "kind"), now=NOW)
    refused = 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    for number in range(200):
        drafts = [Draft(f"{number}:{part}", "lane", "kind", b"x" * 9_000) for part in range(3)]
        try:
            if number % 2:
                kept += await box.put(*drafts, now=NOW)
            else:
                async with db.transaction() as tx:
                    await box.put_within(tx, *drafts, now=NOW)
                kept += 3
        except DatabaseUnavailable as error:
            assert isinstance(error.__cause__, Exception)
            refused += 1
    assert refused, "the disk was never full"
    assert await box.depth() == kept, (await box.depth(), kept)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert await box.put(Draft("later", "lane", "kind"), now=NOW) == 1
    async with db.transaction() as tx:
        await box.put_within(tx, Draft("later still", "lane", "kind"), now=NOW)
    assert await box.depth() == kept + 2
    await db.close()
    print(kept, refused)

asyncio.run(main())
"""


def test_a_full_disk_refuses_whole_writes_and_later_ones_work_again(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", FULL_DISK, str(tmp_path / "kvit.db")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    with sqlite3.connect(tmp_path / "kvit.db") as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    file.close()


async def test_a_file_that_may_not_grow_is_full_and_its_open_transaction_is_undone(db: Database) -> None:
    box = Mailbox(db, "inbox")
    async with db.transaction() as tx:
        pages: int = (await tx.exec_driver_sql("PRAGMA page_count")).scalar_one()
        await tx.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    async def fill() -> None:
        async with db.transaction() as tx:
            await box.put_within(tx, *(Draft(f"{n}", "lane", "kind", b"x" * 9_000) for n in range(9)), now=NOW)

    with pytest.raises(DatabaseUnavailable, match="full"):
        await fill()
    assert await box.depth() == 0
    async with db.transaction() as tx:
        await tx.exec_driver_sql(f"PRAGMA max_page_count = {pages + 100}")
    await fill()
    assert await box.depth() == 9


async def test_a_missing_folder_and_a_file_that_is_no_database_are_out_of_reach(tmp_path: Path) -> None:
    (tmp_path / "letter.db").write_text("Dear bank, " * 1000)
    for file in ("nowhere/kvit.db", "letter.db"):
        db = Database(f"sqlite:///{tmp_path}/{file}")
        with pytest.raises(DatabaseUnavailable):
            await db.migrate()
        assert not await db.is_ready()
        with pytest.raises(DatabaseUnavailable):
            await Mailbox(db, "inbox").put(Draft("a", "lane", "kind"), now=NOW)
        await db.close()


async def test_nothing_is_written_after_close(db: Database) -> None:
    await db.close()
    with pytest.raises(DatabaseUnavailable, match="closed"):
        await _set(db, "n", "1")
    with pytest.raises(DatabaseUnavailable, match="closed"):
        await Mailbox(db, "inbox").put(Draft("a", "lane", "kind"), now=NOW)
    with pytest.raises(DatabaseUnavailable, match="closed"):
        await _number(db)


@pytest.mark.parametrize("url", ["postgresql://localhost/kvit", "sqlite://", "sqlite:///:memory:", "kvit.db", ""])
def test_an_address_that_names_no_file_is_refused_in_plain_words(url: str) -> None:
    with pytest.raises(ValueError, match=r"sqlite:///"):
        Database(url)


def test_an_address_may_be_relative_or_absolute() -> None:
    assert Database("sqlite:///kvit.db").path == Path("kvit.db")
    assert Database("sqlite:////var/lib/kvit.db").path == Path("/var/lib/kvit.db")


def test_no_thread_outlives_the_loop_whose_database_was_closed(tmp_path: Path) -> None:
    async def fail_to_open_and_close() -> None:
        db = Database(f"sqlite:///{tmp_path}/nowhere/kvit.db")
        with pytest.raises(DatabaseUnavailable):
            await Mailbox(db, "inbox").put(Draft("a", "lane", "kind"), now=NOW)
        await db.close()

    before = threading.active_count()
    for _ in range(20):
        asyncio.run(fail_to_open_and_close())
        assert threading.active_count() == before
