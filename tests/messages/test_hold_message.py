"""The card of a hold that was deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import rest
from tests.support.people import open_shop, reply, shown
from tests.support.refund_steps import told
from tests.support.world import OWNER, World, labels, opened


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


async def test_the_deleted_card_of_a_hold_is_posted_anew(world: World) -> None:
    card = await reply(world, world.say("/hold 125 Bicycle"), "Waiting for payment")
    await world.control("telegram", "delete", {"chat_id": OWNER, "message_id": card["message_id"]})
    await world.decide("approve")
    await told(world, "🔒 Reserved:")
    await rest(world)
    assert [one for one in shown(world) if "Charge" in str(labels(one))]
