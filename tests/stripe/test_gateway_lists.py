"""StripeGateway: lists of intents and events, the account."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest

from bot.stripe.gateway import StripeGateway
from bot.stripe.serialization import EVENT_TYPES, Account
from handlers.stripe.gateway import GatewayError
from tests.support.scripted_stripe import (
    KEY,
    NOON,
    Answer,
    ScriptedStripe,
    an_error,
    an_intent,
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


# lists


async def test_find_intent_lists_all_pages_and_matches_metadata(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    def page(ids: list[str], **more: object) -> Answer:
        intents = [an_intent(id=one, metadata={"kvit_payment": one.replace("pi", "pay")}) for one in ids]
        return Answer({"object": "list", "url": "/v1/payment_intents", "data": intents, **more})

    stripe.will(page(["pi_4", "pi_3"], has_more=True), page(["pi_2", "pi_1"], has_more=False))
    intent = await gateway.find_intent("pay_2", since=NOON, until=NOON + timedelta(hours=1))
    assert intent is not None
    assert intent.id == "pi_2"
    first, second = stripe.asked
    at = int(NOON.timestamp())
    day = 86_400
    assert first.query == {"created[gte]": str(at - day), "created[lte]": str(at + 3600 + day), "limit": "100"}
    assert second.query == {**first.query, "starting_after": "pi_3"}
    stripe.will(page(["pi_4"], has_more=False))
    assert await gateway.find_intent("pay_9", since=NOON, until=NOON + timedelta(hours=1)) is None


async def test_find_intent_raises_for_an_error_or_invalid_list(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    for answer in (Answer(an_error(), 403), Answer({"object": "list"}), Answer([]), Answer("<html>")):
        stripe.will(answer)
        with pytest.raises(GatewayError):
            await gateway.find_intent("pay_9", since=NOON, until=NOON + timedelta(hours=1))


def an_event(number: int, **more: object) -> dict[str, Any]:
    return {
        "id": f"evt_{number}",
        "object": "event",
        "type": "payment_intent.succeeded",
        "created": int(NOON.timestamp()) + number,
        "livemode": False,
        "data": {"object": an_intent("succeeded")},
        **more,
    }


def events(*said: dict[str, Any], more: bool = False) -> Answer:
    return Answer({"object": "list", "url": "/v1/events", "has_more": more, "data": list(said)})


async def test_list_events_after_a_cursor_is_oldest_first_through_all_pages(
    stripe: ScriptedStripe, gateway: StripeGateway
) -> None:
    stripe.will(events(an_event(3), an_event(2), more=True), events(an_event(4)), events())
    got = [change async for change, _ in gateway.list_events("evt_1", NOON)]
    assert [change.id for change in got] == ["evt_2", "evt_3", "evt_4"]
    asked = stripe.asked[0].query
    assert {name: value for name, value in asked.items() if not name.startswith("types")} == {
        "ending_before": "evt_1",
        "limit": "100",
    }
    assert [asked[f"types[{n}]"] for n in range(len(EVENT_TYPES))] == list(EVENT_TYPES)
    assert stripe.asked[1].query["ending_before"] == "evt_3"


async def test_list_events_can_be_closed_early(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    stripe.will(events(an_event(3), an_event(2), more=True))
    async with aclosing(gateway.list_events("evt_1", NOON)) as found:
        async for change, _ in found:
            assert change.id == "evt_2"
            break
    assert len(stripe.asked) == 1


async def test_list_events_without_a_known_cursor_filters_by_time(
    stripe: ScriptedStripe, gateway: StripeGateway
) -> None:
    forgotten = Answer(an_error(code="resource_missing", param="ending_before"), 400)
    stripe.will(events(an_event(2), an_event(1)))
    assert [change.id async for change, _ in gateway.list_events(None, NOON)] == ["evt_1", "evt_2"]
    stripe.will(forgotten, events(an_event(2), an_event(1)))
    assert [change.id async for change, _ in gateway.list_events("evt_0", NOON)] == ["evt_1", "evt_2"]
    assert stripe.asked[-1].query["created[gte]"] == str(int(NOON.timestamp()))
    stripe.will(Answer(an_error(), 403), events(an_event(1)))
    with pytest.raises(GatewayError, match="permission"):
        _ = [change async for change, _ in gateway.list_events("evt_0", NOON)]


async def test_list_events_returns_references_and_json_without_client_secrets(
    stripe: ScriptedStripe, gateway: StripeGateway
) -> None:
    charge = {"id": "ch_1", "object": "charge", "payment_intent": "pi_1", "metadata": {}}
    dispute = {"id": "dp_1", "object": "dispute", "payment_intent": {"id": "pi_1", "client_secret": "pi_1_secret_C"}}
    listed = [
        an_event(3, type="charge.dispute.created", data={"object": dispute}),
        an_event(2, type="charge.refunded", data={"object": charge}),
        an_event(1),
    ]
    stripe.will(events(*listed))
    got = [item async for item in gateway.list_events(None, NOON)]
    assert [(change.intent_id, change.payment_id) for change, _ in got] == [
        ("pi_1", "pay_1"),
        ("pi_1", None),
        ("pi_1", None),
    ]
    assert (got[0][0].type, got[0][0].livemode) == ("payment_intent.succeeded", False)
    assert all("_secret_" not in raw for _, raw in got)
    assert [json.loads(raw)["id"] for _, raw in got] == ["evt_1", "evt_2", "evt_3"]


@pytest.mark.parametrize(
    "data", [None, {}, [], "text", {"object": None}, {"object": "text"}, {"object": {"metadata": "text"}}]
)
async def test_list_events_returns_an_event_with_an_invalid_object(
    stripe: ScriptedStripe, gateway: StripeGateway, data: object
) -> None:
    stripe.will(events(an_event(3), an_event(2, data=data), an_event(1)))
    got = [change async for change, _ in gateway.list_events(None, NOON)]
    assert [(change.id, change.intent_id) for change in got] == [("evt_1", "pi_1"), ("evt_2", None), ("evt_3", "pi_1")]


def test_event_types_fit_into_one_list_request() -> None:
    assert len(set(EVENT_TYPES)) == len(EVENT_TYPES) <= 20


async def test_account_has_the_mobilepay_capability(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    account = {"id": "acct_1", "object": "account", "country": "DK", "charges_enabled": True}
    stripe.will(Answer({**account, "capabilities": {"mobilepay_payments": "active"}}))
    assert await gateway.account() == Account("acct_1", "DK", "active", charges_enabled=True)
    stripe.will(Answer({"id": "acct_1", "object": "account"}))
    assert await gateway.account() == Account("acct_1", None, None, charges_enabled=False)
