"""A backup is one snapshot of the database, taken beside the running service, and a service starts on it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from storage.database.backup import BackupFailed, TargetExists, backup_database
from storage.database.database import Database
from storage.database.file_lock import lock_beside_sqlite
from tests.support.process_world import Outside, outside
from tests.support.world import OWNER

pytestmark = [pytest.mark.timeout(300), pytest.mark.sqlite]
OWNERS = [OWNER + number for number in range(8)]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Outside]:
    async with outside(tmp_path / "kvit", OWNER_IDS=",".join(map(str, OWNERS)), RECONCILE_SECONDS="1") as opened:
        yield opened


def summary(path: Path) -> tuple[int, int, int, list[str]]:
    """The numbers of payments, attempts and audit entries in a file, and the result of SQLite's integrity check."""
    with closing(sqlite3.connect(path)) as db:
        payments, attempts, entries = (
            db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("payments", "attempts", "audit_log")
        )
        return payments, attempts, entries, [row[0] for row in db.execute("PRAGMA integrity_check")]


def count_paid(path: Path) -> int:
    """The number of paid payments in a file."""
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT count(*) FROM payments WHERE status = 'succeeded'").fetchone()[0])


async def run(world: Outside, *arguments: str) -> tuple[int, str]:
    """Run `python -m bot` and return its exit code and what it printed."""
    return await world.ended(await world.begin("bot", *arguments))


async def fill(db: Database, kilobytes: int) -> None:
    """Write so many kilobytes of settings."""
    insert = "INSERT INTO installation_settings VALUES (?, ?)"
    rows = [(f"n{number}", "x" * 1000) for number in range(kilobytes)]
    await db.write(lambda tx: tx.exec_driver_sql(insert, rows).rowcount)


def add_pair(tx: sa.Connection, number: int) -> None:
    """Write two settings that belong together."""
    for name in ("a", "b"):
        tx.exec_driver_sql("INSERT INTO installation_settings VALUES (?, '')", (f"pair {number} {name}",))


@pytest.mark.long
async def test_backup_under_load_is_sound_and_a_service_starts_on_it(world: Outside) -> None:
    process = await world.ready()
    await world.subscribe("*")
    for owner in OWNERS:
        world.telegram.send(owner, owner, "/pay 149,50 Coffee")
    code, output = await run(world, "backup", "first.db")
    assert (code, output.startswith("The database was copied to first.db, ")) == (0, True), world.log
    for owner in OWNERS:
        payment_message = await world.message("Waiting for payment", chat=owner)
        await world.approve(payment_message)
    assert (await run(world, "backup", "second.db"))[0] == 0
    for owner in OWNERS:
        await world.message("✅ Paid:", chat=owner)
    await world.stopped(process)
    for name in ("first.db", "second.db"):
        file = world.folder / name
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        payments, attempts, entries, integrity = summary(file)
        assert integrity == ["ok"]
        assert payments == attempts <= len(OWNERS)
        assert entries >= payments
    assert summary(world.folder / "second.db")[0] == len(OWNERS)
    assert sorted(path.name for path in world.folder.glob("*.part")) == []

    shutil.copy(world.folder / "second.db", world.folder / "restored.db")
    restored = await world.ready(DATABASE_URL="sqlite:///restored.db")
    await world.until(lambda: count_paid(world.folder / "restored.db") == len(OWNERS))
    await world.stopped(restored)
    charges = world.stripe.store.charges.values()
    assert [charge["status"] for charge in charges] == ["succeeded"] * len(OWNERS)
    assert len(world.sent("✅ Paid:")) <= 2 * len(OWNERS)  # a second time only where the copy lacks the first


async def test_existing_file_is_never_overwritten(world: Outside) -> None:
    assert (await run(world, "migrate"))[0] == 0
    (world.folder / "kept.db").write_text("precious")
    assert await run(world, "backup", "kept.db") == (2, "")
    assert "No backup was made: kept.db exists and is not overwritten.\n" in world.log
    assert (world.folder / "kept.db").read_text() == "precious"


@pytest.mark.long
async def test_backup_without_a_database_or_a_folder_is_refused_and_leaves_nothing(world: Outside) -> None:
    assert await run(world, "backup", "copy.db") == (1, "")
    assert "No backup was made: there is no database kvit.db to be copied.\n" in world.log
    assert (await run(world, "migrate"))[0] == 0
    assert await run(world, "backup", "nowhere/copy.db") == (1, "")
    assert "No backup was made: copy.db could not be written: No such file or directory.\n" in world.log
    assert not (world.folder / "copy.db").exists()


async def test_copy_that_is_not_sound_gets_no_name(db: Database, tmp_path: Path) -> None:
    await fill(db, 400)
    await db.close()
    page = db.path.stat().st_size // 4096 // 2
    with db.path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(BackupFailed, match=r"not sound|malformed"):
        backup_database(db.path, tmp_path / "copy.db")
    assert {path.name for path in tmp_path.iterdir() if "copy" in path.name} == set()


async def test_one_of_several_backups_to_the_same_name_is_made(db: Database, tmp_path: Path) -> None:
    await fill(db, 2000)
    made: list[int | str] = []

    def back_up() -> None:
        try:
            made.append(backup_database(db.path, tmp_path / "copy.db"))
        except TargetExists:
            made.append("refused")

    threads = [threading.Thread(target=back_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert sorted(map(str, made)).count("refused") == 3
    assert {path.name for path in tmp_path.iterdir() if "copy" in path.name} == {"copy.db"}


async def test_backup_lets_writes_pass_and_copies_one_snapshot(db: Database, tmp_path: Path) -> None:
    await fill(db, 4000)
    copying = asyncio.create_task(asyncio.to_thread(backup_database, db.path, tmp_path / "copy.db"))
    written = 0
    while not copying.done():
        await db.write(add_pair, written)
        written += 1
    await copying
    assert written > 0
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        query = "SELECT count(*) % 2 FROM installation_settings WHERE name LIKE 'pair %'"
        assert copy.execute(query).fetchone() == (0,)
        assert copy.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert not list(tmp_path.glob("copy.db-*"))


async def test_backup_removes_the_parts_of_killed_ones_also_when_it_fails(db: Database, tmp_path: Path) -> None:
    left = [".kvit-1.db.0a1b2c3d.part", ".kvit-1.db.0a1b2c3d.part-journal", ".other.db.ffffffff.part"]
    for name in (*left, "kept.part", ".notes.part", ".kvit-2.db.00000000.part"):
        (tmp_path / name).write_text("half")
    held = (tmp_path / ".kvit-2.db.00000000.part").open("r+b")
    assert lock_beside_sqlite(held.fileno())
    with pytest.raises(BackupFailed):
        backup_database(tmp_path / "nowhere.db", tmp_path / "copy.db")
    assert sorted(path.name for path in tmp_path.glob("*part*")) == [
        ".kvit-2.db.00000000.part",
        ".notes.part",
        "kept.part",
    ]
    held.close()
    backup_database(db.path, tmp_path / "copy.db")
    assert sorted(path.name for path in tmp_path.glob("*part*")) == [".notes.part", "kept.part"]
    assert summary(tmp_path / "copy.db")[3] == ["ok"]


@pytest.mark.long
async def test_backup_that_is_killed_half_way_leaves_no_file_of_its_name(world: Outside) -> None:
    assert (await run(world, "migrate"))[0] == 0
    db = Database(f"sqlite:///{world.folder}/kvit.db")
    await fill(db, 60_000)
    await db.close()
    killed = await world.begin("bot", "backup", "copy.db")
    async with asyncio.timeout(60):
        while not (parts := list(world.folder.glob(".copy.db.*.part"))) or parts[0].stat().st_size < 4096:
            await asyncio.sleep(0.001)
            assert killed.returncode is None
    os.kill(killed.pid, signal.SIGKILL)
    await killed.wait()
    assert not (world.folder / "copy.db").exists()
    assert (await run(world, "backup", "copy.db"))[0] == 0
    assert summary(world.folder / "copy.db")[3] == ["ok"]
    assert list(world.folder.glob(".*.part*")) == []
