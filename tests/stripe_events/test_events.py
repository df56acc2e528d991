"""Events doubled, shuffled, early, foreign or lost: each fact is told once, and Stripe alone says what is true."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from itertools import permutations
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import (
    EXPIRED,
    EXPIRED_NOTE,
    FAILED_NOTE,
    PAID,
    PAID_NOTE,
    book,
    calls,
    cards,
    chat_lines,
    event,
    eventually,
    fault,
    idle,
    keys,
    lines_become,
    money,
    pass_time,
    payment,
    post_event,
    rows,
    short_timeout,
    versions,
    webhooks,
)
from tests.support.world import Json, World, free_port, opened

WAITING = "⏳ Waiting for payment · TEST"
FAILED = "❌ Payment attempt failed · TEST"
STEPS = [
    ("approve", [PAID, PAID_NOTE]),
    ("decline", [FAILED, FAILED_NOTE]),
    ("lapse", [EXPIRED, EXPIRED_NOTE]),
]


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await pay(running)
        yield running


async def pay(world: World) -> None:
    world.say("/pay 149,50 Coffee")
    await world.message("Waiting for payment")
    await idle(world)


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one after the other"])
@pytest.mark.parametrize(("does", "words"), STEPS[:2])
async def test_an_event_that_comes_ten_times_is_told_once(
    world: World, does: str, words: list[str], at_once: bool
) -> None:
    await webhooks(world, "hold")
    await world.decide(does)
    kind = "payment_intent.succeeded" if does == "approve" else "payment_intent.payment_failed"
    if at_once:
        answers = await asyncio.gather(*(post_event(world, event(world, kind)) for _ in range(10)))
    else:
        answers = [await post_event(world, event(world, kind)) for _ in range(10)]
    await idle(world)
    assert (answers, chat_lines(world)) == ([200] * 10, words)
    written = book(world)
    assert await post_event(world, event(world, kind)) == 200
    await idle(world)
    assert (book(world), chat_lines(world), len(cards(world))) == (written, words, 1)
    fact = "succeeded" if does == "approve" else "attempt:1:failed"
    told = rows(world, "SELECT key FROM jobs WHERE kind = 'notification'")
    assert told == [{"key": f"{payment(world)['id']}:{fact}"}]


@pytest.mark.parametrize("order", list(permutations(["begun", "failed", "paid"])))
async def test_in_whatever_order_events_come_an_older_one_says_nothing_of_the_newer_attempt(
    world: World, order: tuple[str, ...]
) -> None:
    """What comes before the last event comes while the second attempt is open, what comes after it, after the money."""
    await webhooks(world, "lose")
    await world.decide("decline")
    late = {"begun": event(world, "payment_intent.requires_action")}
    late["failed"] = event(world, "payment_intent.payment_failed")
    await pass_time(world, 60)
    world.tap(await world.message("Payment attempt failed"), "New link")
    await world.message("Waiting for payment")
    await idle(world)
    words = [WAITING, FAILED_NOTE]
    for name in order:
        if name == "paid":
            await world.decide("approve")
            late[name] = event(world, "payment_intent.succeeded")
            words = [PAID, FAILED_NOTE, PAID_NOTE]
        assert await post_event(world, late[name]) == 200
        await idle(world)
        assert chat_lines(world) == words
    assert versions(world) == [WAITING, FAILED, WAITING, PAID]
    assert (money(world), keys(world, "confirm")) == ((1, 1), ["2"])


async def test_events_that_are_all_delivered_at_once_and_twice_and_shuffled_are_told_in_order(world: World) -> None:
    await world.control("stripe", "webhooks", {"mode": "deliver", "double": True, "shuffle": True})
    await world.decide("decline")
    world.tap(await world.message("Payment attempt failed"), "New link")
    await world.message("Waiting for payment")
    await world.decide("lapse")
    world.tap(await world.message("The link expired"), "New link")
    await world.message("Waiting for payment")
    await world.decide("approve")
    await world.message("✅ Paid:")
    await idle(world)
    assert chat_lines(world) == [PAID, FAILED_NOTE, EXPIRED_NOTE, PAID_NOTE]
    assert (money(world), keys(world, "confirm"), len(cards(world))) == ((1, 1), ["2", "3"], 1)


async def test_events_that_are_faster_than_stripes_own_answer_make_neither_a_second_intent_nor_a_second_payment_message(
    clock: FakeClock, tmp_path: Path
) -> None:
    async with opened(clock, tmp_path) as world, short_timeout(world):
        await webhooks(world, "hold")
        await fault(world, "create", "timeout", "after")
        world.say("/pay 149,50")
        await eventually(lambda: world.stripe.store.intents)
        await world.decide("approve")
        assert payment(world)["intent_id"] is None
        assert await post_event(world, event(world, "payment_intent.succeeded")) == 200
        await world.message("✅ Paid:")
        await idle(world)
        await pass_time(world, 60)
        assert (chat_lines(world), len(cards(world))) == ([PAID, PAID_NOTE], 1)
        assert (money(world), keys(world, "create")) == ((1, 1), ["1"])
        assert payment(world)["intent_id"] == world.intent()["id"]


@pytest.mark.parametrize(
    "change",
    [
        {"livemode": True},
        {"object": {"id": "pi_unknown", "metadata": {}}},
        {"object": {"id": "pi_unknown", "metadata": {"kvit_payment": "nobody"}}},
        {"type": "payment_intent.made_up"},
    ],
    ids=["wrong_stripe_mode", "foreign", "unknown", "unknown type"],
)
async def test_events_that_are_not_for_us_are_taken_and_change_nothing(world: World, change: Json) -> None:
    asked, written = len(calls(world, "retrieve")), book(world)["payments"]
    foreign = event(world, "payment_intent.requires_action") | {"id": "evt_foreign"}
    thing = foreign["data"]["object"] | {"status": "succeeded"} | change.pop("object", {})
    foreign |= change | {"data": {"object": thing}}
    assert await post_event(world, foreign) == 200
    await idle(world)
    assert (chat_lines(world), book(world)["payments"]) == ([WAITING], written)
    looks = len(calls(world, "retrieve")) - asked
    assert looks == (1 if foreign["type"] == "payment_intent.made_up" else 0)


async def test_an_event_that_was_signed_with_another_secret_is_refused_and_not_kept(world: World) -> None:
    lie = event(world, "payment_intent.requires_action") | {"id": "evt_lie"}
    assert await post_event(world, lie, secret="whsec_other") == 400
    assert rows(world, "SELECT key FROM jobs WHERE key = 'evt_lie'") == []


async def test_a_validly_signed_lie_is_not_believed_for_stripe_is_asked(world: World) -> None:
    lie = event(world, "payment_intent.requires_action") | {"id": "evt_lie", "type": "payment_intent.succeeded"}
    paid = {"status": "succeeded", "amount_received": 14950}
    lie["data"] = {"object": lie["data"]["object"] | paid}
    looks = len(calls(world, "retrieve"))
    assert await post_event(world, lie) == 200
    await idle(world)
    assert (chat_lines(world), payment(world)["status"], money(world)) == ([WAITING], "open", (1, 0))
    assert len(calls(world, "retrieve")) == looks + 1


@pytest.mark.parametrize(("does", "words"), STEPS)
async def test_with_every_webhook_lost_the_sweep_finds_it_and_a_second_sweep_finds_nothing(
    world: World, does: str, words: list[str]
) -> None:
    await webhooks(world, "lose")
    await world.decide(does)
    assert chat_lines(world) == [WAITING]
    await pass_time(world, 60)
    assert (chat_lines(world), len(cards(world))) == (words, 1)
    written, shown = book(world), versions(world)
    await pass_time(world, 60)
    await pass_time(world, 60)
    assert (book(world), versions(world), chat_lines(world)) == (written, shown, words)


async def test_without_a_webhook_secret_events_are_refused_and_everything_becomes_true_all_the_same(
    clock: FakeClock, tmp_path: Path
) -> None:
    async with opened(clock, tmp_path, webhooks=False) as world:
        await pay(world)
        await world.decide("decline")
        assert await post_event(world, event(world, "payment_intent.payment_failed")) == 400
        assert rows(world, "SELECT key FROM jobs WHERE queue = 'events'") == []
        await pass_time(world, 10)
        world.tap(await world.message("Payment attempt failed"), "New link")
        await world.message("Waiting for payment")
        await pass_time(world, 300)
        world.tap(await world.message("The link expired"), "New link")
        await world.message("Waiting for payment")
        await idle(world)
        await world.decide("approve")
        await pass_time(world, 10)
        await lines_become(world, [PAID, FAILED_NOTE, EXPIRED_NOTE, PAID_NOTE])
        assert (money(world), keys(world, "confirm")) == ((1, 1), ["2", "3"])


async def test_the_way_back_from_the_wallet_is_one_look_in_ten_seconds_and_believes_nothing_it_says(
    clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    port = free_port()
    async with opened(clock, tmp_path, port=port, public_url=f"http://127.0.0.1:{port}") as world:
        await webhooks(world, "lose")
        await pay(world)
        page = world.stripe.store.attempts[world.intent()["id"]][0].return_url
        secret, looks = world.intent()["client_secret"], len(calls(world, "retrieve"))

        async def come_back(status: str) -> None:
            said_by_stripe = {"payment_intent": world.intent()["id"], "payment_intent_client_secret": secret}
            query = said_by_stripe | {"redirect_status": status}
            async with world.http.get(page, params=query, allow_redirects=False) as answer:
                assert (answer.status, world.service.base + answer.headers["Location"]) == (303, page)
            await idle(world)

        await come_back("succeeded")
        await pass_time(world, 5)
        await come_back("succeeded")
        assert (chat_lines(world), len(calls(world, "retrieve")) - looks) == ([WAITING], 1)
        await world.decide("approve")
        await come_back("succeeded")
        assert (chat_lines(world), len(calls(world, "retrieve")) - looks) == ([WAITING], 1)
        await pass_time(world, 5)
        await come_back("failed")
        assert (chat_lines(world), len(calls(world, "retrieve")) - looks) == ([PAID, PAID_NOTE], 2)
        await pass_time(world, 10)
        await come_back("succeeded")
        assert len(calls(world, "retrieve")) - looks == 2
        assert secret not in caplog.text
        assert secret.encode() not in b"".join(row["payload"] for row in rows(world, "SELECT payload FROM jobs"))
