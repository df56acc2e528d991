"""Payments on the fake Stripe, with the real SDK over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import stripe

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.fake_stripe_shop import Shop, start_shop


@pytest.fixture
async def shop(clock: FakeClock) -> AsyncIterator[Shop]:
    async with start_shop(clock) as running:
        yield running


def link(intent: stripe.PaymentIntent) -> str:
    assert intent.next_action is not None
    assert intent.next_action.redirect_to_url is not None
    assert intent.next_action.redirect_to_url.url is not None
    return intent.next_action.redirect_to_url.url


async def test_create_with_confirm_returns_a_link_and_emits_events(shop: Shop) -> None:
    intent = await shop.create()
    assert intent.status == "requires_action"
    assert link(intent).startswith(f"{shop.fake.base}/test/authorize/acct_")
    assert intent.payment_method_types == ["card", "mobilepay"]
    assert intent.metadata["payment"] == "p1"
    assert intent.livemode is False
    assert intent.client_secret is not None
    assert intent.client_secret.startswith(f"{intent.id}_secret_")
    assert shop.kinds == ["payment_intent.created", "payment_intent.requires_action"]


async def test_approved_payment_succeeds_and_its_balance_transaction_follows_later(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/approve")
    paid = await shop.retrieve(intent.id)
    assert (paid.status, paid.amount_received, paid.next_action) == ("succeeded", 1234, None)
    assert isinstance(paid.latest_charge, stripe.Charge)
    assert paid.latest_charge.balance_transaction is None
    assert shop.kinds[2:] == ["charge.succeeded", "payment_intent.succeeded"]
    await shop.control("clock", {"advance": 3})
    assert shop.kinds[4:] == ["charge.updated"]


async def test_declined_payment_can_be_confirmed_again(shop: Shop) -> None:
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


async def test_attempt_expires_after_five_minutes_of_the_clock(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control("clock", {"advance": 299})
    assert (await shop.retrieve(intent.id)).status == "requires_action"
    await shop.control("clock", {"advance": 1})
    expired = await shop.retrieve(intent.id)
    assert expired.status == "requires_payment_method"
    assert expired.last_payment_error is not None
    assert expired.last_payment_error.code == "payment_intent_payment_attempt_expired"


async def test_expiry_of_an_earlier_attempt_does_not_end_the_next_one(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/decline")
    await shop.control("clock", {"advance": 200})
    await shop.confirm(intent.id)
    await shop.control("clock", {"advance": 200})
    assert (await shop.retrieve(intent.id)).status == "requires_action"


async def test_non_final_decline_leaves_the_attempt_open(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/decline", {"final": False})
    assert (await shop.retrieve(intent.id)).status == "requires_action"
    await shop.control(f"intents/{intent.id}/approve")
    assert shop.kinds[2:] == ["charge.failed", "charge.succeeded", "payment_intent.succeeded"]


async def test_cancel_ends_an_open_link_and_a_second_cancel_returns_an_error_with_the_intent(shop: Shop) -> None:
    intent = await shop.create()
    canceled = await shop.sdk.v1.payment_intents.cancel_async(intent.id, {"cancellation_reason": "abandoned"})
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    with pytest.raises(stripe.InvalidRequestError) as error:
        await shop.sdk.v1.payment_intents.cancel_async(intent.id)
    assert error.value.code == "payment_intent_unexpected_state"
    assert error.value.error is not None
    assert error.value.error.payment_intent is not None
    assert error.value.error.payment_intent.status == "canceled"
    await shop.control(f"intents/{intent.id}/approve", status=409)
    await shop.control("clock", {"advance": 300})
    assert shop.kinds[2:] == ["payment_intent.canceled"]


async def test_paid_intent_cannot_be_confirmed_or_canceled(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/approve")
    with pytest.raises(stripe.InvalidRequestError, match="already succeeded after being previously confirmed"):
        await shop.confirm(intent.id)
    with pytest.raises(stripe.InvalidRequestError, match="status of succeeded"):
        await shop.sdk.v1.payment_intents.cancel_async(intent.id)


async def test_confirm_while_a_link_is_open_is_rejected_or_replaces_it_by_option(shop: Shop) -> None:
    intent = await shop.create()
    with pytest.raises(stripe.InvalidRequestError) as error:
        await shop.confirm(intent.id)
    assert error.value.code == "payment_intent_unexpected_state"
    await shop.control("options", {"confirm_while_open": "replace"})
    assert link(await shop.confirm(intent.id)) != link(intent)
    assert [attempt.outcome for attempt in shop.fake.store.attempts[intent.id]] == ["replaced", None]


async def test_confirm_above_the_limit_cancels_the_intent(shop: Shop) -> None:
    await shop.control("options", {"confirm_limit": 2})
    intent = await shop.create()
    for _ in range(2):
        await shop.control(f"intents/{intent.id}/decline")
        last = await shop.confirm(intent.id)
    assert last.status == "canceled"


async def test_hold_can_only_be_captured_in_full(shop: Shop) -> None:
    intent = await shop.create(capture_method="manual")
    await shop.control(f"intents/{intent.id}/approve")
    authorized = await shop.retrieve(intent.id)
    assert (authorized.status, authorized.amount_capturable, authorized.amount_received) == (
        "requires_capture",
        1234,
        0,
    )
    with pytest.raises(stripe.InvalidRequestError) as error:
        await shop.sdk.v1.payment_intents.capture_async(intent.id, {"amount_to_capture": 1000})
    assert error.value.param == "amount_to_capture"
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


async def test_uncaptured_hold_is_released_after_seven_days(shop: Shop) -> None:
    intent = await shop.create(capture_method="manual")
    await shop.control(f"intents/{intent.id}/approve")
    await shop.control("clock", {"advance": 7 * 86400})
    released = await shop.retrieve(intent.id)
    assert (released.status, released.cancellation_reason) == ("canceled", "automatic")
    assert shop.kinds[4:] == ["charge.expired", "payment_intent.canceled"]
    with pytest.raises(stripe.InvalidRequestError) as error:
        await shop.sdk.v1.payment_intents.capture_async(intent.id)
    assert error.value.code == "payment_intent_unexpected_state"


async def test_intent_can_be_created_first_and_confirmed_later(shop: Shop) -> None:
    intent = await shop.sdk.v1.payment_intents.create_async({"amount": 500, "currency": "EUR"})
    assert (intent.status, intent.currency) == ("requires_payment_method", "eur")
    await shop.sdk.v1.payment_intents.update_async(intent.id, {"metadata": {"a": "b"}, "description": "later"})
    confirmed = await shop.confirm(intent.id)
    assert (confirmed.status, confirmed.metadata["a"], confirmed.description) == ("requires_action", "b", "later")


async def test_partial_refunds_cannot_exceed_the_captured_amount(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/approve")
    first = await shop.sdk.v1.refunds.create_async({"payment_intent": intent.id, "amount": 234})
    assert (first.status, first.amount, first.currency) == ("succeeded", 234, "dkk")
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded amount"):
        await shop.sdk.v1.refunds.create_async({"payment_intent": intent.id, "amount": 1001})
    await shop.sdk.v1.refunds.create_async({"payment_intent": intent.id})
    with pytest.raises(stripe.InvalidRequestError) as error:
        await shop.sdk.v1.refunds.create_async({"payment_intent": intent.id})
    assert error.value.code == "charge_already_refunded"
    listed = await shop.sdk.v1.refunds.list_async({"payment_intent": intent.id})
    assert [refund.amount for refund in listed.data] == [1000, 234]
    assert shop.kinds[4:] == ["refund.created", "charge.refunded"] * 2


async def test_refund_gets_its_bank_reference_after_an_hour(shop: Shop) -> None:
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


async def test_hold_cannot_be_refunded_and_is_canceled_without_a_refund(shop: Shop) -> None:
    options = {"mobilepay": {"capture_method": "manual"}}
    intent = await shop.create(payment_method_options=options)
    await shop.control(f"intents/{intent.id}/approve")
    with pytest.raises(stripe.InvalidRequestError) as error:
        await shop.sdk.v1.refunds.create_async({"payment_intent": intent.id})
    assert error.value.code == "charge_not_refundable"
    await shop.sdk.v1.payment_intents.cancel_async(intent.id)
    released = await shop.retrieve(intent.id)
    assert (released.status, released.amount_capturable) == ("canceled", 0)
    assert not shop.fake.store.refunds


async def test_intent_with_a_method_and_without_confirm_requires_confirmation(shop: Shop) -> None:
    intent = await shop.sdk.v1.payment_intents.create_async(
        {"amount": 500, "currency": "nok", "payment_method_data": {"type": "mobilepay"}}
    )
    assert intent.status == "requires_confirmation"
    confirmed = await shop.sdk.v1.payment_intents.confirm_async(intent.id, {"return_url": "https://kvit.example"})
    assert confirmed.status == "requires_action"


async def test_update_is_rejected_for_a_paid_intent_and_for_the_amount_of_an_open_attempt(shop: Shop) -> None:
    intent = await shop.create()
    update = shop.sdk.v1.payment_intents.update_async
    assert (await update(intent.id, {"metadata": {"payment": ""}})).metadata.to_dict() == {}
    with pytest.raises(stripe.InvalidRequestError, match="open payment attempt"):
        await update(intent.id, {"amount": 999})
    await shop.control(f"intents/{intent.id}/approve")
    with pytest.raises(stripe.InvalidRequestError, match="status of succeeded"):
        await update(intent.id, {"metadata": {"a": "b"}})


async def test_ids_are_equal_in_two_runs_with_different_reads(clock: FakeClock) -> None:
    ids: list[str] = []
    for _ in range(2):
        async with start_shop(clock) as running:
            for _ in ids:
                await running.sdk.v1.balance.retrieve_async()
            ids.append((await running.create()).id)
    assert ids[0] == ids[1]
    assert ids[0].startswith("pi_")
    assert len(ids[0]) == 27


async def test_live_key_creates_livemode_objects(clock: FakeClock) -> None:
    async with start_shop(clock, key="sk_live_0123456789abcdef") as running:
        intent = await running.create()
        assert intent.livemode is True
        assert all(event["livemode"] for event in running.fake.store.events.values())
