"""What left a shop again: today's total is net of it, a dispute heads its payment, a waiting refund says what to do."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import at_stripe, idle, pass_time, versions
from tests.support.world import Json, World, button, opened


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        yield running


async def paid(world: World, text: str) -> str:
    """A paid request; returns the id of its intent."""
    world.say(f"/pay {text}")
    await world.message(text.split()[-1])
    await idle(world)
    await world.decide("approve")
    await idle(world)
    return str(world.intent()["id"])


async def today(world: World) -> str:
    before = len(world.sent())
    world.say("/status")
    await idle(world)
    (answer,) = [e.params["text"] for e in world.sent()[before:]]
    line = next(line for line in answer.split("\n") if line.startswith("Paid today"))
    return re.sub("<[^>]*>", "", line).replace("\u00a0", " ")


async def close_dispute(world: World, status: str) -> None:
    (dispute,) = world.stripe.store.disputes
    await world.control("stripe", f"disputes/{dispute}/close", {"status": status})
    await idle(world)


async def test_paid_today_is_net_of_refunds_and_disputes(world: World) -> None:
    first, second = await paid(world, "100 Coffee"), await paid(world, "60,50 Tea")
    assert await today(world) == "Paid today: DKK 160.50 (2)"
    await at_stripe(world, "refunds", payment_intent=first, amount=3000)
    await idle(world)
    assert await today(world) == "Paid today: DKK 130.50 = DKK 160.50 (2) − DKK 30.00 refunded"
    await world.control("stripe", f"intents/{second}/dispute", {})
    await idle(world)
    expected = "Paid today: DKK 70.00 = DKK 160.50 (2) − DKK 30.00 refunded − DKK 60.50 disputed"
    assert await today(world) == expected
    await close_dispute(world, "won")
    assert await today(world) == "Paid today: DKK 130.50 = DKK 160.50 (2) − DKK 30.00 refunded"


async def test_refund_of_yesterdays_payment_leaves_today_below_zero(world: World) -> None:
    intent = await paid(world, "100 Coffee")
    await pass_time(world, 24 * 3600)
    await at_stripe(world, "refunds", payment_intent=intent, amount=2500)
    await idle(world)
    assert re.fullmatch(r"Paid today: -?DKK -?25\.00 = DKK 0\.00 \(0\) − DKK 25\.00 refunded", await today(world))


async def test_money_that_a_bank_only_asks_about_is_still_there(world: World) -> None:
    intent = await paid(world, "100 Coffee")
    await world.control("stripe", f"intents/{intent}/dispute", {"status": "warning_needs_response"})
    await idle(world)
    assert await today(world) == "Paid today: DKK 100.00 (1)"


@pytest.mark.parametrize(("end", "heading"), [("won", "✅ Paid · TEST"), ("lost", "⚖️ Disputed · TEST")])
async def test_disputed_payment_is_headed_disputed_until_the_shop_wins(world: World, end: str, heading: str) -> None:
    intent = await paid(world, "100 Coffee")
    assert versions(world)[-1] == "✅ Paid · TEST"
    await world.control("stripe", f"intents/{intent}/dispute", {})
    await idle(world)
    assert versions(world)[-1] == "⚖️ Disputed · TEST"
    await close_dispute(world, end)
    assert versions(world)[-1] == heading


async def test_disputed_payment_that_was_partly_refunded_says_both(world: World) -> None:
    intent = await paid(world, "100 Coffee")
    await at_stripe(world, "refunds", payment_intent=intent, amount=2500)
    await idle(world)
    await world.control("stripe", f"intents/{intent}/dispute", {"amount": 7500})
    await idle(world)
    card = (await world.message("Disputed"))["text"].replace("\u00a0", " ")
    assert "DKK 25.00: refunded" in card
    assert "Total after refund: DKK 75.00." in card


async def test_refund_that_waits_for_the_balance_says_what_to_do_with_a_link(world: World) -> None:
    intent = await paid(world, "100 Coffee")
    await world.control("stripe", "refunds/next", {"status": "pending", "pending_reason": "insufficient_funds"})
    await at_stripe(world, "refunds", payment_intent=intent, amount=2500)
    await idle(world)

    def waits(message: Json) -> None:
        assert "there is not enough in your Stripe balance" in message["text"]
        assert "Add money to your balance in the Stripe Dashboard" in message["text"]
        assert button(message, "Dashboard")["url"] == "https://dashboard.stripe.com/test/balance/overview"

    waits(await world.message("refund not finished yet"))
    waits(await world.message("has started but is not finished"))


async def test_status_counts_what_today_counts(world: World) -> None:
    intent = await paid(world, "60,50 Tea")
    await world.control("stripe", f"intents/{intent}/dispute", {})
    await idle(world)
    await pass_time(world, 24 * 3600)
    assert await today(world) == "Paid today: nothing yet"
    await close_dispute(world, "won")
    assert await today(world) == "Paid today: DKK 60.50 = DKK 0.00 (0) + DKK 60.50 back from a dispute"
    before = len(world.sent())
    world.say("/today")
    await idle(world)
    (answer,) = [e.params["text"].replace("\u00a0", " ") for e in world.sent()[before:]]
    assert re.search(r"Net before Stripe's fees: <b>DKK 60\.50</b>", answer)
