"""A claim is no owner for ever: OWNER_IDS, once set, is the whole list, and /revoke removes a claim."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.app import Service
from bot.sandbox.shared.fake_clock import FakeClock
from bot.settings import Settings
from tests.support.evidence import rows
from tests.support.invitations import invited, join
from tests.support.people import reply, reply_text
from tests.support.world import OWNER, World, opened

CLAIMED, ADMIN = 70_060_001, 70_060_002


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    """An installation that somebody has claimed."""
    told: asyncio.Queue[str] = asyncio.Queue()
    async with opened(clock, tmp_path, owner_ids="") as running:
        await running.stop()
        running.service = Service(running.settings, clock, notify_operator=told.put_nowait)
        await running.service.start()
        payload = (await asyncio.wait_for(told.get(), 60)).partition("?start=")[2]
        await reply(running, running.say(f"/start {payload}", by=CLAIMED), "now the owner", chat=CLAIMED)
        await running.stop()
        await running.begin()
        yield running


async def set_owner_ids(world: World) -> None:
    """Restarts with OWNER_IDS set."""
    await world.stop()
    settings: Settings = world.settings.model_copy(update={"owner_ids": frozenset({OWNER})})
    world.settings = settings
    await world.begin()


async def test_claim_does_not_count_once_owner_ids_is_set(world: World) -> None:
    pending = await invited(world, "admin", by=CLAIMED)
    await set_owner_ids(world)
    for command in ("/team", "/pay 125 Tea", "/invite admin", f"/revoke {OWNER}"):
        assert "access" in await reply_text(world, command, by=CLAIMED), command
    await join(world, pending, by=ADMIN)
    assert rows(world, "SELECT * FROM members") == []
    team = (await reply_text(world, "/team")).splitlines()
    assert [line for line in team if "owner" in line] == [f"{OWNER} · owner, set by OWNER_IDS"]


async def test_revoke_removes_a_claim_so_that_it_never_counts_again(world: World) -> None:
    await set_owner_ids(world)
    assert "is no longer owner" in await reply_text(world, f"/revoke {CLAIMED}")
    assert rows(world, "SELECT * FROM owners") == []


async def test_owner_by_claim_leaves_only_while_somebody_can_give_roles(world: World) -> None:
    assert "last admin" in await reply_text(world, f"/revoke {CLAIMED}", by=CLAIMED)
    await join(world, await invited(world, "admin", by=CLAIMED), by=ADMIN)
    assert "can't be added or removed here" in await reply_text(world, f"/revoke {CLAIMED}", by=ADMIN)
    assert "is no longer owner" in await reply_text(world, f"/revoke {CLAIMED}", by=CLAIMED)
    assert "access" in await reply_text(world, "/team", by=CLAIMED)
    assert str(ADMIN) in await reply_text(world, "/team", by=ADMIN)


async def test_owner_of_owner_ids_is_not_removed_in_a_chat(world: World) -> None:
    await set_owner_ids(world)
    assert "can't be added or removed here" in await reply_text(world, f"/revoke {OWNER}")
