"""A backup is one whole moment of the book, taken beside the running service, and a service starts on it."""

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

from storage.database.backup import BackupFailed, TargetExists, backup_database
from storage.database.database import Database
from tests.support.process_world import Outside, outside
from tests.support.world import OWNER

pytestmark = pytest.mark.timeout(300)
OWNERS = [OWNER + number for number in range(8)]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Outside]:
    async with outside(tmp_path / "kvit", OWNER_IDS=",".join(map(str, OWNERS)), RECONCILE_SECONDS="1") as opened:
        yield opened


def sums(path: Path) -> tuple[int, int, int, list[str]]:
    """Payments, attempts and lines of history of a file, and what SQLite says of its soundness."""
    with closing(sqlite3.connect(path)) as db:
        payments, attempts, lines = (
            db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("payments", "attempts", "audit_log")
        )
        return payments, attempts, lines, [row[0] for row in db.execute("PRAGMA integrity_check")]


async def backed_up(world: Outside, file: str) -> tuple[int, str]:
    return await world.ended(await world.begin("bot", "backup", file))


async def test_a_backup_under_load_is_sound_and_the_service_goes_on_with_it(world: Outside) -> None:
    process = await world.ready()
    await world.subscribe("*")
    for owner in OWNERS:
        world.telegram.send(owner, owner, "/pay 149,50 Coffee")
    code, said = await backed_up(world, "first.db")
    assert (code, said.startswith("The database is copied to first.db, ")) == (0, True), world.log
    for owner in OWNERS:
        card = await world.message("Waiting for payment", chat=owner)
        await world.approve(card)
    assert (await backed_up(world, "second.db"))[0] == 0
    for owner in OWNERS:
        await world.message("✅ Paid:", chat=owner)
    await world.stopped(process)
    for name in ("first.db", "second.db"):
        file = world.folder / name
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        payments, attempts, lines, soundness = sums(file)
        assert soundness == ["ok"]
        assert payments == attempts <= len(OWNERS)
        assert lines >= payments
    assert sums(world.folder / "second.db")[0] == len(OWNERS)
    assert sorted(path.name for path in world.folder.glob("*.part")) == []

    shutil.copy(world.folder / "second.db", world.folder / "restored.db")
    restored = await world.ready(DATABASE_URL="sqlite:///restored.db")
    await world.until(lambda: paid_in(world.folder / "restored.db") == len(OWNERS))
    await world.stopped(restored)
    charges = world.stripe.store.charges.values()
    assert [charge["status"] for charge in charges] == ["succeeded"] * len(OWNERS)
    assert len(world.sent("✅ Paid:")) <= 2 * len(OWNERS)  # told by the old file, and where that was not in the copy


def paid_in(file: Path) -> int:
    with closing(sqlite3.connect(file)) as db:
        return int(db.execute("SELECT count(*) FROM payments WHERE status = 'succeeded'").fetchone()[0])


async def test_a_file_that_is_there_is_never_overwritten(world: Outside) -> None:
    process = await world.begin("bot", "migrate")
    assert (await world.ended(process))[0] == 0
    (world.folder / "kept.db").write_text("precious")
    assert await backed_up(world, "kept.db") == (2, "")
    assert "No backup was made: kept.db exists and is not overwritten.\n" in world.log
    assert (world.folder / "kept.db").read_text() == "precious"


async def test_without_a_database_or_a_folder_it_says_so_and_leaves_nothing(world: Outside) -> None:
    assert await backed_up(world, "copy.db") == (1, "")
    assert "No backup was made: there is no database kvit.db to be copied.\n" in world.log
    process = await world.begin("bot", "migrate")
    assert (await world.ended(process))[0] == 0
    assert await backed_up(world, "nowhere/copy.db") == (1, "")
    assert "No backup was made: copy.db could not be written: No such file or directory.\n" in world.log
    assert not (world.folder / "copy.db").exists()


async def filled(db: Database, kilobytes: int) -> None:
    async with db.transaction() as tx:
        for number in range(kilobytes):
            await tx.exec_driver_sql("INSERT INTO installation_settings VALUES (?, ?)", (f"n{number}", "x" * 1000))


async def test_a_copy_that_is_not_sound_does_not_get_the_name(db: Database, tmp_path: Path) -> None:
    await filled(db, 400)
    await db.close()
    page = db.path.stat().st_size // 4096 // 2
    with db.path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(BackupFailed, match=r"not sound|malformed"):
        backup_database(db.path, tmp_path / "copy.db")
    assert {path.name for path in tmp_path.iterdir() if "copy" in path.name} == set()


async def test_of_two_backups_to_one_name_one_is_made(db: Database, tmp_path: Path) -> None:
    await filled(db, 2000)
    made: list[int | str] = []

    def one() -> None:
        try:
            made.append(backup_database(db.path, tmp_path / "copy.db"))
        except TargetExists:
            made.append("refused")

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert sorted(map(str, made)).count("refused") == 3
    assert {path.name for path in tmp_path.iterdir() if "copy" in path.name} == {"copy.db"}


async def test_a_writer_is_not_held_up_and_the_copy_is_one_moment(db: Database, tmp_path: Path) -> None:
    await filled(db, 4000)
    copying = asyncio.create_task(asyncio.to_thread(backup_database, db.path, tmp_path / "copy.db"))
    written = 0
    while not copying.done():
        async with db.transaction() as tx:
            await tx.exec_driver_sql("INSERT INTO installation_settings VALUES (?, 'a')", (f"pair {written} a",))
            await tx.exec_driver_sql("INSERT INTO installation_settings VALUES (?, 'b')", (f"pair {written} b",))
        written += 1
    await copying
    assert written > 0
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT count(*) % 2 FROM installation_settings WHERE name LIKE 'pair %'").fetchone() == (
            0,
        )
        assert copy.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert not list(tmp_path.glob("copy.db-*"))


async def test_a_backup_that_is_killed_half_way_leaves_no_file_of_that_name(world: Outside) -> None:
    process = await world.begin("bot", "migrate")
    assert (await world.ended(process))[0] == 0
    db = Database(f"sqlite:///{world.folder}/kvit.db")
    await filled(db, 60_000)
    await db.close()
    killed = await world.begin("bot", "backup", "copy.db")
    async with asyncio.timeout(60):
        while not (parts := list(world.folder.glob(".copy.db.*.part"))) or parts[0].stat().st_size < 4096:
            await asyncio.sleep(0.001)
            assert killed.returncode is None
    os.kill(killed.pid, signal.SIGKILL)
    await killed.wait()
    assert not (world.folder / "copy.db").exists()
    assert (await backed_up(world, "copy.db"))[0] == 0
    assert sums(world.folder / "copy.db")[3] == ["ok"]
