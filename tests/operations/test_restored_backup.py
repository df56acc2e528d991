"""A service that starts on a restored backup voids its invitations and tells the owners whose roles hold again."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from storage.database.backup import backup_database
from tests.support.evidence import idle, rows
from tests.support.invitations import invited, join, memberships
from tests.support.people import ADMIN, MERCHANT, STRANGER, caught_up, open_shop, reply
from tests.support.world import OWNER, World, opened


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        await caught_up(running, ADMIN, by=ADMIN)
        yield running


async def restore(world: World, backup: Path) -> None:
    """Replaces the database by the backup, as docs/operations.md says."""
    await world.stop()
    for suffix in ("db-wal", "db-shm"):
        world.database.with_suffix(f".{suffix}").unlink(missing_ok=True)
    shutil.copy(backup, world.database)
    world.advance(3600)
    await world.begin()


async def test_restored_backup_is_told_with_everybody_who_holds_a_role_again(world: World, tmp_path: Path) -> None:
    used = await invited(world, "admin")
    backup_database(world.database, tmp_path / "backup.db")
    await join(world, used, by=STRANGER)
    await reply(world, world.say(f"/revoke {STRANGER}"), "no longer")
    await reply(world, world.say(f"/revoke {MERCHANT}"), "no longer")
    await restore(world, tmp_path / "backup.db")
    told = (await world.message("now runs on a backup"))["text"]
    assert "24 Nov" in told or "2026-11-24 12:0" in told
    assert f"★ Ada ({ADMIN}) – Kvit" in told
    assert f"Mads ({MERCHANT}) – Kvit" in told
    assert "Open invitations are void (1)" in told
    assert [role for _, role, _ in memberships(world, MERCHANT)] == [1]


async def test_invitation_that_was_used_since_gives_no_role_again(world: World, tmp_path: Path) -> None:
    used = await invited(world, "admin")
    backup_database(world.database, tmp_path / "backup.db")
    await join(world, used, by=STRANGER)
    await reply(world, world.say(f"/revoke {STRANGER}"), "no longer")
    await restore(world, tmp_path / "backup.db")
    await join(world, used, by=STRANGER)
    assert memberships(world, STRANGER) == []


async def test_restart_and_backup_of_the_running_service_tell_nothing(world: World, tmp_path: Path) -> None:
    backup_database(world.database, tmp_path / "backup.db")
    await restore(world, tmp_path / "backup.db")
    await world.message("now runs on a backup")
    await world.stop()
    await world.begin()
    await caught_up(world, OWNER)
    await idle(world)
    assert len(world.sent("now runs on a backup")) == 1
    assert rows(world, "SELECT * FROM installation_settings WHERE name = 'is_backup'") == []
