"""A database that is locked, full, missing or closed says so, and loses nothing."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from storage.database.database import Database
from storage.errors import DatabaseUnavailable
from storage.job_queue import JobQueue
from storage.models.job import NewJob
from storage.schema.shops import installation_settings

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


async def test_another_process_that_keeps_the_lock_is_named_as_such(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/kvit.db", busy_seconds=0.05)
    await db.migrate()
    other = sqlite3.connect(db.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    queue = JobQueue(db, "inbox")
    with pytest.raises(DatabaseUnavailable, match="database is locked"):
        await _set(db, "n", "1")
    with pytest.raises(DatabaseUnavailable, match="database is locked"):
        await queue.enqueue(NewJob("a", "lane", "kind"), now=NOW)
    other.execute("COMMIT")
    other.close()
    await _set(db, "n", "1")
    assert await queue.enqueue(NewJob("a", "lane", "kind"), now=NOW) == 1
    await db.close()


FULL_DISK = """
import asyncio, resource, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from storage.database.database import Database
from storage.errors import DatabaseUnavailable
from storage.job_queue import Mailbox
from storage.models.job import NewJob
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
    queue = JobQueue(db, "inbox")
    async with db.transaction() as tx:
        pages: int = (await tx.exec_driver_sql("PRAGMA page_count")).scalar_one()
        await tx.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    async def fill() -> None:
        async with db.transaction() as tx:
            await queue.enqueue_in(tx, *(NewJob(f"{n}", "lane", "kind", b"x" * 9_000) for n in range(9)), now=NOW)

    with pytest.raises(DatabaseUnavailable, match="full"):
        await fill()
    assert await queue.depth() == 0
    async with db.transaction() as tx:
        await tx.exec_driver_sql(f"PRAGMA max_page_count = {pages + 100}")
    await fill()
    assert await queue.depth() == 9


async def test_a_missing_folder_and_a_file_that_is_no_database_are_out_of_reach(tmp_path: Path) -> None:
    (tmp_path / "letter.db").write_text("Dear bank, " * 1000)
    for file in ("nowhere/kvit.db", "letter.db"):
        db = Database(f"sqlite:///{tmp_path}/{file}")
        with pytest.raises(DatabaseUnavailable):
            await db.migrate()
        assert not await db.has_current_schema()
        with pytest.raises(DatabaseUnavailable):
            await JobQueue(db, "inbox").enqueue(NewJob("a", "lane", "kind"), now=NOW)
        await db.close()


async def test_nothing_is_written_after_close(db: Database) -> None:
    await db.close()
    with pytest.raises(DatabaseUnavailable, match="closed"):
        await _set(db, "n", "1")
    with pytest.raises(DatabaseUnavailable, match="closed"):
        await JobQueue(db, "inbox").enqueue(NewJob("a", "lane", "kind"), now=NOW)
    with pytest.raises(DatabaseUnavailable, match="closed"):
        await _number(db)


def test_no_thread_outlives_the_loop_whose_database_was_closed(tmp_path: Path) -> None:
    async def fail_to_open_and_close() -> None:
        db = Database(f"sqlite:///{tmp_path}/nowhere/kvit.db")
        with pytest.raises(DatabaseUnavailable):
            await JobQueue(db, "inbox").enqueue(NewJob("a", "lane", "kind"), now=NOW)
        await db.close()

    before = threading.active_count()
    for _ in range(20):
        asyncio.run(fail_to_open_and_close())
        assert threading.active_count() == before
