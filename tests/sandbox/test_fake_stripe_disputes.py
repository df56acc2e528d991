"""Disputes, early fraud warnings and expiring holds of the fake Stripe, with the real SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import stripe

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.fake_stripe_shop import Shop, start_shop

DAY = 86400


@pytest.fixture
async def shop(clock: FakeClock) -> AsyncIterator[Shop]:
    async with start_shop(clock) as running:
        yield running


async def test_dispute_withdraws_the_amount_and_a_won_dispute_reinstates_it(shop: Shop) -> None:
    intent = await shop.paid()
    created = await shop.control(f"intents/{intent.id}/dispute", {"reason": "product_not_received", "due_in": DAY})
    found = (await shop.sdk.v1.disputes.list_async({"payment_intent": intent.id})).data[0]
    assert (found.id, found.amount, found.currency, found.status) == (created["id"], 1234, "dkk", "needs_response")
    assert found.evidence_details.due_by == int(shop.clock.now().timestamp()) + DAY
    assert [transaction.net for transaction in found.balance_transactions] == [-1234]
    assert shop.kinds[4:] == ["charge.dispute.created", "charge.dispute.funds_withdrawn"]
    paid = await shop.retrieve(intent.id)
    assert isinstance(paid.latest_charge, stripe.Charge)
    assert (paid.status, paid.latest_charge.disputed) == ("succeeded", True)
    await shop.control(f"disputes/{found.id}/update", {"status": "under_review"})
    await shop.control(f"disputes/{found.id}/close", {"status": "won"})
    won = await shop.sdk.v1.disputes.retrieve_async(found.id)
    assert (won.status, [transaction.net for transaction in won.balance_transactions]) == ("won", [-1234, 1234])
    assert shop.kinds[6:] == [f"charge.dispute.{name}" for name in ("updated", "closed", "funds_reinstated")]
    assert (await shop.sdk.v1.refunds.create_async({"payment_intent": intent.id})).status == "succeeded"


async def test_lost_dispute_keeps_the_amount_withdrawn_and_blocks_refunds(shop: Shop) -> None:
    intent = await shop.paid()
    dispute = await shop.control(f"intents/{intent.id}/dispute")
    await shop.control(f"disputes/{dispute['id']}/close", {"status": "lost"})
    assert shop.kinds[-1] == "charge.dispute.closed"
    with pytest.raises(stripe.InvalidRequestError) as error:
        await shop.sdk.v1.refunds.create_async({"payment_intent": intent.id})
    assert error.value.code == "charge_disputed"
    balance = await shop.sdk.v1.balance.retrieve_async()
    assert [entry.amount for entry in balance.available] == [0]
    await shop.control(f"disputes/{dispute['id']}/close", {"status": "won"}, status=409)
    await shop.control(f"disputes/{dispute['id']}/update", status=409)


async def test_disputed_charge_can_be_refunded_only_if_the_dispute_allows_it(shop: Shop) -> None:
    blocked, allowed = await shop.paid(), await shop.paid()
    await shop.control(f"intents/{blocked.id}/dispute")
    await shop.control(f"intents/{allowed.id}/dispute", {"refundable": True})
    with pytest.raises(stripe.InvalidRequestError, match="charged back") as error:
        await shop.sdk.v1.refunds.create_async({"payment_intent": blocked.id})
    assert error.value.code == "charge_disputed"
    assert (await shop.sdk.v1.refunds.create_async({"payment_intent": allowed.id})).status == "succeeded"


async def test_inquiry_withdraws_nothing_until_it_becomes_a_dispute(shop: Shop) -> None:
    intent = await shop.paid()
    dispute = await shop.control(f"intents/{intent.id}/dispute", {"status": "warning_needs_response", "due_in": 0})
    assert (dispute["is_charge_refundable"], dispute["evidence_details"]["due_by"]) == (True, 0)
    assert shop.kinds[-1] == "charge.dispute.created"
    await shop.control(f"disputes/{dispute['id']}/update", {"status": "needs_response"})
    found = await shop.sdk.v1.disputes.retrieve_async(dispute["id"])
    assert (found.is_charge_refundable, len(found.balance_transactions)) == (False, 1)
    assert shop.kinds[-2:] == ["charge.dispute.updated", "charge.dispute.funds_withdrawn"]


async def test_pending_refund_fails_when_the_charge_is_disputed(shop: Shop) -> None:
    intent = await shop.paid()
    await shop.control("refunds/next", {"status": "pending"})
    created = await shop.sdk.v1.refunds.create_async({"payment_intent": intent.id, "amount": 234})
    await shop.control(f"intents/{intent.id}/dispute")
    found = await shop.sdk.v1.refunds.retrieve_async(created.id)
    assert (found.status, found.failure_reason) == ("failed", "charge_for_pending_refund_disputed")


async def test_second_dispute_and_dispute_of_a_refunded_amount_are_rejected(shop: Shop) -> None:
    disputed, returned, partly = await shop.paid(), await shop.paid(), await shop.paid()
    await shop.control(f"intents/{disputed.id}/dispute", {"amount": 100})
    await shop.control(f"intents/{disputed.id}/dispute", status=409)
    await shop.sdk.v1.refunds.create_async({"payment_intent": returned.id})
    await shop.control(f"intents/{returned.id}/dispute", status=409)
    await shop.control(f"intents/{partly.id}/dispute", {"amount": 1235}, status=400)
    await shop.sdk.v1.refunds.create_async({"payment_intent": partly.id, "amount": 234})
    assert (await shop.control(f"intents/{partly.id}/dispute"))["amount"] == 1000


async def test_disputes_are_listed_by_charge_and_time(shop: Shop) -> None:
    created = []
    for _ in range(3):
        intent = await shop.paid()
        created.append(await shop.control(f"intents/{intent.id}/dispute"))
        shop.clock.advance(10)
    disputes = shop.sdk.v1.disputes
    assert [item.id for item in (await disputes.list_async({"charge": created[1]["charge"]})).data] == [
        created[1]["id"]
    ]
    since = await disputes.list_async({"created": {"gte": created[1]["created"]}, "expand": ["data.charge"]})
    assert [item.id for item in since.data] == [created[2]["id"], created[1]["id"]]
    assert isinstance(since.data[0].charge, stripe.Charge)
    status, response, _ = await shop.raw("GET", "/v1/disputes/du_x")
    assert (status, response["error"]["code"]) == (404, "resource_missing")


async def test_fraud_warning_is_actionable_until_the_charge_is_refunded(shop: Shop) -> None:
    intent = await shop.paid()
    created = await shop.control(f"intents/{intent.id}/fraud_warning", {"fraud_type": "made_with_lost_card"})
    warnings = shop.sdk.v1.radar.early_fraud_warnings
    found = (await warnings.list_async({"payment_intent": intent.id})).data
    assert [(item.id, item.actionable, item.fraud_type) for item in found] == [
        (created["id"], True, "made_with_lost_card")
    ]
    assert (await warnings.list_async({"charge": "ch_x"})).data == []
    assert shop.kinds[-1] == "radar.early_fraud_warning.created"
    await shop.sdk.v1.refunds.create_async({"payment_intent": intent.id})
    assert (await warnings.retrieve_async(created["id"])).actionable is False
    assert shop.kinds[-1] == "radar.early_fraud_warning.updated"


async def test_dispute_makes_a_fraud_warning_not_actionable_once(shop: Shop) -> None:
    intent = await shop.paid()
    created = await shop.control(f"intents/{intent.id}/fraud_warning")
    await shop.control(f"intents/{intent.id}/dispute", {"refundable": True})
    assert (await shop.sdk.v1.radar.early_fraud_warnings.retrieve_async(created["id"])).actionable is False
    await shop.sdk.v1.refunds.create_async({"payment_intent": intent.id})
    assert shop.kinds.count("radar.early_fraud_warning.updated") == 1


async def test_disputes_and_fraud_warnings_have_exactly_the_fields_of_the_api_version(shop: Shop) -> None:
    intent = await shop.paid()
    await shop.control(f"intents/{intent.id}/fraud_warning")
    await shop.control(f"intents/{intent.id}/dispute")
    dispute = (await shop.sdk.v1.disputes.list_async()).data[0]
    warning = (await shop.sdk.v1.radar.early_fraud_warnings.list_async()).data[0]
    nested: list[stripe.StripeObject] = [dispute.evidence, dispute.evidence_details, *dispute.balance_transactions]
    nested += [dispute, warning]
    for item in nested:
        assert set(item.to_dict()) == set(type(item).__annotations__) - {"OBJECT_NAME"}, type(item)
    assert dispute.payment_method_details is not None
    assert set(dispute.payment_method_details.to_dict()) <= set(stripe.Dispute.PaymentMethodDetails.__annotations__)


async def test_hold_can_be_expired_at_once_by_the_control_route(shop: Shop) -> None:
    intent = await shop.create(capture_method="manual")
    await shop.control(f"intents/{intent.id}/expire_hold", status=409)
    await shop.control(f"intents/{intent.id}/approve")
    await shop.control(f"intents/{intent.id}/expire_hold")
    expired = await shop.retrieve(intent.id)
    assert (expired.status, expired.cancellation_reason) == ("canceled", "automatic")
    assert shop.kinds[4:] == ["charge.expired", "payment_intent.canceled"]
    await shop.control("clock", {"advance": 8 * DAY})
    assert shop.kinds[6:] == []


async def test_second_capture_of_a_hold_is_rejected(shop: Shop) -> None:
    intent = await shop.create(capture_method="manual")
    await shop.control(f"intents/{intent.id}/approve")
    await shop.sdk.v1.payment_intents.capture_async(intent.id)
    with pytest.raises(stripe.InvalidRequestError, match="already been captured") as error:
        await shop.sdk.v1.payment_intents.capture_async(intent.id)
    assert error.value.code == "payment_intent_unexpected_state"
    assert error.value.error is not None
    assert error.value.error.payment_intent is not None
    assert error.value.error.payment_intent.status == "succeeded"
    await shop.control(f"intents/{intent.id}/expire_hold", status=409)


@pytest.mark.parametrize("verb", ["confirm", "cancel", "capture"])
@pytest.mark.parametrize(("how", "code"), [("409", "idempotency_key_in_use"), ("429", "lock_timeout")])
async def test_injected_conflict_or_lock_leaves_the_intent_unchanged(
    shop: Shop, verb: str, how: str, code: str
) -> None:
    intent = await shop.create()
    path = f"/v1/payment_intents/{intent.id}/{verb}"
    fault = {"method": f"POST /v1/payment_intents/:id/{verb}", "how": how}
    await shop.control("faults", fault | ({"code": code} if how == "429" else {}))
    status, response, _ = await shop.raw("POST", path, Idempotency_Key="k")
    assert (status, response["error"]["code"]) == (int(how), code)
    assert (await shop.retrieve(intent.id)).status == "requires_action"
