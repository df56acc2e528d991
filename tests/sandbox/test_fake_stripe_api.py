"""The pretend Stripe's refusals, lists and objects, held against the SDK and against what Stripe documents."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import stripe

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.fake_stripe_shop import RETURN_URL, Shop, opened

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
        "pending_reason",
        "presentment_details",
    },
    stripe.Event: {"account", "context"},
    stripe.WebhookEndpoint: {"deleted"},
    stripe.Balance: {"connect_reserved", "instant_available", "issuing"},
    stripe.Account: {"company", "deleted", "groups", "individual"},
}


@pytest.fixture
async def shop(clock: FakeClock) -> AsyncIterator[Shop]:
    async with opened(clock) as running:
        yield running


def keys(kind: type[stripe.StripeObject]) -> set[str]:
    """The fields that an object of this kind always has, by the SDK's annotations."""
    return set(kind.__annotations__) - {"OBJECT_NAME"} - ONLY_SOMETIMES[kind]


async def test_objects_have_exactly_the_fields_of_this_api_version(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/approve")
    paid = await shop.retrieve(intent.id)
    refund = await shop.sdk.v1.refunds.create_async({"payment_intent": intent.id})
    events = await shop.sdk.v1.events.list_async()
    found: list[stripe.StripeObject] = [
        paid,
        refund,
        *events.data,
        await shop.subscribe(),
        await shop.sdk.v1.balance.retrieve_async(),
        await shop.sdk.v1.accounts.retrieve_current_async(),
    ]
    assert isinstance(paid.latest_charge, stripe.Charge)
    for thing in [*found, paid.latest_charge]:
        assert set(thing.to_dict()) == keys(type(thing)), type(thing)


async def test_a_failed_attempt_has_fields_the_sdk_knows(shop: Shop) -> None:
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
async def test_a_malformed_create_is_refused_in_stripes_words(
    shop: Shop, body: str, code: str | None, param: str
) -> None:
    status, answer, headers = await shop.raw("POST", "/v1/payment_intents", body)
    assert status == 400
    assert answer["error"]["type"] == "invalid_request_error"
    assert (answer["error"].get("code"), answer["error"].get("param")) == (code, param)
    assert headers["Request-Id"].startswith("req_")
    assert headers["Stripe-Version"] == "2026-10-28.endive"
    assert not shop.fake.store.intents


async def test_only_mobilepay_can_be_asked_for_by_name(shop: Shop) -> None:
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


async def test_an_account_without_mobilepay_refuses_it_and_says_so_when_asked(shop: Shop) -> None:
    await shop.control("options", {"mobilepay": "inactive"})
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await shop.create()
    assert refused.value.code == "payment_method_unactivated"
    account = await shop.sdk.v1.accounts.retrieve_current_async()
    assert account.capabilities is not None
    assert account.capabilities.mobilepay_payments == "inactive"
    configurations = await shop.sdk.v1.payment_method_configurations.list_async()
    assert configurations.data[0].mobilepay is not None
    assert configurations.data[0].mobilepay.available is False


@pytest.mark.parametrize(
    ("authorization", "words"),
    [
        ("", "You did not provide an API key"),
        ("Bearer sk_test_somebody_elses_key", r"Invalid API Key provided: sk_test_\*+_key"),
        ("Basic !!!", "You did not provide an API key"),
    ],
)
async def test_without_the_right_key_there_is_no_answer(shop: Shop, authorization: str, words: str) -> None:
    status, answer, _ = await shop.raw("GET", "/v1/balance", Authorization=authorization)
    assert status == 401
    assert re.match(words, answer["error"]["message"])


async def test_unknown_ids_and_addresses_are_404(shop: Shop) -> None:
    for path in (
        "payment_intents/pi_x",
        "charges/ch_x",
        "refunds/re_x",
        "disputes/du_x",
        "events/evt_x",
        "webhook_endpoints/we_x",
    ):
        status, answer, _ = await shop.raw("GET", f"/v1/{path}")
        assert (status, answer["error"]["code"]) == (404, "resource_missing")
    status, answer, _ = await shop.raw("GET", "/v1/nothing")
    assert (status, "Unrecognized request URL" in answer["error"]["message"]) == (404, True)


async def test_a_json_body_is_refused(shop: Shop) -> None:
    status, answer, _ = await shop.raw("POST", "/v1/payment_intents", '{"amount": 5}', Content_Type="application/json")
    assert status == 400
    assert "application/x-www-form-urlencoded" in answer["error"]["message"]


async def test_intents_are_listed_newest_first_by_page_and_by_time(shop: Shop) -> None:
    made = []
    for _ in range(5):
        made.append((await shop.create()).id)
        shop.clock.advance(10)
    service = shop.sdk.v1.payment_intents
    first = await service.list_async({"limit": 2})
    assert [intent.id for intent in first.data] == [made[4], made[3]]
    assert first.has_more is True
    assert [intent.id async for intent in first.auto_paging_iter()] == made[::-1]
    middle = int(shop.fake.store.intents[made[2]]["created"])
    since = await service.list_async({"created": {"gte": middle, "lt": middle + 20}})
    assert [intent.id for intent in since.data] == [made[3], made[2]]


async def test_events_can_be_read_on_from_the_last_one_seen_oldest_first(shop: Shop) -> None:
    await shop.create()
    seen = list(shop.fake.store.events)[-1]
    for _ in range(3):
        await shop.create()
    page = await shop.sdk.v1.events.list_async({"ending_before": seen, "limit": 2})
    assert [event.id async for event in page.auto_paging_iter()] == list(shop.fake.store.events)[2:]


async def test_events_are_chosen_by_type_and_forgotten_after_thirty_days(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/approve")
    wanted = await shop.sdk.v1.events.list_async({"types": ["payment_intent.succeeded", "charge.succeeded"]})
    assert [event.type for event in wanted.data] == ["payment_intent.succeeded", "charge.succeeded"]
    by_pattern = await shop.sdk.v1.events.list_async({"type": "payment_intent.*"})
    assert len(by_pattern.data) == 3
    shop.clock.advance(31 * 86400)
    assert [event.type for event in (await shop.sdk.v1.events.list_async()).data] == []
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await shop.sdk.v1.events.list_async({"ending_before": wanted.data[0].id})
    assert (refused.value.code, refused.value.param) == ("resource_missing", "ending_before")


async def test_an_event_names_the_request_and_the_key_that_caused_it(shop: Shop) -> None:
    intent = await shop.create("create:p1:1")
    await shop.control(f"intents/{intent.id}/approve")
    events = (await shop.sdk.v1.events.list_async()).data
    asked = [event.request.idempotency_key for event in events if event.request is not None]
    assert asked == [None, None, "create:p1:1", "create:p1:1"]
    assert shop.fake.store.requests[0].request_id == shop.fake.store.events[events[-1].id]["request"]["id"]


async def test_snapshots_do_not_change_with_their_object(shop: Shop) -> None:
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
    status, answer, _ = await shop.raw("GET", f"/v1/payment_intents/{intent.id}?expand[]=colour")
    assert (status, answer["error"]["message"]) == (400, "This property cannot be expanded (colour).")


async def test_the_balance_is_what_was_captured_and_not_given_back(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/approve")
    await shop.sdk.v1.refunds.create_async({"payment_intent": intent.id, "amount": 234})
    balance = await shop.sdk.v1.balance.retrieve_async()
    assert [(entry.amount, entry.currency) for entry in balance.available] == [(1000, "dkk")]


async def test_endpoints_are_kept_changed_and_deleted_and_show_their_secret_once(shop: Shop) -> None:
    service = shop.sdk.v1.webhook_endpoints
    made = await shop.subscribe("payment_intent.succeeded")
    assert made.secret == shop.fake.webhook_secret
    kept = await service.retrieve_async(made.id)
    assert "secret" not in kept
    changed = await service.update_async(made.id, {"enabled_events": ["*"], "disabled": True})
    assert (changed.enabled_events, changed.status) == (["*"], "disabled")
    assert [endpoint.id for endpoint in (await service.list_async()).data] == [made.id]
    assert (await service.delete_async(made.id)).deleted is True
    body: Any = {"url": shop.hook, "enabled_events": ["payment_intent.failed"]}
    with pytest.raises(stripe.InvalidRequestError, match=r"payment_intent\.failed is not the name of an event"):
        await service.create_async(body)
