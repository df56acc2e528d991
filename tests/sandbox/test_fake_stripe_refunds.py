"""Refunds of the fake Stripe: pending, failed, rejected, and from the Dashboard; with the real SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import stripe

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.fake_stripe_shop import Shop, start_shop


@pytest.fixture
async def shop(clock: FakeClock) -> AsyncIterator[Shop]:
    async with start_shop(clock) as running:
        yield running


async def create_refund(shop: Shop, intent: str, amount: int = 234, key: str = "") -> stripe.Refund:
    options: Any = {"idempotency_key": key} if key else {}
    return await shop.sdk.v1.refunds.create_async({"payment_intent": intent, "amount": amount}, options)


async def retrieve_refund(shop: Shop, refund: stripe.Refund) -> stripe.Refund:
    return await shop.sdk.v1.refunds.retrieve_async(refund.id)


async def refunded(shop: Shop, intent: str) -> tuple[int, bool]:
    charge = (await shop.retrieve(intent)).latest_charge
    assert isinstance(charge, stripe.Charge)
    return charge.amount_refunded, charge.refunded


async def test_pending_refund_counts_as_refunded_and_can_succeed_later(shop: Shop) -> None:
    intent = await shop.paid()
    await shop.control("refunds/next", {"status": "pending", "pending_reason": "charge_pending"})
    created = await create_refund(shop, intent.id, 1234)
    assert (created.status, created.pending_reason, created.balance_transaction) == ("pending", "charge_pending", None)
    assert await refunded(shop, intent.id) == (1234, True)
    with pytest.raises(stripe.InvalidRequestError) as error:
        await create_refund(shop, intent.id)
    assert error.value.code == "charge_already_refunded"
    await shop.control(f"refunds/{created.id}/succeed")
    found = await retrieve_refund(shop, created)
    assert (found.status, "pending_reason" in found, found.balance_transaction is None) == ("succeeded", False, False)
    assert shop.kinds[4:] == ["refund.created", "charge.refunded", "refund.updated"]
    event = shop.last("refund.updated")["data"]
    assert event["previous_attributes"] == {"status": "pending", "pending_reason": "charge_pending"}
    await shop.control(f"refunds/{created.id}/succeed", status=409)


async def test_pending_refund_counts_only_after_success_by_option_and_never_twice(shop: Shop) -> None:
    await shop.control("options", {"pending_refunds_count": False})
    intent = await shop.paid()
    await shop.control("refunds/next", {"status": "pending"})
    created = await create_refund(shop, intent.id, 1000)
    assert await refunded(shop, intent.id) == (0, False)
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded amount"):
        await create_refund(shop, intent.id, 235)
    await shop.control(f"refunds/{created.id}/succeed")
    assert await refunded(shop, intent.id) == (1000, False)
    assert shop.kinds[4:] == ["refund.created", "refund.updated", "charge.refunded"]


async def test_refund_can_fail_weeks_after_success_and_be_created_again(shop: Shop) -> None:
    intent = await shop.paid()
    created = await create_refund(shop, intent.id, 1234)
    await shop.control("clock", {"advance": 29 * 86400})
    await shop.control(f"refunds/{created.id}/fail", {"failure_reason": "expired_or_canceled_card"})
    found = await retrieve_refund(shop, created)
    assert (found.status, found.failure_reason) == ("failed", "expired_or_canceled_card")
    assert found.failure_balance_transaction is not None
    assert await refunded(shop, intent.id) == (0, False)
    assert shop.kinds[-2:] == ["refund.updated", "refund.failed"]
    assert (await create_refund(shop, intent.id, 1234)).status == "succeeded"
    await shop.control(f"refunds/{created.id}/fail", status=409)


async def test_failed_refund_gets_no_bank_reference(shop: Shop) -> None:
    intent = await shop.paid()
    created = await create_refund(shop, intent.id)
    await shop.control(f"refunds/{created.id}/fail")
    await shop.control("clock", {"advance": 3600})
    assert shop.kinds.count("refund.updated") == 1


async def test_refund_that_fails_at_once_does_not_change_the_charge(shop: Shop) -> None:
    intent = await shop.paid()
    await shop.control("refunds/next", {"status": "failed", "failure_reason": "lost_or_stolen_card"})
    created = await create_refund(shop, intent.id)
    assert (created.status, created.failure_reason) == ("failed", "lost_or_stolen_card")
    assert await refunded(shop, intent.id) == (0, False)
    assert shop.kinds[4:] == ["refund.created", "refund.failed"]


async def test_refund_that_requires_action_can_be_canceled_by_api_and_by_control_route(shop: Shop) -> None:
    intent = await shop.paid()
    await shop.control("refunds/next", {"status": "requires_action", "times": 2})
    first, second = await create_refund(shop, intent.id), await create_refund(shop, intent.id, 1000)
    assert first.status == second.status == "requires_action"
    assert first.next_action is not None
    assert (await shop.sdk.v1.refunds.cancel_async(first.id)).status == "canceled"
    await shop.control(f"refunds/{second.id}/cancel")
    found = await retrieve_refund(shop, second)
    assert (found.status, "next_action" in found) == ("canceled", False)
    assert await refunded(shop, intent.id) == (0, False)
    done = await create_refund(shop, intent.id)
    with pytest.raises(stripe.InvalidRequestError, match="cannot be canceled"):
        await shop.sdk.v1.refunds.cancel_async(done.id)
    await shop.control(f"refunds/{done.id}/cancel", status=409)


async def test_pending_refund_can_change_to_requires_action(shop: Shop) -> None:
    intent = await shop.paid()
    await shop.control("refunds/next", {"status": "pending"})
    created = await create_refund(shop, intent.id)
    await shop.control(f"refunds/{created.id}/require_action")
    assert (await retrieve_refund(shop, created)).status == "requires_action"
    assert shop.kinds[-1] == "refund.updated"
    await shop.control(f"refunds/{created.id}/require_action", status=409)
    await shop.control(f"refunds/{created.id}/succeed")
    await shop.control(f"refunds/{created.id}/require_action", status=409)


@pytest.mark.parametrize("code", ["balance_insufficient", "charge_disputed", "charge_already_refunded"])
async def test_rejected_refund_is_replayed_with_its_key_and_succeeds_with_another(shop: Shop, code: str) -> None:
    intent = await shop.paid()
    await shop.control("refunds/next", {"status": "refused", "code": code})
    for _ in range(2):
        with pytest.raises(stripe.InvalidRequestError) as error:
            await create_refund(shop, intent.id, key="refund:1:1")
        assert error.value.code == code
    assert not shop.fake.store.refunds
    assert (await create_refund(shop, intent.id, key="refund:1:2")).status == "succeeded"


async def test_forced_outcomes_apply_in_order_and_can_be_cleared(shop: Shop) -> None:
    intent = await shop.paid()
    await shop.control("refunds/next", {"status": "pending"})
    await shop.control("refunds/next", {"status": "failed"})
    created = [(await create_refund(shop, intent.id, 1)).status for _ in range(3)]
    assert created == ["pending", "failed", "succeeded"]
    await shop.control("refunds/next", {"status": "failed"})
    assert await shop.control("refunds/next", {}) == {"forced": 0}
    assert (await create_refund(shop, intent.id, 1)).status == "succeeded"


async def test_refund_is_pending_until_the_balance_suffices(shop: Shop) -> None:
    intent = await shop.paid()
    await shop.control("balance", {"available": 300})
    small, big = await create_refund(shop, intent.id, 200), await create_refund(shop, intent.id, 500)
    assert (small.status, big.status, big.pending_reason) == ("succeeded", "pending", "insufficient_funds")
    balance = await shop.sdk.v1.balance.retrieve_async()
    assert [entry.amount for entry in balance.available] == [100]
    await shop.control("balance", {"available": 499})
    assert (await retrieve_refund(shop, big)).status == "pending"
    await shop.control("balance", {"available": 500})
    assert (await retrieve_refund(shop, big)).status == "succeeded"
    assert shop.fake.state.balance.available == 0
    await shop.control(f"refunds/{big.id}/fail")
    assert shop.fake.state.balance.available == 500


async def test_pending_refund_does_not_reduce_the_balance(shop: Shop) -> None:
    intent = await shop.paid()
    await shop.control("refunds/next", {"status": "pending"})
    created = await create_refund(shop, intent.id)
    assert [entry.amount for entry in (await shop.sdk.v1.balance.retrieve_async()).available] == [1234]
    await shop.control(f"refunds/{created.id}/succeed")
    assert [entry.amount for entry in (await shop.sdk.v1.balance.retrieve_async()).available] == [1000]


async def test_refund_is_rejected_without_balance_if_forced(shop: Shop) -> None:
    intent = await shop.paid()
    await shop.control("balance", {"available": 0, "refuse": True})
    with pytest.raises(stripe.InvalidRequestError) as error:
        await create_refund(shop, intent.id)
    assert error.value.code == "balance_insufficient"
    await shop.control("balance", {"available": None})
    assert (await create_refund(shop, intent.id)).status == "succeeded"


async def test_dashboard_refund_has_no_metadata_and_no_idempotency_key(shop: Shop) -> None:
    intent = await shop.paid()
    created = await shop.control(f"intents/{intent.id}/refund", {"amount": 34, "reason": "duplicate"})
    rest = await shop.control(f"intents/{intent.id}/refund")
    listed = (await shop.sdk.v1.refunds.list_async({"payment_intent": intent.id})).data
    assert [(refund.id, refund.amount) for refund in listed] == [(rest["id"], 1200), (created["id"], 34)]
    assert (created["metadata"], listed[1].reason) == ({}, "duplicate")
    assert shop.last("refund.created")["request"] == {"id": None, "idempotency_key": None}
    await shop.control(f"intents/{intent.id}/refund", status=409)


async def test_refund_in_each_status_has_only_fields_that_the_sdk_knows(shop: Shop) -> None:
    intent = await shop.paid()
    for status in ("pending", "requires_action", "failed"):
        await shop.control("refunds/next", {"status": status})
        created = await create_refund(shop, intent.id, 1)
        assert set(created.to_dict()) <= set(stripe.Refund.__annotations__)
        assert created.destination_details is not None
        assert set(created.destination_details.to_dict()) <= set(stripe.Refund.DestinationDetails.__annotations__)
    waiting = (await shop.sdk.v1.refunds.list_async()).data[1].next_action
    assert waiting is not None
    assert set(waiting.to_dict()) <= set(stripe.Refund.NextAction.__annotations__)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("refunds/next", {"status": "lost"}, 400),
        ("refunds/next", {"status": "pending", "pending_reason": "unknown"}, 400),
        ("refunds/next", {"state": "pending"}, 400),
        ("refunds/re_x/succeed", {}, 404),
        ("refunds/re_x/fail", {"reason": "declined"}, 400),
        ("balance", {"available": -1}, 400),
        ("balance", {"available": True}, 400),
        ("intents/pi_x/refund", {}, 404),
    ],
)
async def test_refund_control_routes_return_an_error_for_invalid_requests(
    shop: Shop, path: str, body: dict[str, Any], status: int
) -> None:
    assert (await shop.control(path, body, status=status))["error"]


async def test_dashboard_refund_dispute_and_warning_need_a_paid_intent(shop: Shop) -> None:
    intent = await shop.create()
    for path in ("refund", "dispute", "fraud_warning"):
        await shop.control(f"intents/{intent.id}/{path}", status=409)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_refund_with_a_key_in_use_conflicts_and_is_created_once(shop: Shop, when: str) -> None:
    intent = await shop.paid()
    await shop.control("faults", {"method": "POST /v1/refunds", "when": when, "how": "409"})
    with pytest.raises(stripe.APIError) as conflict:
        await create_refund(shop, intent.id, key="k")
    assert conflict.value.http_status == 409
    assert conflict.value.error is not None
    assert conflict.value.error.code == "idempotency_key_in_use"
    assert (await create_refund(shop, intent.id, key="k")).status == "succeeded"
    assert len(shop.fake.store.refunds) == 1


async def test_lock_timeout_of_a_refund_leaves_the_key_free(shop: Shop) -> None:
    intent = await shop.paid()
    fault = {"method": "POST /v1/refunds", "when": "before", "how": "429", "code": "lock_timeout"}
    await shop.control("faults", fault)
    with pytest.raises(stripe.RateLimitError) as locked:
        await create_refund(shop, intent.id, key="k")
    assert locked.value.error is not None
    assert locked.value.error.code == "lock_timeout"
    assert (await create_refund(shop, intent.id, key="k")).status == "succeeded"
