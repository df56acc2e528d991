"""Stripe down, slow, broken or against us: one intent and one charge all the same, and the card says what is wrong."""

from __future__ import annotations

import json
import time

import pytest

from bot.sandbox.fake_stripe.store import RequestRecord
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
    lose_events,
    money,
    pass_time,
    payment,
    rows,
    short_timeout,
    webhooks,
)
from tests.support.people import cancel_by_button, press
from tests.support.world import Json, World, labels

TROUBLE = "⚠️ Waiting for Stripe · TEST"
WAITING = "⏳ Waiting for payment · TEST"
CANCELED = "🚫 Cancelled · TEST"
FAILED = "❌ Payment attempt failed · TEST"


async def pay(world: World) -> None:
    world.say("/pay 149,50 Coffee")
    await world.message("#")
    await idle(world)


async def down(world: World, yes: bool = True) -> None:
    await world.control("stripe", "down", {"down": yes})


def sent(request: RequestRecord) -> str:
    """All that counts of a request: the same text is the same bytes under the same key."""
    return json.dumps([request.method, request.path, request.idempotency_key, request.params])


async def test_outage_is_shown_within_five_seconds_and_recovers(world: World) -> None:
    await down(world)
    begun = time.monotonic()
    world.say("/pay 149,50")
    card = await world.message("Waiting for Stripe")
    assert time.monotonic() - begun < 5
    assert "Stripe is not answering right now" in card["text"]
    assert labels(card) == ["Cancel"]
    await pass_time(world, 300)
    await down(world, False)
    await pass_time(world, 300)
    await lines_become(world, [WAITING])
    await world.decide("approve")
    await world.message("✅ Paid:")
    await idle(world)
    assert (chat_lines(world), money(world), keys(world, "create")) == ([PAID, PAID_NOTE], (1, 1), ["1"])
    assert (len(calls(world, "create")), len(cards(world))) == (1, 1)


async def test_slow_stripe_is_shown_within_five_seconds_and_the_request_continues(world: World) -> None:
    await world.control("stripe", "options", {"latency": 1})
    begun = time.monotonic()
    world.say("/pay 149,50")
    await world.message("Waiting for Stripe")
    assert time.monotonic() - begun < 5
    await world.control("stripe", "options", {"latency": 0})
    world.advance(1)
    await world.message("Waiting for payment")
    await idle(world)
    assert (chat_lines(world), money(world), len(calls(world, "create"))) == ([WAITING], (1, 0), 1)


@pytest.mark.parametrize(
    ("how", "when", "more"),
    [("timeout", "after", {}), ("500", "after", {}), ("429", "before", {"code": "lock_timeout"})],
    ids=["timeout", "stored 500", "lock timeout"],
)
async def test_each_request_takes_effect_once_despite_one_fault(world: World, how: str, when: str, more: Json) -> None:
    async with short_timeout(world):
        await fault(world, "create", how, when, **more)
        await pay(world)
        await pass_time(world, RETRIED)
        await lines_become(world, [WAITING])
        await world.decide("decline")
        card = await world.message("Payment attempt failed")
        await fault(world, "confirm", how, when, **more)
        await world.answer(world.tap(card, "New link"))
        await pass_time(world, RETRIED)
        await lines_become(world, [WAITING, FAILED_NOTE])
        await fault(world, "retrieve", how, when, **more)
        await world.decide("decline")
        await pass_time(world, RETRIED)
        await lines_become(world, [FAILED, FAILED_NOTE, FAILED_NOTE])
        await fault(world, "cancel", how, when, **more)
        await cancel_by_button(world, card)
        await pass_time(world, RETRIED)
    await lines_become(world, [CANCELED, FAILED_NOTE, FAILED_NOTE])
    assert (keys(world, "create"), keys(world, "confirm"), keys(world, "cancel")) == (["1"], ["2"], ["0"])
    assert (money(world), len(cards(world)), world.intent()["status"]) == ((1, 0), 1, "canceled")
    assert [len(attempts) for attempts in world.stripe.store.attempts.values()] == [2]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_after_a_restart_the_same_bytes_go_out_under_the_same_key(world: World, when: str) -> None:
    await lose_events(world)
    await fault(world, "create", "drop", when, times=3)
    await pay(world)
    await lines_become(world, [TROUBLE])
    await start_with_other_settings(world, 1)
    await lines_become(world, [WAITING])
    await world.decide("decline")
    await pass_time(world, 60)
    card = await world.message("Payment attempt failed")
    await fault(world, "confirm", "drop", when, times=3)
    await world.answer(press(world, card, f"n:{payment(world)['id']}"))  # an old button, for there is a page now
    await start_with_other_settings(world, 2)
    told = FAILED_NOTE.replace(
        "Tap New link on the payment message to try again", "The customer can try again with the same link"
    )
    await lines_become(world, [WAITING, told])
    await fault(world, "cancel", "drop", when, times=3)
    await cancel_by_button(world, card)
    await start_with_other_settings(world, 3)
    await lines_become(world, [CANCELED, told])
    for what in ("create", "confirm", "cancel"):
        assert len(calls(world, what)) == 4
        assert len({sent(request) for request in calls(world, what)}) == 1
    assert (money(world), len(cards(world))) == ((1, 0), 1)


async def start_with_other_settings(world: World, number: int) -> None:
    """Begin again with another address, which must not change what was frozen before."""
    await idle(world)
    await world.stop()
    other = {"public_url": f"https://pay{number}.example.dk", "telegram_mode": "polling"}
    world.settings = world.settings.model_copy(update=other)
    await world.begin()
    await pass_time(world, RETRIED)


async def test_a_stored_500_is_looked_up_by_list_and_not_replayed(world: World) -> None:
    await webhooks(world, "lose")
    await fault(world, "create", "500", "after")
    await pay(world)
    await lines_become(world, [WAITING])
    tries = calls(world, "create")
    assert [(request.status, request.replayed) for request in tries] == [(500, False), (500, True), (500, True)]
    assert (len({sent(request) for request in tries}), len(calls(world, "list"))) == (1, 1)
    await pass_time(world, 120)
    assert (len(calls(world, "create")), len(calls(world, "list")), money(world)) == (3, 1, (1, 0))


async def test_a_new_link_that_comes_too_late_for_a_canceled_intent_did_not_fail(world: World) -> None:
    await pay(world)
    await world.decide("decline")
    card = await world.message("Payment attempt failed")
    await idle(world)
    looks = len(calls(world, "retrieve"))
    await world.control("stripe", "options", {"latency": 1})
    tap = world.tap(card, "New link")
    await eventually(lambda: len(calls(world, "retrieve")) > looks)
    world.advance(1)
    await eventually(lambda: calls(world, "confirm"))
    await webhooks(world, "lose")
    await world.control("stripe", "options", {"latency": 0})
    await at_stripe(world, f"payment_intents/{world.intent()['id']}/cancel")
    world.advance(1)
    await world.answer(tap)
    await idle(world)
    await lines_become(world, [CANCELED, FAILED_NOTE, "🚫 #REF, DKK 149.50: cancelled at Stripe. No money was taken."])
    assert rows(world, "SELECT key FROM jobs WHERE key LIKE '%attempt:2%'") == []


async def test_a_request_that_is_still_being_carried_out_is_not_made_twice(world: World) -> None:
    async with short_timeout(world):
        await webhooks(world, "lose")
        await world.control("stripe", "options", {"latency": 1})
        world.say("/pay 149,50")
        await world.message("Waiting for Stripe")
        await world.control("stripe", "options", {"latency": 0})
        await pass_time(world, 1)
        await pass_time(world, RETRIED)
        await lines_become(world, [WAITING])
    assert 409 in {request.status for request in calls(world, "create")}
    assert (calls(world, "create")[-1].status, calls(world, "create")[-1].replayed) == (200, True)
    assert (chat_lines(world), money(world), keys(world, "create")) == ([WAITING], (1, 0), ["1"])


@pytest.mark.parametrize("when", ["before", "after"])
async def test_after_twenty_hours_stripe_is_searched_and_the_key_is_not_used_again(world: World, when: str) -> None:
    await lose_events(world)
    await fault(world, "create", "drop", when, times=3)
    await pay(world)
    await world.stop()
    world.advance(20 * 3600 + 5 * 60)
    await world.begin()
    await pass_time(world, RETRIED)
    assert (money(world), len(cards(world)), len(calls(world, "list"))) == ((1, 0), 1, 1)
    if when == "after":
        assert (chat_lines(world), keys(world, "create"), len(calls(world, "create"))) == (
            [EXPIRED, EXPIRED_NOTE],
            ["1"],
            3,
        )
    else:
        assert (chat_lines(world), keys(world, "create"), len(calls(world, "create"))) == ([WAITING], ["1", "2"], 4)


async def test_just_before_twenty_hours_the_same_key_is_used_again(world: World) -> None:
    await fault(world, "create", "drop", times=3)
    await pay(world)
    await world.stop()
    world.advance(20 * 3600 - 1)
    await world.begin()
    await eventually(lambda: len(calls(world, "create")) == 4)
    await idle(world)
    assert (chat_lines(world), keys(world, "create"), calls(world, "list")) == ([WAITING], ["1"], [])
