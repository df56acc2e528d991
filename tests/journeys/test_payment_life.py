"""A payment's life told by three witnesses: what Stripe's ledger holds, what the chat says, what was written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import (
    EXPIRED,
    EXPIRED_NOTE,
    FAILED_NOTE,
    PAID,
    PAID_NOTE,
    calls,
    cards,
    chat_lines,
    eventually,
    idle,
    keys,
    lines_become,
    money,
    notices,
    pass_time,
    versions,
    webhooks,
)
from tests.support.world import OWNER, World, button, labels, opened

MIA = 70_010_002
AGING = "⏳ The link is expiring · TEST"
WAITING = "⏳ Waiting for payment · TEST"
ENDED = "🏁 Request closed · TEST"


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        running.say("/pay 149,50 Coffee")
        await running.message("Waiting for payment")
        await idle(running)
        yield running


async def new_link(world: World, *, by: int = OWNER) -> str:
    """Tap *New link* on the card, and return the answer."""
    card = await world.message("#", but="\u00a0149.50:")
    await eventually(lambda: "New link" in labels(card))
    return await world.answer(world.tap(card, "New link", by=by))


async def test_a_declined_attempt_is_told_with_its_reason_and_a_new_link_of_the_same_intent_is_paid(
    world: World,
) -> None:
    first = button(await world.message("Waiting for payment"), "Pay")["url"]
    await world.decide("decline", code="card_declined", decline_code="insufficient_funds")
    failed = await world.message("Payment attempt failed")
    assert "There is not enough money" in failed["text"]
    assert labels(failed) == ["New link", "Cancel"]
    notice = await world.message("Tap New link on the payment message to try again")
    assert notice["reply_to_message"]["message_id"] == failed["message_id"]
    assert await new_link(world) == "Here is a new link."
    assert button(await world.message("Waiting for payment"), "Pay")["url"] != first
    await world.decide("approve")
    await world.message("✅ Paid:")
    await idle(world)
    why = "There is not enough money on the customer's card, or the card's limit has been reached. No money was taken."
    await lines_become(
        world, [PAID, f"❌ #REF, DKK 149.50: {why} Tap New link on the payment message to try again.", PAID_NOTE]
    )
    assert (money(world), keys(world, "create"), keys(world, "confirm")) == ((1, 1), ["1"], ["2"])
    assert (len(cards(world)), len(calls(world, "confirm"))) == (1, 1)


async def test_an_attempt_that_nobody_used_is_told_without_a_sound(world: World) -> None:
    await pass_time(world, 300)
    await lines_become(world, [EXPIRED, EXPIRED_NOTE])
    assert notices(world)[0].params["disable_notification"] is True
    assert await new_link(world) == "Here is a new link."
    await world.decide("approve")
    await world.message("✅ Paid:")
    await idle(world)
    await lines_become(world, [PAID, EXPIRED_NOTE, PAID_NOTE])
    assert not notices(world)[1].params.get("disable_notification")
    assert (money(world), len(cards(world)), keys(world, "confirm")) == ((1, 1), 1, ["2"])


async def test_an_attempt_is_over_when_stripe_says_so_and_not_when_our_clock_does(world: World) -> None:
    await world.control("stripe", "options", {"expiry_delay": 600})
    assert await new_attempt_after_a_decline(world) == "Here is a new link."
    await pass_time(world, 310)
    await pass_time(world, 60)
    await lines_become(world, [AGING, FAILED_NOTE])
    await world.decide("approve")
    await world.message("✅ Paid:")
    await pass_time(world, 600)
    await lines_become(world, [PAID, FAILED_NOTE, PAID_NOTE])
    assert EXPIRED not in versions(world)
    assert (money(world), keys(world, "confirm")) == ((1, 1), ["2"])


async def new_attempt_after_a_decline(world: World) -> str:
    await world.decide("decline")
    await world.message("Payment attempt failed")
    await idle(world)  # a notification is left out once the payment went on
    return await new_link(world)


@pytest.mark.parametrize("late", ["lost", "ten minutes late"])
async def test_late_money_is_paid_even_without_webhooks(world: World, late: str) -> None:
    await webhooks(world, "lose" if late == "lost" else "hold")
    await pass_time(world, 300)
    await lines_become(world, [EXPIRED, EXPIRED_NOTE])
    assert await new_link(world) == "Here is a new link."
    await world.decide("approve")
    await pass_time(world, 60)
    await lines_become(world, [PAID, EXPIRED_NOTE, PAID_NOTE])
    await pass_time(world, 600)
    shown = versions(world)
    if late != "lost":
        assert (await world.control("stripe", "webhooks/release", {}))["released"] >= 4
        await webhooks(world, "deliver")
        await idle(world)
    await pass_time(world, 3600)
    assert versions(world) == shown
    assert shown.index(EXPIRED) < shown.index(PAID) == len(shown) - 1
    await lines_become(world, [PAID, EXPIRED_NOTE, PAID_NOTE])
    assert money(world) == (1, 1)


async def test_money_that_came_unseen_before_the_new_link_was_tapped_is_seen_by_the_tap(world: World) -> None:
    await webhooks(world, "lose")
    await pass_time(world, 240)
    await world.decide("approve")
    await lines_become(world, [AGING])
    assert (
        await new_link(world)
        == "The customer has already paid, so nothing was changed. To pay the money back, use /refund."
    )
    await idle(world)
    await lines_become(world, [PAID, PAID_NOTE])
    assert (money(world), calls(world, "confirm")) == ((1, 1), [])


async def test_no_new_link_is_made_before_the_earlier_attempt_ended_and_one_is_told_when_to_try(world: World) -> None:
    await pass_time(world, 250)
    assert await new_link(world) == "The previous link is still closing. Try again at 13:05."
    assert (calls(world, "confirm"), chat_lines(world)) == ([], [AGING])
    await pass_time(world, 50)
    assert await new_link(world) == "Here is a new link."
    await idle(world)
    assert (keys(world, "confirm"), money(world), chat_lines(world)) == (["2"], (1, 0), [WAITING, EXPIRED_NOTE])


async def test_a_new_link_is_refused_while_stripe_is_late_to_end_an_attempt_whose_time_is_over(
    clock: FakeClock, tmp_path: Path
) -> None:
    async with opened(clock, tmp_path) as world:
        await world.control("stripe", "options", {"expiry_delay": 90})
        world.say("/pay 149,50")
        await world.message("Waiting for payment")
        await pass_time(world, 330)
        assert await new_link(world) == "The previous link is still closing. Try again in a minute."
        assert (calls(world, "confirm"), chat_lines(world)) == ([], [AGING])
        await pass_time(world, 60)
        await lines_become(world, [EXPIRED, EXPIRED_NOTE])


@pytest.mark.parametrize("who", ["one person", "two people"])
async def test_a_new_link_that_is_tapped_twice_at_once_is_one_attempt(world: World, who: str) -> None:
    await world.service.seed("Olivia", [(MIA, "Mia", "merchant")], [-100_200_300])
    world.say("/pay 149,50", chat=-100_200_300)
    card = await world.message("Waiting for payment", chat=-100_200_300)
    await world.decide("decline")
    await world.message("Payment attempt failed", chat=-100_200_300)
    taps = [world.tap(card, "New link", by=by) for by in (OWNER, MIA if who == "two people" else OWNER)]
    assert [await world.answer(tap) for tap in taps] == ["Here is a new link."] * 2
    await idle(world)
    assert (len(calls(world, "confirm")), keys(world, "confirm")) == (1, ["2"])
    assert [len(attempts) for attempts in world.stripe.store.attempts.values()] == [1, 2]
    assert chat_lines(world, -100_200_300) == [WAITING, FAILED_NOTE]


async def test_after_the_eighth_attempt_the_intent_is_canceled_and_the_chat_is_told(world: World) -> None:
    for _ in range(7):
        assert await new_attempt_after_a_decline(world) == "Here is a new link."
        await world.message("Waiting for payment")
    await world.decide("decline")
    await world.message("Payment attempt failed")
    await pass_time(world, 5)
    over = (
        "🏁 #REF, DKK 149.50: all attempts have been used. No money was taken. The request is closed."
        " Send a new one if you still want the payment."
    )
    await lines_become(world, [ENDED, *[FAILED_NOTE] * 8, over])
    assert labels(await world.message("All attempts have been used")) == ["Ask again"]
    assert (world.intent()["status"], keys(world, "cancel"), money(world)) == ("canceled", ["0"], (1, 0))
    assert keys(world, "confirm") == ["2", "3", "4", "5", "6", "7", "8"]
    assert len(calls(world, "confirm")) == 7


@pytest.mark.parametrize("down", [False, True], ids=["", "while Stripe is down"])
async def test_a_payment_message_changes_from_pay_to_new_link_at_four_fifths_though_nothing_else_happens(
    world: World, down: bool
) -> None:
    await pass_time(world, 239)
    card = await world.message("Waiting for payment")
    assert labels(card) == ["Share", "Copy link", "Pay DKK 149.50", "Cancel"]
    await world.control("stripe", "down", {"down": down})
    await pass_time(world, 1)
    await lines_become(world, [AGING])
    assert (labels(card), versions(world)) == (["New link", "Cancel"], [WAITING, AGING])
    await pass_time(world, 30)
    assert versions(world) == [WAITING, AGING]
    assert (money(world), world.intent()["status"]) == ((1, 0), "requires_action")


async def test_one_declined_card_of_several_in_the_wallet_does_not_end_the_attempt(world: World) -> None:
    await world.decide("decline", code="card_declined", decline_code="insufficient_funds", final=False)
    await idle(world)
    await lines_become(world, [WAITING])
    await world.decide("approve")
    await world.message("✅ Paid:")
    await idle(world)
    assert (chat_lines(world), versions(world), money(world)) == ([PAID, PAID_NOTE], [WAITING, PAID], (1, 1))
