"""StripeGateway over HTTP: requests, parsed responses, and retrieves after replayed responses."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from bot.stripe.gateway import StripeGateway
from handlers.stripe.gateway import IntentRequest, IntentStatus, PaymentGateway
from tests.support.scripted_stripe import (
    KEY,
    NOON,
    REPLAYED,
    REQUEST,
    Answer,
    ScriptedStripe,
    an_error,
    an_intent,
    failure_of,
    scripted_stripe,
)


@pytest.fixture
async def stripe() -> AsyncIterator[ScriptedStripe]:
    async with scripted_stripe() as stripe:
        yield stripe


@pytest.fixture
async def gateway(stripe: ScriptedStripe) -> AsyncIterator[StripeGateway]:
    gateway = StripeGateway(KEY, api_base=stripe.base, timeout=5)
    yield gateway
    await gateway.close()


# requests


async def test_create_sends_one_request_with_payment_metadata(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    stripe.will(Answer(an_intent()))
    await gateway.create(gateway.create_params(REQUEST), key="create:pay_1:1")
    (asked,) = stripe.asked
    assert asked.form == {
        "amount": "14950",
        "automatic_payment_methods[enabled]": "true",
        "capture_method": "automatic",
        "confirm": "true",
        "currency": "dkk",
        "description": "Coffee & cake ☕",
        "metadata[kvit_payment]": "pay_1",
        "metadata[kvit_ref]": "K7F3",
        "payment_method_data[type]": "mobilepay",
        "return_url": "https://pay.example.dk/p/TOKEN",
    }
    assert (asked.method, asked.path) == ("POST", "/v1/payment_intents")
    assert asked.headers["Idempotency-Key"] == "create:pay_1:1"
    assert asked.headers["Stripe-Version"] == "2026-10-28.endive"
    assert not {"telemetry_id", "platform"} & json.loads(asked.headers["X-Stripe-Client-User-Agent"]).keys()


async def test_stored_params_are_sent_as_the_same_bytes_by_another_gateway(
    stripe: ScriptedStripe, gateway: StripeGateway
) -> None:
    stripe.will(Answer(an_intent()))
    params = gateway.create_params(REQUEST)
    await gateway.create(params, key="k")
    later = StripeGateway(KEY, api_base=stripe.base)
    await later.create(json.dumps(json.loads(params), sort_keys=True), key="k")
    await later.close()
    assert stripe.asked[0].body == stripe.asked[1].body
    assert list(json.loads(params)) == sorted(json.loads(params))


def test_create_params_omit_empty_description_and_set_manual_capture() -> None:
    gateway: PaymentGateway = StripeGateway(KEY)
    hold = IntentRequest("pay_1", "K7F3", 100, "EUR", "", "https://t.me/KvitBot", manual_capture=True)
    params = json.loads(gateway.create_params(hold))
    assert "description" not in params
    assert params["capture_method"] == "manual"
    assert params["currency"] == "eur"


async def test_create_replaces_a_lone_surrogate_in_the_description(
    stripe: ScriptedStripe, gateway: StripeGateway
) -> None:
    stripe.will(Answer(an_intent()))
    request = IntentRequest("pay_1", "K7F3", 100, "EUR", "tea \ud83d", "https://t.me/KvitBot")
    await gateway.create(gateway.create_params(request), key="k")
    assert stripe.asked[0].form["description"] == "tea ?"


async def test_confirm_sends_new_payment_method_data_and_return_url(
    stripe: ScriptedStripe, gateway: StripeGateway
) -> None:
    stripe.will(Answer(an_intent()))
    await gateway.confirm("pi_1", gateway.confirm_params(REQUEST), key="confirm:pay_1:2")
    assert stripe.calls == ["POST /v1/payment_intents/pi_1/confirm"]
    assert stripe.asked[0].form == {"payment_method_data[type]": "mobilepay", "return_url": REQUEST.return_url}
    assert stripe.asked[0].headers["Idempotency-Key"] == "confirm:pay_1:2"


async def test_cancel_sends_its_idempotency_key(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    stripe.will(Answer(an_intent("canceled")))
    await gateway.cancel("pi_1", key="cancel:pay_1:1")
    assert stripe.calls == ["POST /v1/payment_intents/pi_1/cancel"]
    assert (stripe.asked[0].headers["Idempotency-Key"], stripe.asked[0].body) == ("cancel:pay_1:1", b"")


@pytest.mark.parametrize(
    ("key", "live"), [("sk_test_1", False), ("rk_test_1", False), ("sk_live_1", True), ("rk_live_1", True)]
)
def test_gateway_livemode_follows_the_key(key: str, live: bool) -> None:
    assert StripeGateway(key).livemode is live


# responses


async def test_retrieve_parses_all_fields_of_an_intent(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    stripe.will(Answer(an_intent()))
    intent = await gateway.retrieve("pi_1")
    assert (intent.id, intent.status, intent.amount, intent.currency) == (
        "pi_1",
        IntentStatus.REQUIRES_ACTION,
        14950,
        "DKK",
    )
    assert intent.metadata == {"kvit_payment": "pay_1", "kvit_ref": "K7F3"}
    assert intent.redirect_url == "https://pm.example/1"
    assert intent.created_at == NOON
    assert not intent.livemode


async def test_retrieve_of_declined_intent_has_codes_and_no_redirect_url(
    stripe: ScriptedStripe, gateway: StripeGateway
) -> None:
    failed = {"code": "card_declined", "decline_code": "insufficient_funds", "type": "card_error"}
    stripe.will(Answer(an_intent("requires_payment_method", next_action=None, last_payment_error=failed)))
    intent = await gateway.retrieve("pi_1")
    assert (intent.error_code, intent.decline_code, intent.redirect_url) == (
        "card_declined",
        "insufficient_funds",
        None,
    )


async def test_retrieve_parses_a_canceled_intent_without_optional_fields(
    stripe: ScriptedStripe, gateway: StripeGateway
) -> None:
    bare = {"id": "pi_1", "object": "payment_intent", "amount": 1, "currency": "sek", "livemode": True}
    stripe.will(Answer({**bare, "status": "canceled", "cancellation_reason": "automatic"}))
    intent = await gateway.retrieve("pi_1")
    assert (intent.status, intent.cancellation_reason, intent.livemode) == (IntentStatus.CANCELED, "automatic", True)
    assert (intent.amount_received, intent.metadata, intent.created_at) == (0, {}, None)


# replayed responses


async def test_create_does_not_retrieve_after_a_first_response(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    stripe.will(Answer(an_intent()))
    assert (await gateway.create(gateway.create_params(REQUEST), key="k")).status is IntentStatus.REQUIRES_ACTION
    assert stripe.calls == ["POST /v1/payment_intents"]


async def test_create_retrieves_the_intent_after_a_replayed_response(
    stripe: ScriptedStripe, gateway: StripeGateway
) -> None:
    stripe.will(Answer(an_intent(), headers=REPLAYED), Answer(an_intent("succeeded", amount_received=14950)))
    intent = await gateway.create(gateway.create_params(REQUEST), key="k")
    assert stripe.calls == ["POST /v1/payment_intents", "GET /v1/payment_intents/pi_1"]
    assert (intent.status, intent.amount_received) == (IntentStatus.SUCCEEDED, 14950)


@pytest.mark.parametrize(
    "broken",
    [
        Answer(silent=True),
        Answer(an_intent(), cut=True),
        Answer(an_error("api_error"), 500),
        Answer(an_error(code="idempotency_key_in_use"), 409),
    ],
    ids=["no answer", "half an answer", "500", "409"],
)
async def test_create_retrieves_the_intent_after_a_second_attempt(
    stripe: ScriptedStripe, gateway: StripeGateway, broken: Answer
) -> None:
    stripe.will(broken, Answer(an_intent()), Answer(an_intent("canceled")))
    intent = await gateway.create(gateway.create_params(REQUEST), key="create:pay_1:1")
    assert stripe.calls == ["POST /v1/payment_intents"] * 2 + ["GET /v1/payment_intents/pi_1"]
    assert {asked.headers["Idempotency-Key"] for asked in stripe.asked[:2]} == {"create:pay_1:1"}
    assert stripe.asked[0].body == stripe.asked[1].body
    assert intent.status is IntentStatus.CANCELED


async def test_create_does_not_retrieve_after_a_429(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    stripe.will(Answer(an_error(code="rate_limit"), 429), Answer(an_intent()))
    await gateway.create(gateway.create_params(REQUEST), key="k")
    assert stripe.calls == ["POST /v1/payment_intents"] * 2


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_create_error_is_retryable_when_the_retrieve_after_a_replay_fails(
    stripe: ScriptedStripe, gateway: StripeGateway, status: int
) -> None:
    stripe.will(Answer(an_intent(), headers=REPLAYED), Answer(an_error(code="resource_missing"), status))
    assert (await failure_of(gateway)).retryable
