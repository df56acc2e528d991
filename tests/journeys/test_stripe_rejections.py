"""What Stripe will not do, and what it says that cannot be true: told in words, without a storm, and never believed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.stripe.gateway import StripeGateway
from handlers.stripe.gateway import GatewayError, Intent
from tests.support.evidence import (
    FAILED_NOTE,
    PAID,
    PAID_NOTE,
    actions,
    alerts,
    at_stripe,
    calls,
    cards,
    chat_lines,
    fault,
    idle,
    keys,
    lines_become,
    lose_events,
    money,
    pass_time,
    payment,
    short_timeout,
    webhooks,
)
from tests.support.people import cancel_by_button
from tests.support.world import Json, World, labels

TROUBLE = "⚠️ Waiting for Stripe · TEST"
WAITING = "⏳ Waiting for payment · TEST"
CANCELED = "🚫 Cancelled · TEST"
REFUSED = "❌ Stripe did not accept this request · TEST"


class Stingy(StripeGateway):
    """A Stripe that finds every amount too large."""

    async def create(self, params: str, *, key: str) -> Intent:
        raise GatewayError("amount_too_large", retryable=False)


class Unwilling(StripeGateway):
    """A Stripe that makes the first link, and refuses each later one for good."""

    async def confirm(self, intent_id: str, params: str, *, key: str) -> Intent:
        raise GatewayError("payment_method_unactivated", retryable=False)


class Forbidding(StripeGateway):
    """A Stripe whose key lacks the right to make an intent."""

    async def create(self, params: str, *, key: str) -> Intent:
        raise GatewayError("permission", retryable=False)


class Lying(StripeGateway):
    """A Stripe that answers with an intent over another amount."""

    async def create(self, params: str, *, key: str) -> Intent:
        return replace(await super().create(params, key=key), amount=1)


async def pay(world: World) -> Json:
    world.say("/pay 149,50 Coffee")
    card = await world.message("#")
    await idle(world)
    return card


async def key_is(world: World, accepted: bool) -> None:
    """Stripe takes our key, or another one only."""
    ours = world.settings.stripe_api_key.get_secret_value()
    world.stripe.state.key = ours if accepted else "sk_test_ofSomebodyElse0000000000"


async def hours(world: World, number: int) -> None:
    for _ in range(number * 2):
        await pass_time(world, 1800)


async def test_where_mobilepay_is_not_enabled_the_payment_message_says_where_to_switch_it_on_and_nobody_tries_again(
    world: World,
) -> None:
    await world.control("stripe", "options", {"mobilepay": "inactive"})
    card = await pay(world)
    assert "MobilePay is not turned on in the Stripe account" in card["text"]
    assert labels(card) == []
    await hours(world, 1)
    assert (chat_lines(world), money(world), len(calls(world, "create"))) == ([REFUSED], (0, 0), 1)
    assert (calls(world, "list"), payment(world)["cancellation_reason"]) == ([], "rejected")


async def test_an_amount_that_stripe_refuses_is_told_as_such(world: World) -> None:
    async with short_timeout(world, Stingy):
        card = await pay(world)
        assert "Stripe says that the amount is too large." in card["text"]
        await hours(world, 1)
    assert (chat_lines(world), money(world), labels(card)) == ([REFUSED], (0, 0), [])
    assert actions(world) == ["requested", "stripe_rejected"]


async def test_a_new_link_that_stripe_refuses_for_good_is_a_failed_attempt_and_not_a_storm(world: World) -> None:
    async with short_timeout(world, Unwilling):
        card = await pay(world)
        await world.decide("decline", code="card_declined", decline_code="insufficient_funds")
        await world.message("Payment attempt failed")
        await world.answer(world.tap(card, "New link"))
        await hours(world, 1)
    failed = "❌ #REF, DKK 149.50: {} No money was taken. Tap New link on the payment message to try again."
    assert chat_lines(world)[1:] == [
        failed.format("There is not enough money on the customer's card, or the card's limit has been reached."),
        failed.format("The payment did not go through."),
    ]
    assert labels(card) == ["New link", "Cancel"]
    assert (actions(world).count("attempt_rejected"), money(world), len(cards(world))) == (1, (1, 0), 1)


async def test_while_stripe_refuses_our_key_the_payment_message_says_so_and_heals_when_it_is_accepted_again(
    world: World,
) -> None:
    await key_is(world, accepted=False)
    card = await pay(world)
    assert (chat_lines(world), labels(card)) == ([TROUBLE], ["Cancel"])
    assert "Stripe does not accept this bot's key." in card["text"]
    await hours(world, 1)
    assert len(world.stripe.store.requests) < 20
    assert [alert.startswith("⚠️ Stripe does not accept Kvit's key") for alert in alerts(world)] == [True]
    assert (chat_lines(world), "Stripe does not accept this bot's key" in card["text"]) == ([TROUBLE], True)
    await key_is(world, accepted=True)
    await pass_time(world, 300)
    assert (chat_lines(world), money(world), len(cards(world))) == ([WAITING], (1, 0), 1)


async def test_a_key_without_the_right_to_ask_for_money_is_told_and_heals(world: World) -> None:
    async with short_timeout(world, Forbidding):
        card = await pay(world)
        assert (chat_lines(world), "Stripe does not accept this bot's key." in card["text"]) == ([TROUBLE], True)
        await hours(world, 1)
        await lines_become(world, [TROUBLE])
    world.overrides = None
    await world.begin()
    await pass_time(world, 300)
    assert (chat_lines(world), money(world), len(calls(world, "create"))) == ([WAITING], (1, 0), 1)


async def test_a_key_that_is_refused_after_an_answer_was_lost_does_not_make_a_second_intent(world: World) -> None:
    await webhooks(world, "lose")
    await fault(world, "create", "drop", "after", times=3)
    await pay(world)
    await key_is(world, accepted=False)
    await pass_time(world, 30)
    await lines_become(world, [TROUBLE])
    await key_is(world, accepted=True)
    await pass_time(world, 60)
    await pass_time(world, 60)
    await lines_become(world, [WAITING])
    assert money(world) == (1, 0)
    assert payment(world)["intent_id"] == world.intent()["id"]


async def test_new_links_and_cancels_wait_for_a_key_that_is_accepted(world: World) -> None:
    card = await pay(world)
    await world.decide("decline")
    await world.message("Payment attempt failed")
    await idle(world)
    await key_is(world, accepted=False)
    assert await world.answer(world.tap(card, "New link")) == (
        "Stripe is not answering right now, so there is no new link yet. Try again in a minute."
    )
    assert "is being cancelled" in await cancel_by_button(world, card)
    await idle(world)
    assert (chat_lines(world), "Stripe does not accept this bot's key" in card["text"]) == (
        [TROUBLE, FAILED_NOTE],
        True,
    )
    await key_is(world, accepted=True)
    await pass_time(world, 300)
    await lines_become(world, [CANCELED, FAILED_NOTE])
    assert world.intent()["status"] == "canceled"
    assert (calls(world, "confirm"), keys(world, "cancel")) == ([], ["0"])


@pytest.mark.parametrize("lie", [{"amount": 1}, {"currency": "sek"}, {"metadata": {"kvit_payment": "another"}}])
async def test_an_intent_that_differs_from_the_request_is_never_believed(world: World, lie: Json) -> None:
    await pay(world)
    intent = world.intent()
    truth = {name: intent[name] for name in lie}
    intent |= lie
    await world.decide("approve")
    await pass_time(world, 60)
    assert (chat_lines(world), payment(world)["status"], payment(world)["amount_received"]) == ([WAITING], "open", 0)
    assert any("does not match" in alert for alert in alerts(world))
    intent |= truth | {"amount_received": 14950}
    await pass_time(world, 300)
    assert (chat_lines(world), payment(world)["amount_received"]) == ([PAID, PAID_NOTE], 14950)


async def test_an_answer_over_another_amount_gives_no_link_and_the_payment_message_says_that_it_does_not_fit(
    world: World,
) -> None:
    await lose_events(world)
    async with short_timeout(world, Lying):
        card = await pay(world)
        assert (chat_lines(world), labels(card)) == ([TROUBLE], ["Cancel"])
        assert "Stripe's answer does not match this request, so Kvit has ignored it." in card["text"]
        await hours(world, 1)
        assert (chat_lines(world), keys(world, "create"), money(world)) == ([TROUBLE], ["1"], (1, 0))
        assert len(calls(world, "create")) < 20
        assert len(alerts(world)) == 1


async def test_somebody_elses_intent_that_names_our_payment_is_not_taken_for_ours(world: World) -> None:
    await world.control("stripe", "down", {"down": True})
    await pay(world)
    await world.control("stripe", "down", {"down": False})
    forged = {
        "amount": 500,
        "currency": "dkk",
        "metadata[kvit_payment]": payment(world)["id"],
        "automatic_payment_methods[enabled]": "true",
    }
    theirs = await at_stripe(world, "payment_intents", **forged)
    await idle(world)
    assert payment(world)["intent_id"] is None
    await pass_time(world, 300)
    assert payment(world)["intent_id"] not in {None, theirs["id"]}
    assert (chat_lines(world), payment(world)["amount"], world.intent()["amount"]) == ([WAITING], 14950, 14950)
