"""How a request ends without being paid, and what happens when the customer pays in the same moment."""

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
    RETRIED,
    at_stripe,
    calls,
    cards,
    chat_lines,
    eventually,
    fault,
    idle,
    keys,
    lines_become,
    money,
    pass_time,
    versions,
    webhooks,
)
from tests.support.people import cancel_by_button
from tests.support.world import World, labels, opened

CANCELED = "🚫 Cancelled · TEST"
ENDED = "🏁 Request closed · TEST"
TOLD_ENDED = "🏁 #REF, DKK 149.50: not paid in time. No money was taken. The request is closed."
THREE_MINUTES = 0.05


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    """A request that stands for three minutes, so that it ends before its first attempt does."""
    async with opened(clock, tmp_path, request_hours=THREE_MINUTES) as running:
        running.say("/pay 149,50 Coffee")
        await running.message("Waiting for payment")
        await idle(running)
        yield running


async def test_a_request_whose_time_is_over_is_canceled_at_stripe_and_told_as_ended(world: World) -> None:
    await pass_time(world, 179)
    assert world.intent()["status"] == "requires_action"
    await pass_time(world, 1)
    await lines_become(world, [ENDED, TOLD_ENDED])
    assert labels(await world.message("Request closed")) == ["Ask again"]
    assert (world.intent()["status"], keys(world, "cancel"), money(world)) == ("canceled", ["0"], (1, 0))
    await pass_time(world, 7200)
    assert (chat_lines(world), len(calls(world, "cancel"))) == ([ENDED, TOLD_ENDED], 1)


async def test_a_request_that_lapsed_ends_in_the_end(clock: FakeClock, tmp_path: Path) -> None:
    async with opened(clock, tmp_path, request_hours=1) as world:
        world.say("/pay 149,50")
        await world.message("Waiting for payment")
        await pass_time(world, 300)
        await pass_time(world, 3300)
        await lines_become(world, [ENDED, EXPIRED_NOTE, TOLD_ENDED])
        assert (world.intent()["status"], len(calls(world, "cancel"))) == ("canceled", 1)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_request_without_any_response_ends_without_a_second_intent(
    clock: FakeClock, tmp_path: Path, when: str
) -> None:
    """A day later Stripe has forgotten the key, so that the same request would make another intent."""
    async with opened(clock, tmp_path) as world:
        await webhooks(world, "lose")
        await fault(world, "create", "drop", when, times=3)
        world.say("/pay 149,50")
        await world.message("Waiting for Stripe")
        await idle(world)
        await world.stop()
        world.advance(25 * 3600)
        await world.begin()
        await pass_time(world, RETRIED)
        made = 1 if when == "after" else 0
        assert (chat_lines(world)[0], chat_lines(world)[-1], money(world)) == (ENDED, TOLD_ENDED, (made, 0))
        assert (len(calls(world, "cancel")), len(calls(world, "create")), len(cards(world))) == (made, 3, 1)


async def test_a_request_that_was_canceled_before_stripe_heard_of_it_can_never_be_paid(world: World) -> None:
    await world.control("stripe", "down", {"down": True})
    world.say("/pay 20 Tea")
    card = await world.message("Waiting for Stripe")
    assert "is being cancelled" in await cancel_by_button(world, card)
    await world.control("stripe", "down", {"down": False})
    await pass_time(world, RETRIED)
    await lines_become(world, ["⏳ Waiting for payment · TEST", CANCELED])
    assert [intent["status"] for intent in world.stripe.store.intents.values()] == ["requires_action", "canceled"]


async def test_a_customer_who_paid_at_the_last_second_is_paid_and_not_ended(world: World) -> None:
    await webhooks(world, "lose")
    await pass_time(world, 179)
    await world.decide("approve")
    assert chat_lines(world) == ["⏳ Waiting for payment · TEST"]
    await pass_time(world, 1)
    await pass_time(world, 600)
    await lines_become(world, [PAID, PAID_NOTE])
    assert not {ENDED, CANCELED} & set(versions(world))
    assert (money(world), len(calls(world, "cancel")), len(cards(world))) == ((1, 1), 1, 1)


async def test_a_customer_who_was_faster_than_the_merchant_has_paid(world: World) -> None:
    await webhooks(world, "lose")
    await world.decide("approve")
    answer = await cancel_by_button(world, await world.message("Waiting for payment"))
    assert answer == "The customer has already paid, so nothing was changed. To pay the money back, use /refund."
    await pass_time(world, 60)
    assert (chat_lines(world), money(world)) == ([PAID, PAID_NOTE], (1, 1))
    assert CANCELED not in versions(world)


async def test_a_customer_who_pays_while_the_cancel_is_on_its_way_has_paid(world: World) -> None:
    await world.control("stripe", "options", {"latency": 1})
    await world.answer(world.tap(await world.message("Waiting for payment"), "Cancel"))
    tap = world.tap(await world.message("Nothing has been cancelled yet"), "Cancel the request")
    await eventually(lambda: calls(world, "cancel"))
    await world.decide("approve")
    world.advance(1)
    await eventually(lambda: calls(world, "cancel")[0].status)
    await world.control("stripe", "options", {"latency": 0})
    world.advance(1)
    assert (
        await world.answer(tap)
        == "The customer has already paid, so nothing was changed. To pay the money back, use /refund."
    )
    await idle(world)
    assert (chat_lines(world), money(world), len(calls(world, "cancel"))) == ([PAID, PAID_NOTE], (1, 1), 1)
    assert CANCELED not in versions(world)


async def test_a_merchant_who_was_faster_than_the_customer_has_canceled(world: World) -> None:
    answer = await cancel_by_button(world, await world.message("Waiting for payment"))
    assert answer.endswith("is cancelled. No money was taken.")
    async with world.http.post(f"{world.stripe.base}/_control/intents/{world.intent()['id']}/approve") as late:
        assert late.status == 409
    await pass_time(world, 600)
    assert (chat_lines(world), money(world)) == ([CANCELED], (1, 0))
    assert (keys(world, "cancel"), world.intent()["status"]) == (["0"], "canceled")


async def test_a_cancel_while_stripe_is_down_heals_by_itself(world: World) -> None:
    await world.control("stripe", "down", {"down": True})
    answer = await cancel_by_button(world, await world.message("Waiting for payment"))
    assert "is being cancelled" in answer
    await lines_become(world, ["⚠️ Waiting for Stripe · TEST"])
    await world.control("stripe", "down", {"down": False})
    await pass_time(world, RETRIED)
    await lines_become(world, [CANCELED])
    assert (chat_lines(world), world.intent()["status"]) == ([CANCELED], "canceled")
    assert (len(calls(world, "cancel")), money(world), len(cards(world))) == (1, (1, 0), 1)


async def test_a_cancel_that_was_overtaken_by_the_money_while_stripe_was_down_is_paid(world: World) -> None:
    await world.control("stripe", "down", {"down": True})
    await cancel_by_button(world, await world.message("Waiting for payment"))
    await webhooks(world, "lose")
    await world.decide("approve")
    await world.control("stripe", "down", {"down": False})
    await pass_time(world, RETRIED)
    await lines_become(world, [PAID, PAID_NOTE])
    assert money(world) == (1, 1)
    assert CANCELED not in versions(world)


@pytest.mark.parametrize("lost", [False, True])
async def test_an_intent_that_was_canceled_in_the_dashboard_is_told(world: World, lost: bool) -> None:
    if lost:
        await webhooks(world, "lose")
    await at_stripe(world, f"payment_intents/{world.intent()['id']}/cancel")
    await pass_time(world, 60)
    await lines_become(world, [CANCELED, "🚫 #REF, DKK 149.50: cancelled at Stripe. No money was taken."])
    assert "It was cancelled at Stripe." in (await world.message("Cancelled ·"))["text"]
    assert money(world) == (1, 0)


@pytest.mark.parametrize(
    ("does", "words"),
    [
        ("approve", [PAID, PAID_NOTE]),
        ("decline", ["❌ Payment attempt failed · TEST", FAILED_NOTE]),
        ("lapse", [EXPIRED, EXPIRED_NOTE]),
    ],
)
async def test_what_the_customer_did_while_kvit_was_stopped_is_told_once_it_runs_again(
    world: World, does: str, words: list[str]
) -> None:
    await world.stop()
    await world.decide(does)
    await world.begin()
    await pass_time(world, 60)
    assert (chat_lines(world), len(cards(world)), money(world)[0]) == (words, 1, 1)
    await world.stop()
    await world.begin()
    await pass_time(world, 60)
    assert chat_lines(world) == words


async def test_a_whole_life_with_a_restart_after_each_step_has_one_intent_and_one_charge(
    clock: FakeClock, tmp_path: Path
) -> None:
    async with opened(clock, tmp_path) as world:

        async def again() -> None:
            await idle(world)
            await world.stop()
            await world.begin()

        world.say("/pay 149,50")
        await world.message("Waiting for payment")
        await again()
        await world.decide("decline")
        failed = await world.message("Payment attempt failed")
        await again()
        world.tap(failed, "New link")
        await world.message("Waiting for payment")
        await again()
        await pass_time(world, 300)
        await again()
        world.tap(await world.message("The link expired"), "New link")
        await world.message("Waiting for payment")
        await again()
        await world.decide("approve")
        await world.message("✅ Paid:")
        await again()
        await pass_time(world, 86_400)
        await lines_become(world, [PAID, FAILED_NOTE, EXPIRED_NOTE, PAID_NOTE])
        assert (money(world), keys(world, "create"), keys(world, "confirm")) == ((1, 1), ["1"], ["2", "3"])
        assert (len(calls(world, "confirm")), len(cards(world))) == (2, 1)
