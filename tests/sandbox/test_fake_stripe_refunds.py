"""Refunds of the pretend Stripe that wait, fail, are refused or come from the Dashboard, through the real SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import stripe

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.fake_stripe_shop import Shop, opened


@pytest.fixture
async def shop(clock: FakeClock) -> AsyncIterator[Shop]:
    async with opened(clock) as running:
        yield running


async def refund(shop: Shop, intent: str, amount: int = 234, key: str = "") -> stripe.Refund:
    options: Any = {"idempotency_key": key} if key else {}
    return await shop.sdk.v1.refunds.create_async({"payment_intent": intent, "amount": amount}, options)


async def look(shop: Shop, made: stripe.Refund) -> stripe.Refund:
    return await shop.sdk.v1.refunds.retrieve_async(made.id)


async def given(shop: Shop, intent: str) -> tuple[int, bool]:
    charge = (await shop.retrieve(intent)).latest_charge
    assert isinstance(charge, stripe.Charge)
    return charge.amount_refunded, charge.refunded


async def test_a_refund_that_waits_counts_as_given_and_succeeds_when_its_time_comes(shop: Shop) -> None:
    intent = await shop.paid()
    await shop.control("refunds/next", {"status": "pending", "pending_reason": "charge_pending"})
    made = await refund(shop, intent.id, 1234)
    assert (made.status, made.pending_reason, made.balance_transaction) == ("pending", "charge_pending", None)
    assert await given(shop, intent.id) == (1234, True)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await refund(shop, intent.id)
    assert refused.value.code == "charge_already_refunded"
    await shop.control(f"refunds/{made.id}/succeed")
    found = await look(shop, made)
    assert (found.status, "pending_reason" in found, found.balance_transaction is None) == ("succeeded", False, False)
    assert shop.kinds[4:] == ["refund.created", "charge.refunded", "refund.updated"]
    event = shop.last("refund.updated")["data"]
    assert event["previous_attributes"] == {"status": "pending", "pending_reason": "charge_pending"}
    await shop.control(f"refunds/{made.id}/succeed", status=409)


async def test_a_refund_that_waits_may_count_only_once_it_succeeded_and_is_never_given_twice(shop: Shop) -> None:
    await shop.control("options", {"pending_refunds_count": False})
    intent = await shop.paid()
    await shop.control("refunds/next", {"status": "pending"})
    made = await refund(shop, intent.id, 1000)
    assert await given(shop, intent.id) == (0, False)
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded amount"):
        await refund(shop, intent.id, 235)
    await shop.control(f"refunds/{made.id}/succeed")
    assert await given(shop, intent.id) == (1000, False)
    assert shop.kinds[4:] == ["refund.created", "refund.updated", "charge.refunded"]


async def test_a_refund_can_fail_weeks_after_it_succeeded_and_be_given_anew(shop: Shop) -> None:
    intent = await shop.paid()
    made = await refund(shop, intent.id, 1234)
    await shop.control("clock", {"advance": 29 * 86400})
    await shop.control(f"refunds/{made.id}/fail", {"failure_reason": "expired_or_canceled_card"})
    found = await look(shop, made)
    assert (found.status, found.failure_reason) == ("failed", "expired_or_canceled_card")
    assert found.failure_balance_transaction is not None
    assert await given(shop, intent.id) == (0, False)
    assert shop.kinds[-2:] == ["refund.updated", "refund.failed"]
    assert (await refund(shop, intent.id, 1234)).status == "succeeded"
    await shop.control(f"refunds/{made.id}/fail", status=409)


async def test_a_refund_that_failed_gets_no_bank_reference_an_hour_later(shop: Shop) -> None:
    intent = await shop.paid()
    made = await refund(shop, intent.id)
    await shop.control(f"refunds/{made.id}/fail")
    await shop.control("clock", {"advance": 3600})
    assert shop.kinds.count("refund.updated") == 1


async def test_a_refund_can_fail_at_once_and_takes_nothing_from_the_charge(shop: Shop) -> None:
    intent = await shop.paid()
    await shop.control("refunds/next", {"status": "failed", "failure_reason": "lost_or_stolen_card"})
    made = await refund(shop, intent.id)
    assert (made.status, made.failure_reason) == ("failed", "lost_or_stolen_card")
    assert await given(shop, intent.id) == (0, False)
    assert shop.kinds[4:] == ["refund.created", "refund.failed"]


async def test_a_refund_that_waits_for_the_customer_can_be_canceled_by_both_sides(shop: Shop) -> None:
    intent = await shop.paid()
    await shop.control("refunds/next", {"status": "requires_action", "times": 2})
    first, second = await refund(shop, intent.id), await refund(shop, intent.id, 1000)
    assert first.status == second.status == "requires_action"
    assert first.next_action is not None
    assert (await shop.sdk.v1.refunds.cancel_async(first.id)).status == "canceled"
    await shop.control(f"refunds/{second.id}/cancel")
    found = await look(shop, second)
    assert (found.status, "next_action" in found) == ("canceled", False)
    assert await given(shop, intent.id) == (0, False)
    done = await refund(shop, intent.id)
    with pytest.raises(stripe.InvalidRequestError, match="cannot be canceled"):
        await shop.sdk.v1.refunds.cancel_async(done.id)
    await shop.control(f"refunds/{done.id}/cancel", status=409)


async def test_a_pending_refund_may_come_to_need_the_customer(shop: Shop) -> None:
    intent = await shop.paid()
    await shop.control("refunds/next", {"status": "pending"})
    made = await refund(shop, intent.id)
    await shop.control(f"refunds/{made.id}/require_action")
    assert (await look(shop, made)).status == "requires_action"
    assert shop.kinds[-1] == "refund.updated"
    await shop.control(f"refunds/{made.id}/require_action", status=409)
    await shop.control(f"refunds/{made.id}/succeed")
    await shop.control(f"refunds/{made.id}/require_action", status=409)


@pytest.mark.parametrize("code", ["balance_insufficient", "charge_disputed", "charge_already_refunded"])
async def test_a_refused_refund_is_refused_again_under_its_key_and_granted_under_another(shop: Shop, code: str) -> None:
    intent = await shop.paid()
    await shop.control("refunds/next", {"status": "refused", "code": code})
    for _ in range(2):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            await refund(shop, intent.id, key="refund:1:1")
        assert refused.value.code == code
    assert not shop.fake.store.refunds
    assert (await refund(shop, intent.id, key="refund:1:2")).status == "succeeded"


async def test_the_ordered_fates_come_in_their_order_and_can_be_taken_back(shop: Shop) -> None:
    intent = await shop.paid()
    await shop.control("refunds/next", {"status": "pending"})
    await shop.control("refunds/next", {"status": "failed"})
    made = [(await refund(shop, intent.id, 1)).status for _ in range(3)]
    assert made == ["pending", "failed", "succeeded"]
    await shop.control("refunds/next", {"status": "failed"})
    assert await shop.control("refunds/next", {}) == {"ordered": 0}
    assert (await refund(shop, intent.id, 1)).status == "succeeded"


async def test_without_money_a_refund_waits_until_the_balance_covers_it(shop: Shop) -> None:
    intent = await shop.paid()
    await shop.control("balance", {"available": 300})
    small, big = await refund(shop, intent.id, 200), await refund(shop, intent.id, 500)
    assert (small.status, big.status, big.pending_reason) == ("succeeded", "pending", "insufficient_funds")
    balance = await shop.sdk.v1.balance.retrieve_async()
    assert [entry.amount for entry in balance.available] == [100]
    await shop.control("balance", {"available": 499})
    assert (await look(shop, big)).status == "pending"
    await shop.control("balance", {"available": 500})
    assert (await look(shop, big)).status == "succeeded"
    assert shop.fake.state.balance.available == 0
    await shop.control(f"refunds/{big.id}/fail")
    assert shop.fake.state.balance.available == 500


async def test_a_refund_that_waits_has_not_left_the_balance_yet(shop: Shop) -> None:
    intent = await shop.paid()
    await shop.control("refunds/next", {"status": "pending"})
    made = await refund(shop, intent.id)
    assert [entry.amount for entry in (await shop.sdk.v1.balance.retrieve_async()).available] == [1234]
    await shop.control(f"refunds/{made.id}/succeed")
    assert [entry.amount for entry in (await shop.sdk.v1.balance.retrieve_async()).available] == [1000]


async def test_without_money_a_refund_is_refused_where_that_is_ordered(shop: Shop) -> None:
    intent = await shop.paid()
    await shop.control("balance", {"available": 0, "refuse": True})
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await refund(shop, intent.id)
    assert refused.value.code == "balance_insufficient"
    await shop.control("balance", {"available": None})
    assert (await refund(shop, intent.id)).status == "succeeded"


async def test_a_refund_made_in_the_dashboard_is_like_any_other_but_knows_no_key(shop: Shop) -> None:
    intent = await shop.paid()
    made = await shop.control(f"intents/{intent.id}/refund", {"amount": 34, "reason": "duplicate"})
    rest = await shop.control(f"intents/{intent.id}/refund")
    listed = (await shop.sdk.v1.refunds.list_async({"payment_intent": intent.id})).data
    assert [(each.id, each.amount) for each in listed] == [(rest["id"], 1200), (made["id"], 34)]
    assert (made["metadata"], listed[1].reason) == ({}, "duplicate")
    assert shop.last("refund.created")["request"] == {"id": None, "idempotency_key": None}
    await shop.control(f"intents/{intent.id}/refund", status=409)


async def test_a_refund_in_each_state_has_fields_the_sdk_knows(shop: Shop) -> None:
    intent = await shop.paid()
    for status in ("pending", "requires_action", "failed"):
        await shop.control("refunds/next", {"status": status})
        made = await refund(shop, intent.id, 1)
        assert set(made.to_dict()) <= set(stripe.Refund.__annotations__)
        assert made.destination_details is not None
        assert set(made.destination_details.to_dict()) <= set(stripe.Refund.DestinationDetails.__annotations__)
    waiting = (await shop.sdk.v1.refunds.list_async()).data[1].next_action
    assert waiting is not None
    assert set(waiting.to_dict()) <= set(stripe.Refund.NextAction.__annotations__)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("refunds/next", {"status": "lost"}, 400),
        ("refunds/next", {"status": "pending", "pending_reason": "mood"}, 400),
        ("refunds/next", {"state": "pending"}, 400),
        ("refunds/re_x/succeed", {}, 404),
        ("refunds/re_x/fail", {"reason": "declined"}, 400),
        ("balance", {"available": -1}, 400),
        ("balance", {"available": True}, 400),
        ("intents/pi_x/refund", {}, 404),
    ],
)
async def test_a_control_route_says_what_it_cannot_do(shop: Shop, path: str, body: dict[str, Any], status: int) -> None:
    assert (await shop.control(path, body, status=status))["error"]


async def test_nothing_is_given_back_in_the_dashboard_before_it_was_paid(shop: Shop) -> None:
    intent = await shop.create()
    for path in ("refund", "dispute", "fraud_warning"):
        await shop.control(f"intents/{intent.id}/{path}", status=409)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_refund_whose_twin_is_under_way_is_a_conflict_and_happens_once(shop: Shop, when: str) -> None:
    intent = await shop.paid()
    await shop.control("faults", {"method": "POST /v1/refunds", "when": when, "how": "409"})
    with pytest.raises(stripe.APIError) as conflict:
        await refund(shop, intent.id, key="k")
    assert conflict.value.http_status == 409
    assert conflict.value.error is not None
    assert conflict.value.error.code == "idempotency_key_in_use"
    assert (await refund(shop, intent.id, key="k")).status == "succeeded"
    assert len(shop.fake.store.refunds) == 1


async def test_a_locked_object_is_429_and_leaves_the_key_free(shop: Shop) -> None:
    intent = await shop.paid()
    order = {"method": "POST /v1/refunds", "when": "before", "how": "429", "code": "lock_timeout"}
    await shop.control("faults", order)
    with pytest.raises(stripe.RateLimitError) as locked:
        await refund(shop, intent.id, key="k")
    assert locked.value.error is not None
    assert locked.value.error.code == "lock_timeout"
    assert (await refund(shop, intent.id, key="k")).status == "succeeded"
