"""Journeys of one payment on the pretend Stripe, with the real SDK over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import stripe

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.fake_stripe_shop import Shop, opened


@pytest.fixture
async def shop(clock: FakeClock) -> AsyncIterator[Shop]:
    async with opened(clock) as running:
        yield running


def link(intent: stripe.PaymentIntent) -> str:
    assert intent.next_action is not None
    assert intent.next_action.redirect_to_url is not None
    assert intent.next_action.redirect_to_url.url is not None
    return intent.next_action.redirect_to_url.url


async def test_create_and_confirm_gives_a_link_and_says_so_in_events(shop: Shop) -> None:
    intent = await shop.create()
    assert intent.status == "requires_action"
    assert link(intent).startswith(f"{shop.fake.base}/test/authorize/acct_")
    assert intent.payment_method_types == ["card", "mobilepay"]
    assert intent.metadata["payment"] == "p1"
    assert intent.livemode is False
    assert intent.client_secret is not None
    assert intent.client_secret.startswith(f"{intent.id}_secret_")
    assert shop.kinds == ["payment_intent.created", "payment_intent.requires_action"]


async def test_an_approved_payment_is_paid_and_its_fee_is_booked_a_moment_later(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/approve")
    paid = await shop.retrieve(intent.id)
    assert (paid.status, paid.amount_received, paid.next_action) == ("succeeded", 1234, None)
    assert isinstance(paid.latest_charge, stripe.Charge)
    assert paid.latest_charge.balance_transaction is None
    assert shop.kinds[2:] == ["charge.succeeded", "payment_intent.succeeded"]
    await shop.control("clock", {"advance": 3})
    assert shop.kinds[4:] == ["charge.updated"]


async def test_a_declined_payment_can_be_tried_again_on_the_same_intent(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/decline", {"code": "card_declined", "decline_code": "insufficient_funds"})
    failed = await shop.retrieve(intent.id)
    assert (failed.status, failed.payment_method) == ("requires_payment_method", None)
    assert failed.last_payment_error is not None
    assert (failed.last_payment_error.code, failed.last_payment_error.decline_code) == (
        "card_declined",
        "insufficient_funds",
    )
    assert shop.kinds[2:] == ["charge.failed", "payment_intent.payment_failed"]
    again = await shop.confirm(intent.id)
    assert (again.status, again.last_payment_error) == ("requires_action", None)
    assert link(again) != link(intent)


async def test_an_attempt_lapses_after_five_minutes_of_the_clock_and_not_before(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control("clock", {"advance": 299})
    assert (await shop.retrieve(intent.id)).status == "requires_action"
    await shop.control("clock", {"advance": 1})
    lapsed = await shop.retrieve(intent.id)
    assert lapsed.status == "requires_payment_method"
    assert lapsed.last_payment_error is not None
    assert lapsed.last_payment_error.code == "payment_intent_payment_attempt_expired"


async def test_the_lapse_of_an_old_attempt_leaves_the_next_one_alone(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/decline")
    await shop.control("clock", {"advance": 200})
    await shop.confirm(intent.id)
    await shop.control("clock", {"advance": 200})
    assert (await shop.retrieve(intent.id)).status == "requires_action"


async def test_one_declined_card_does_not_end_the_attempt_when_the_customer_takes_another(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/decline", {"final": False})
    assert (await shop.retrieve(intent.id)).status == "requires_action"
    await shop.control(f"intents/{intent.id}/approve")
    assert shop.kinds[2:] == ["charge.failed", "charge.succeeded", "payment_intent.succeeded"]


async def test_cancel_ends_an_open_link_and_a_second_cancel_is_refused_with_the_intent(shop: Shop) -> None:
    intent = await shop.create()
    canceled = await shop.sdk.v1.payment_intents.cancel_async(intent.id, {"cancellation_reason": "abandoned"})
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await shop.sdk.v1.payment_intents.cancel_async(intent.id)
    assert refused.value.code == "payment_intent_unexpected_state"
    assert refused.value.error is not None
    assert refused.value.error.payment_intent is not None
    assert refused.value.error.payment_intent.status == "canceled"
    await shop.control(f"intents/{intent.id}/approve", status=409)
    await shop.control("clock", {"advance": 300})
    assert shop.kinds[2:] == ["payment_intent.canceled"]


async def test_a_paid_intent_can_be_neither_confirmed_nor_canceled(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/approve")
    with pytest.raises(stripe.InvalidRequestError, match="already succeeded after being previously confirmed"):
        await shop.confirm(intent.id)
    with pytest.raises(stripe.InvalidRequestError, match="status of succeeded"):
        await shop.sdk.v1.payment_intents.cancel_async(intent.id)


async def test_confirm_while_a_link_is_open_is_refused_or_replaces_it_as_the_switch_says(shop: Shop) -> None:
    intent = await shop.create()
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await shop.confirm(intent.id)
    assert refused.value.code == "payment_intent_unexpected_state"
    await shop.control("options", {"confirm_while_open": "replace"})
    assert link(await shop.confirm(intent.id)) != link(intent)
    assert [attempt.outcome for attempt in shop.fake.store.attempts[intent.id]] == ["replaced", None]


async def test_too_many_confirms_cancel_the_intent(shop: Shop) -> None:
    await shop.control("options", {"confirm_limit": 2})
    intent = await shop.create()
    for _ in range(2):
        await shop.control(f"intents/{intent.id}/decline")
        last = await shop.confirm(intent.id)
    assert last.status == "canceled"


async def test_a_hold_is_captured_in_full_only(shop: Shop) -> None:
    intent = await shop.create(capture_method="manual")
    await shop.control(f"intents/{intent.id}/approve")
    held = await shop.retrieve(intent.id)
    assert (held.status, held.amount_capturable, held.amount_received) == ("requires_capture", 1234, 0)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await shop.sdk.v1.payment_intents.capture_async(intent.id, {"amount_to_capture": 1000})
    assert refused.value.param == "amount_to_capture"
    captured = await shop.sdk.v1.payment_intents.capture_async(intent.id, {"amount_to_capture": 1234})
    assert (captured.status, captured.amount_received) == ("succeeded", 1234)
    await shop.control("clock", {"advance": 8 * 86400})
    assert (await shop.retrieve(intent.id)).status == "succeeded"
    assert shop.kinds[2:] == [
        "charge.succeeded",
        "payment_intent.amount_capturable_updated",
        "charge.captured",
        "payment_intent.succeeded",
    ]


async def test_a_hold_nobody_captured_is_released_after_seven_days(shop: Shop) -> None:
    intent = await shop.create(capture_method="manual")
    await shop.control(f"intents/{intent.id}/approve")
    await shop.control("clock", {"advance": 7 * 86400})
    released = await shop.retrieve(intent.id)
    assert (released.status, released.cancellation_reason) == ("canceled", "automatic")
    assert shop.kinds[4:] == ["charge.expired", "payment_intent.canceled"]
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await shop.sdk.v1.payment_intents.capture_async(intent.id)
    assert refused.value.code == "payment_intent_unexpected_state"


async def test_an_intent_may_be_created_first_and_confirmed_later(shop: Shop) -> None:
    intent = await shop.sdk.v1.payment_intents.create_async({"amount": 500, "currency": "EUR"})
    assert (intent.status, intent.currency) == ("requires_payment_method", "eur")
    await shop.sdk.v1.payment_intents.update_async(intent.id, {"metadata": {"a": "b"}, "description": "later"})
    confirmed = await shop.confirm(intent.id)
    assert (confirmed.status, confirmed.metadata["a"], confirmed.description) == ("requires_action", "b", "later")


async def test_refunds_are_partial_and_never_exceed_what_was_captured(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/approve")
    first = await shop.sdk.v1.refunds.create_async({"payment_intent": intent.id, "amount": 234})
    assert (first.status, first.amount, first.currency) == ("succeeded", 234, "dkk")
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded amount"):
        await shop.sdk.v1.refunds.create_async({"payment_intent": intent.id, "amount": 1001})
    await shop.sdk.v1.refunds.create_async({"payment_intent": intent.id})
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await shop.sdk.v1.refunds.create_async({"payment_intent": intent.id})
    assert refused.value.code == "charge_already_refunded"
    listed = await shop.sdk.v1.refunds.list_async({"payment_intent": intent.id})
    assert [refund.amount for refund in listed.data] == [1000, 234]
    assert shop.kinds[4:] == ["refund.created", "charge.refunded"] * 2


async def test_a_refund_learns_its_bank_reference_an_hour_later(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/approve")
    charge = (await shop.retrieve(intent.id)).latest_charge
    assert isinstance(charge, stripe.Charge)
    refund = await shop.sdk.v1.refunds.create_async({"charge": charge.id, "reason": "duplicate"})
    await shop.control("clock", {"advance": 3600})
    found = await shop.sdk.v1.refunds.retrieve_async(refund.id, {"expand": ["charge"]})
    assert found.destination_details is not None
    assert found.destination_details.card is not None
    assert found.destination_details.card.reference_status == "available"
    assert isinstance(found.charge, stripe.Charge)
    assert (found.charge.refunded, found.charge.amount_refunded, found.reason) == (True, 1234, "duplicate")
    assert shop.kinds[-1] == "refund.updated"


async def test_a_hold_cannot_be_refunded_but_canceled_without_any_refund(shop: Shop) -> None:
    options = {"mobilepay": {"capture_method": "manual"}}
    intent = await shop.create(payment_method_options=options)
    await shop.control(f"intents/{intent.id}/approve")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await shop.sdk.v1.refunds.create_async({"payment_intent": intent.id})
    assert refused.value.code == "charge_not_refundable"
    await shop.sdk.v1.payment_intents.cancel_async(intent.id)
    released = await shop.retrieve(intent.id)
    assert (released.status, released.amount_capturable) == ("canceled", 0)
    assert not shop.fake.store.refunds


async def test_a_method_without_confirm_waits_for_confirmation(shop: Shop) -> None:
    intent = await shop.sdk.v1.payment_intents.create_async(
        {"amount": 500, "currency": "nok", "payment_method_data": {"type": "mobilepay"}}
    )
    assert intent.status == "requires_confirmation"
    confirmed = await shop.sdk.v1.payment_intents.confirm_async(intent.id, {"return_url": "https://kvit.example"})
    assert confirmed.status == "requires_action"


async def test_a_finished_intent_cannot_be_changed_and_an_open_attempt_keeps_its_amount(shop: Shop) -> None:
    intent = await shop.create()
    update = shop.sdk.v1.payment_intents.update_async
    assert (await update(intent.id, {"metadata": {"payment": ""}})).metadata.to_dict() == {}
    with pytest.raises(stripe.InvalidRequestError, match="open payment attempt"):
        await update(intent.id, {"amount": 999})
    await shop.control(f"intents/{intent.id}/approve")
    with pytest.raises(stripe.InvalidRequestError, match="status of succeeded"):
        await update(intent.id, {"metadata": {"a": "b"}})


async def test_two_runs_have_the_same_ids_even_if_one_looked_more_often(clock: FakeClock) -> None:
    seen: list[str] = []
    for _ in range(2):
        async with opened(clock) as running:
            for _ in seen:
                await running.sdk.v1.balance.retrieve_async()
            seen.append((await running.create()).id)
    assert seen[0] == seen[1]
    assert seen[0].startswith("pi_")
    assert len(seen[0]) == 27


async def test_a_live_key_makes_live_objects(clock: FakeClock) -> None:
    async with opened(clock, key="sk_live_0123456789abcdef") as running:
        intent = await running.create()
        assert intent.livemode is True
        assert all(event["livemode"] for event in running.fake.store.events.values())
