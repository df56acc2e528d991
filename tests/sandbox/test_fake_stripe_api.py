"""The fake Stripe's errors, lists and objects, compared with the SDK and with Stripe's documentation."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import stripe

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.fake_stripe_shop import RETURN_URL, Shop, start_shop

CREATE = "amount=500&currency=dkk"
METHOD = "payment_method_data[type]=mobilepay"
OLD_TYPES = "payment_method_types"
ONLY_SOMETIMES = {
    stripe.PaymentIntent: {"hooks", "managed_payments", "payment_details", "presentment_details"},
    stripe.Charge: {"authorization_code", "level3", "presentment_details", "refunds", "transfer"},
    stripe.Refund: {
        "description",
        "failure_reason",
        "instructions_email",
        "next_action",
        "failure_balance_transaction",
        "pending_reason",
        "presentment_details",
    },
    stripe.Event: {"account", "context"},
    stripe.WebhookEndpoint: {"deleted"},
    stripe.BalanceTransaction: set(),
    stripe.Payout: set(),
    stripe.Balance: {"connect_reserved", "instant_available", "issuing"},
    stripe.Account: {"company", "deleted", "groups", "individual"},
}


@pytest.fixture
async def shop(clock: FakeClock) -> AsyncIterator[Shop]:
    async with start_shop(clock) as running:
        yield running


def keys(kind: type[stripe.StripeObject]) -> set[str]:
    """The fields that every object of this kind has, by the annotations of the SDK."""
    return set(kind.__annotations__) - {"OBJECT_NAME"} - ONLY_SOMETIMES[kind]


async def test_objects_have_exactly_the_fields_of_the_api_version(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/approve")
    paid = await shop.retrieve(intent.id)
    refund = await shop.sdk.v1.refunds.create_async({"payment_intent": intent.id})
    await shop.control("payouts")
    events = await shop.sdk.v1.events.list_async()
    found: list[stripe.StripeObject] = [
        paid,
        refund,
        *events.data,
        await shop.subscribe(),
        await shop.sdk.v1.balance.retrieve_async(),
        *(await shop.sdk.v1.balance_transactions.list_async()).data,
        *(await shop.sdk.v1.payouts.list_async()).data,
        await shop.sdk.v1.accounts.retrieve_current_async(),
    ]
    assert isinstance(paid.latest_charge, stripe.Charge)
    for item in [*found, paid.latest_charge]:
        assert set(item.to_dict()) == keys(type(item)), type(item)


async def test_failed_attempt_has_only_fields_that_the_sdk_knows(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/decline")
    failed = (await shop.retrieve(intent.id)).last_payment_error
    assert failed is not None
    assert failed.payment_method is not None
    assert set(failed.to_dict()) <= set(stripe.PaymentIntent.LastPaymentError.__annotations__)
    assert set(failed.payment_method.to_dict()) <= set(stripe.PaymentMethod.__annotations__)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ("currency=dkk", "parameter_missing", "amount"),
        ("amount=500", "parameter_missing", "currency"),
        (f"{CREATE}&colour=red", "parameter_unknown", "colour"),
        (f"{CREATE}&{METHOD}&payment_method_data[x]=1", "parameter_unknown", "payment_method_data[x]"),
        (f"{CREATE}&{OLD_TYPES}[]=mobilepay", f"{OLD_TYPES}_no_longer_supported", OLD_TYPES),
        ("amount=249&currency=dkk", "amount_too_small", "amount"),
        ("amount=49&currency=eur", "amount_too_small", "amount"),
        ("amount=299&currency=nok", "amount_too_small", "amount"),
        ("amount=299&currency=sek", "amount_too_small", "amount"),
        ("amount=-500&currency=dkk", "amount_too_small", "amount"),
        ("amount=100000000&currency=dkk", "amount_too_large", "amount"),
        ("amount=500&currency=usd", "payment_intent_incompatible_payment_method", "currency"),
        ("amount=five&currency=dkk", "parameter_invalid_integer", "amount"),
        ("amount=&currency=dkk", "parameter_invalid_empty", "amount"),
        (f"{CREATE}&confirm=true&{METHOD}", "parameter_missing", "return_url"),
        (f"{CREATE}&return_url=https://kvit.example", None, "return_url"),
        (f"{CREATE}&confirm=perhaps", None, "confirm"),
        (f"{CREATE}&capture_method=soon", None, "capture_method"),
        (f"{CREATE}&metadata[{'k' * 41}]=v", None, f"metadata[{'k' * 41}]"),
        (f"{CREATE}&metadata[k]={'v' * 501}", None, "metadata[k]"),
        (
            f"{CREATE}&automatic_payment_methods[enabled]=true&allowed_payment_method_types[]=mobilepay",
            "parameters_exclusive",
            "allowed_payment_method_types",
        ),
    ],
)
async def test_malformed_create_returns_stripes_error(shop: Shop, body: str, code: str | None, param: str) -> None:
    status, response, headers = await shop.raw("POST", "/v1/payment_intents", body)
    assert status == 400
    assert response["error"]["type"] == "invalid_request_error"
    assert (response["error"].get("code"), response["error"].get("param")) == (code, param)
    assert headers["Request-Id"].startswith("req_")
    assert headers["Stripe-Version"] == "2026-10-28.endive"
    assert not shop.fake.store.intents


async def test_mobilepay_can_be_the_only_allowed_method_type(shop: Shop) -> None:
    intent = await shop.sdk.v1.payment_intents.create_async(
        {
            "amount": 500,
            "currency": "sek",
            "allowed_payment_method_types": ["mobilepay"],
            "payment_method_data": {"type": "mobilepay"},
            "confirm": True,
            "return_url": RETURN_URL,
        }
    )
    assert (intent.payment_method_types, intent.automatic_payment_methods) == (["mobilepay"], None)


async def test_account_without_mobilepay_rejects_it_and_reports_it_inactive(shop: Shop) -> None:
    await shop.control("options", {"mobilepay": "inactive"})
    with pytest.raises(stripe.InvalidRequestError) as error:
        await shop.create()
    assert error.value.code == "payment_method_unactivated"
    account = await shop.sdk.v1.accounts.retrieve_current_async()
    assert account.capabilities is not None
    assert account.capabilities.mobilepay_payments == "inactive"
    configurations = await shop.sdk.v1.payment_method_configurations.list_async()
    assert configurations.data[0].mobilepay is not None
    assert configurations.data[0].mobilepay.available is False


@pytest.mark.parametrize(
    ("authorization", "message"),
    [
        ("", "You did not provide an API key"),
        ("Bearer sk_test_another_accounts_key", r"Invalid API Key provided: sk_test_\*+_key"),
        ("Basic !!!", "You did not provide an API key"),
    ],
)
async def test_wrong_api_key_returns_401(shop: Shop, authorization: str, message: str) -> None:
    status, response, _ = await shop.raw("GET", "/v1/balance", Authorization=authorization)
    assert status == 401
    assert re.match(message, response["error"]["message"])


async def test_unknown_ids_and_paths_return_404(shop: Shop) -> None:
    for path in (
        "payment_intents/pi_x",
        "charges/ch_x",
        "refunds/re_x",
        "disputes/du_x",
        "events/evt_x",
        "webhook_endpoints/we_x",
    ):
        status, response, _ = await shop.raw("GET", f"/v1/{path}")
        assert (status, response["error"]["code"]) == (404, "resource_missing")
    status, response, _ = await shop.raw("GET", "/v1/nothing")
    assert (status, "Unrecognized request URL" in response["error"]["message"]) == (404, True)


async def test_json_body_is_rejected(shop: Shop) -> None:
    status, response, _ = await shop.raw(
        "POST", "/v1/payment_intents", '{"amount": 5}', Content_Type="application/json"
    )
    assert status == 400
    assert "application/x-www-form-urlencoded" in response["error"]["message"]


async def test_intents_are_listed_newest_first_with_pages_and_time_ranges(shop: Shop) -> None:
    created = []
    for _ in range(5):
        created.append((await shop.create()).id)
        shop.clock.advance(10)
    service = shop.sdk.v1.payment_intents
    first = await service.list_async({"limit": 2})
    assert [intent.id for intent in first.data] == [created[4], created[3]]
    assert first.has_more is True
    assert [intent.id async for intent in first.auto_paging_iter()] == created[::-1]
    middle = int(shop.fake.store.intents[created[2]]["created"])
    since = await service.list_async({"created": {"gte": middle, "lt": middle + 20}})
    assert [intent.id for intent in since.data] == [created[3], created[2]]


async def test_events_after_a_cursor_can_be_paged_oldest_first(shop: Shop) -> None:
    await shop.create()
    seen = list(shop.fake.store.events)[-1]
    for _ in range(3):
        await shop.create()
    page = await shop.sdk.v1.events.list_async({"ending_before": seen, "limit": 2})
    assert [event.id async for event in page.auto_paging_iter()] == list(shop.fake.store.events)[2:]


async def test_events_are_filtered_by_type_and_retained_for_thirty_days(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/approve")
    wanted = await shop.sdk.v1.events.list_async({"types": ["payment_intent.succeeded", "charge.succeeded"]})
    assert [event.type for event in wanted.data] == ["payment_intent.succeeded", "charge.succeeded"]
    by_pattern = await shop.sdk.v1.events.list_async({"type": "payment_intent.*"})
    assert len(by_pattern.data) == 3
    shop.clock.advance(31 * 86400)
    assert [event.type for event in (await shop.sdk.v1.events.list_async()).data] == []
    with pytest.raises(stripe.InvalidRequestError) as error:
        await shop.sdk.v1.events.list_async({"ending_before": wanted.data[0].id})
    assert (error.value.code, error.value.param) == ("resource_missing", "ending_before")


async def test_event_has_the_request_id_and_idempotency_key_of_its_cause(shop: Shop) -> None:
    intent = await shop.create("create:p1:1")
    await shop.control(f"intents/{intent.id}/approve")
    events = (await shop.sdk.v1.events.list_async()).data
    causes = [event.request.idempotency_key for event in events if event.request is not None]
    assert causes == [None, None, "create:p1:1", "create:p1:1"]
    assert shop.fake.store.requests[0].request_id == shop.fake.store.events[events[-1].id]["request"]["id"]


async def test_event_snapshots_do_not_change_with_the_object(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/approve")
    statuses = [event["data"]["object"]["status"] for event in shop.fake.store.events.values()]
    assert statuses == ["requires_payment_method", "requires_action", "succeeded", "succeeded"]


async def test_charges_are_listed_by_intent_and_expanded_in_lists(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/decline")
    await shop.confirm(intent.id)
    await shop.control(f"intents/{intent.id}/approve")
    charges = await shop.sdk.v1.charges.list_async({"payment_intent": intent.id})
    assert [charge.status for charge in charges.data] == ["succeeded", "failed"]
    assert (await shop.sdk.v1.charges.retrieve_async(charges.data[0].id)).paid is True
    listed = await shop.sdk.v1.payment_intents.list_async({"expand": ["data.latest_charge"]})
    assert isinstance(listed.data[0].latest_charge, stripe.Charge)
    status, response, _ = await shop.raw("GET", f"/v1/payment_intents/{intent.id}?expand[]=colour")
    assert (status, response["error"]["message"]) == (400, "This property cannot be expanded (colour).")


async def test_balance_is_captured_minus_refunded(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/approve")
    await shop.sdk.v1.refunds.create_async({"payment_intent": intent.id, "amount": 234})
    balance = await shop.sdk.v1.balance.retrieve_async()
    assert [(entry.amount, entry.currency) for entry in balance.available] == [(1000, "dkk")]


async def test_webhook_endpoints_can_be_changed_and_deleted_and_return_the_secret_once(shop: Shop) -> None:
    service = shop.sdk.v1.webhook_endpoints
    created = await shop.subscribe("payment_intent.succeeded")
    assert created.secret == shop.fake.webhook_secret
    retrieved = await service.retrieve_async(created.id)
    assert "secret" not in retrieved
    changed = await service.update_async(created.id, {"enabled_events": ["*"], "disabled": True})
    assert (changed.enabled_events, changed.status) == (["*"], "disabled")
    assert [endpoint.id for endpoint in (await service.list_async()).data] == [created.id]
    assert (await service.delete_async(created.id)).deleted is True
    body: Any = {"url": shop.hook, "enabled_events": ["payment_intent.failed"]}
    with pytest.raises(stripe.InvalidRequestError, match=r"payment_intent\.failed is not the name of an event"):
        await service.create_async(body)
