"""What Stripe did and nobody heard, or a clock dated wrongly: no word about it is false, and nothing is made twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.app import Service
from bot.sandbox.fake_stripe import FakeStripe
from bot.sandbox.shared.fake_clock import FakeClock
from handlers.telegram.rate_limit import TelegramRateLimiter
from tests.support.evidence import at_stripe, eventually, fault, idle, money, pass_time, rows, webhooks
from tests.support.people import ADMIN, GROUP, advance_until, open_shop, remove_roles, reply
from tests.support.refund_steps import (
    back_up,
    drafted,
    held,
    paid,
    ref_of,
    refund_states,
    restore,
    texts,
    wait_for_text,
)
from tests.support.world import BRISK, World, opened

KEYS_ARE_FORGOTTEN = 21 * 3600


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path, request_hours="72") as running:
        await open_shop(running)
        yield running


class WrongClock:
    """A clock that is so many seconds ahead."""

    def __init__(self, right: FakeClock, ahead: float) -> None:
        self._right = right
        self.ahead = ahead

    def now(self) -> datetime:
        return self._right.now() + timedelta(seconds=self.ahead)

    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]:
        return self._right.sleep(seconds)


async def begin_with(world: World, clock: WrongClock) -> None:
    """Another service on the same database, by this clock."""
    await world.stop()
    world.service = Service(world.settings, clock, rate_limiter=TelegramRateLimiter(BRISK, BRISK, BRISK, BRISK))
    await world.service.start()


async def declined(world: World) -> None:
    """A request whose first attempt the customer declined."""
    await reply(world, world.say("/pay 125 Tea"), "Waiting for payment")
    await world.decide("decline")
    await wait_for_text(world, "No money was taken. Tap New link")
    await idle(world)


async def test_a_hold_that_came_while_cancel_waited_for_stripe_is_kept_and_told(world: World) -> None:
    card = await reply(world, world.say("/hold 125 Bicycle"), "Waiting for payment")
    await idle(world)
    await webhooks(world, "lose")
    await world.control("stripe", "down", {"down": True})
    await reply(world, world.say(f"/cancel {ref_of(card)}"))
    await world.control("stripe", "down", {"down": False})
    await world.decide("approve")
    await advance_until(world, lambda: rows(world, "SELECT 1 FROM payments WHERE status IN ('canceled', 'authorized')"))
    await wait_for_text(world, "🔒 Reserved:")
    await pass_time(world, 60)
    assert world.intent()["status"] == "requires_capture"
    assert not [one for one in texts(world) if "nothing was done" in one]


@pytest.mark.parametrize("verb", ["capture", "release"])
async def test_lost_capture_response_is_not_reported_as_not_done_after_role_loss(world: World, verb: str) -> None:
    ref = ref_of(await held(world, chat=GROUP))
    await idle(world)
    await webhooks(world, "lose")
    question = await reply(world, world.say(f"/{verb} {ref}", by=ADMIN, chat=GROUP), chat=GROUP)
    await fault(world, "capture" if verb == "capture" else "cancel", "drop", "after", times=3)
    world.tap(question, "Charge" if verb == "capture" else "Release", by=ADMIN)
    await eventually(lambda: rows(world, "SELECT 1 FROM payments WHERE last_error IS NOT NULL"))
    await world.control("stripe", "down", {"down": True})
    await remove_roles(world, ADMIN)
    await pass_time(world, 60)
    await world.control("stripe", "down", {"down": False})
    await advance_until(world, lambda: rows(world, "SELECT 1 FROM payments WHERE status IN ('succeeded', 'canceled')"))
    await idle(world)
    assert not [one for one in texts(world, GROUP) if "nothing was done" in one]


async def test_an_attempt_that_never_reached_stripe_was_not_declined(world: World) -> None:
    await declined(world)
    await fault(world, "confirm", "drop", times=3)
    world.tap(await world.message("Payment attempt failed"), "New link")
    await eventually(lambda: rows(world, "SELECT 1 FROM payments WHERE last_error IS NOT NULL"))
    await world.control("stripe", "down", {"down": True})
    await pass_time(world, KEYS_ARE_FORGOTTEN)
    await world.control("stripe", "down", {"down": False})
    over = "SELECT 1 FROM attempts WHERE number = 2 AND status <> 'requested'"
    await advance_until(world, lambda: rows(world, over), step=30)
    await idle(world)
    assert len([one for one in texts(world) if one.startswith("❌ #")]) == 1
    world.tap(await world.message("The link expired"), "New link")
    await world.message("Waiting for payment")


async def test_restore_reports_no_false_decline(world: World) -> None:
    await declined(world)
    failed = await world.message("Payment attempt failed")
    await back_up(world)
    await world.answer(world.tap(failed, "New link"))
    await idle(world)
    await world.decide("decline")
    await idle(world)
    await restore(world)
    await idle(world)
    before = len(world.sent())
    await world.answer(world.tap(await world.message("Payment attempt failed"), "New link"))
    await world.message("Waiting for payment")
    await idle(world)
    assert not [entry for entry in world.sent()[before:] if "declined" in entry.params["text"]]


async def test_key_of_another_account_does_not_change_a_refund(world: World) -> None:
    draft = await drafted(world, f"/refund {ref_of(await paid(world))} 40")
    await idle(world)
    await webhooks(world, "lose")
    await fault(world, "refund", "drop", "after", times=3)
    world.tap(draft, "Refund")
    await eventually(lambda: rows(world, "SELECT 1 FROM refunds WHERE last_error IS NOT NULL"))
    await world.stop()
    assert refund_states(world) == [(4000, "succeeded")]
    other = FakeStripe(world.clock, key="sk_test_51OtherAccount0002PretendStripeKeyOnThisMachineOnly")
    change = {"stripe_api_base": await other.start(), "stripe_api_key": SecretStr(other.key)}
    right, world.settings = world.settings, world.settings.model_copy(update=change)
    world.advance(300)
    try:
        await world.begin()
        await advance_until(world, lambda: rows(world, "SELECT 1 FROM refunds WHERE last_error = 'resource_missing'"))
        assert not [one for one in texts(world) if "No money went back" in one]
    finally:
        await world.stop()
        await other.stop()
        world.settings = right
    await world.begin()
    await advance_until(world, lambda: any(one.startswith("↩️ Refunded:") for one in texts(world)))
    assert refund_states(world) == [(4000, "succeeded")]


async def test_retrieves_are_applied_after_the_clock_was_ahead(world: World) -> None:
    own = WrongClock(world.clock, 0)
    await begin_with(world, own)
    await reply(world, world.say("/pay 125 Tea"), "Waiting for payment")
    await idle(world)
    own.ahead = 5 * 3600
    await world.decide("decline")
    await advance_until(world, lambda: any("Payment attempt failed" in one for one in texts(world)), step=10)
    own.ahead = 0
    world.advance(5)
    world.tap(await world.message("Payment attempt failed"), "New link")
    await advance_until(world, lambda: world.intent()["status"] == "requires_action")
    await world.decide("approve")
    await advance_until(world, lambda: any("✅ Paid:" in one for one in texts(world)), step=10)


@pytest.mark.parametrize("ahead", [120, -3600])
async def test_a_clock_that_is_wrong_makes_no_second_intent(world: World, ahead: float) -> None:
    await begin_with(world, WrongClock(world.clock, ahead))
    await webhooks(world, "lose")
    await fault(world, "create", "500", "after")
    world.say("/pay 125 Tea")
    await world.message("Waiting for payment")
    assert money(world) == (1, 0)


async def test_a_hold_that_somebody_canceled_at_stripe_did_not_lapse(world: World) -> None:
    await held(world)
    await idle(world)
    await at_stripe(world, f"payment_intents/{world.intent()['id']}/cancel")
    await wait_for_text(world, "cancelled at Stripe. No money was taken")
    assert not [one for one in texts(world) if "the reservation expired" in one]
