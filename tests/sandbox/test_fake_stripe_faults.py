"""Idempotency keys, injected faults and outages of the fake Stripe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
import stripe

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.fake_stripe_shop import Shop, start_shop

CREATE = "POST /v1/payment_intents"
BODY = "amount=500&currency=dkk"


@pytest.fixture
async def shop(clock: FakeClock) -> AsyncIterator[Shop]:
    async with start_shop(clock) as running:
        yield running


async def test_same_key_replays_the_first_response_after_the_intent_changed(shop: Shop) -> None:
    intent = await shop.create("k")
    await shop.control(f"intents/{intent.id}/approve")
    again = await shop.create("k")
    assert (again.id, again.status) == (intent.id, "requires_action")
    assert again.last_response is not None
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert len(shop.fake.store.intents) == 1
    assert [request.replayed for request in shop.fake.store.requests] == [False, True]


async def test_key_of_another_request_is_rejected(shop: Shop) -> None:
    intent = await shop.create("k")
    with pytest.raises(stripe.IdempotencyError, match="same parameters"):
        await shop.create("k", amount=999)
    with pytest.raises(stripe.IdempotencyError, match="same endpoint"):
        await shop.confirm(intent.id, "k")


async def test_key_expires_after_24_hours(shop: Shop) -> None:
    first = await shop.create("k")
    shop.clock.advance(24 * 3600 - 1)
    assert (await shop.create("k")).id == first.id
    shop.clock.advance(1)
    assert (await shop.create("k")).id != first.id


async def test_validation_error_leaves_the_key_free_and_a_state_error_is_replayed(shop: Shop) -> None:
    status, _, _ = await shop.raw("POST", "/v1/payment_intents", "amount=1&currency=dkk", Idempotency_Key="k")
    assert status == 400
    intent = await shop.create("k")
    await shop.control(f"intents/{intent.id}/approve")
    for replayed in (None, "true"):
        path = f"/v1/payment_intents/{intent.id}/cancel"
        status, response, headers = await shop.raw("POST", path, Idempotency_Key="c")
        assert (status, response["error"]["code"]) == (400, "payment_intent_unexpected_state")
        assert headers.get("Idempotent-Replayed") == replayed


async def test_concurrent_requests_with_one_key_conflict(shop: Shop) -> None:
    shop.fake.options.latency = 1
    first = asyncio.create_task(shop.create("k"))
    while not shop.fake.store.requests:
        await asyncio.sleep(0)
    with pytest.raises(stripe.APIError) as conflict:
        await shop.create("k")
    assert conflict.value.http_status == 409
    assert conflict.value.error is not None
    assert conflict.value.error.code == "idempotency_key_in_use"
    shop.clock.advance(1)
    assert (await first).status == "requires_action"


async def test_concurrent_confirms_begin_one_attempt(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/decline")
    results = await asyncio.gather(*(shop.confirm(intent.id) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(response, stripe.PaymentIntent) for response in results) == 1
    assert sum(isinstance(response, stripe.InvalidRequestError) for response in results) == 7


@pytest.mark.parametrize("how", ["drop", "500", "429"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_fault_hits_only_the_nth_request(shop: Shop, when: str, how: str) -> None:
    await shop.control("faults", {"method": CREATE, "nth": 2, "when": when, "how": how})
    await shop.create("a")
    errors = {"drop": stripe.APIConnectionError, "500": stripe.APIError, "429": stripe.RateLimitError}
    with pytest.raises(errors[how]):
        await shop.create("b")
    await shop.create("c")
    assert len(shop.fake.store.intents) == (2 if when == "before" else 3)
    assert shop.fake.store.requests[1].fault == f"{how} {when}"


async def test_same_key_returns_the_created_intent_after_a_lost_response(shop: Shop) -> None:
    await shop.control("faults", {"method": CREATE, "when": "after", "how": "drop"})
    with pytest.raises(stripe.APIConnectionError):
        await shop.create("k")
    assert [(await shop.create("k")).id] == list(shop.fake.store.intents)


async def test_500_after_execution_is_replayed(shop: Shop) -> None:
    await shop.control("faults", {"method": CREATE, "when": "after", "how": "500"})
    for _ in range(2):
        with pytest.raises(stripe.APIError) as broken:
            await shop.create("k")
        assert broken.value.http_status == 500
    assert len(shop.fake.store.intents) == 1


async def test_500_replaces_an_error_response_too_and_is_replayed(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/approve")
    cancel = "POST /v1/payment_intents/:id/cancel"
    await shop.control("faults", {"method": cancel, "when": "after", "how": "500"})
    for _ in range(2):
        status, _, _ = await shop.raw("POST", f"/v1/payment_intents/{intent.id}/cancel", Idempotency_Key="c")
        assert status == 500


async def test_fault_hits_requests_without_a_key_and_invalid_requests(shop: Shop) -> None:
    await shop.control("faults", {"method": "GET /v1/payment_intents/:id", "when": "after", "how": "500"})
    assert (await shop.raw("GET", "/v1/payment_intents/pi_x"))[0] == 500
    await shop.control("faults", {"method": CREATE, "when": "after", "how": "500"})
    assert (await shop.raw("POST", "/v1/payment_intents", "colour=red", Idempotency_Key="k"))[0] == 500
    assert (await shop.raw("POST", "/v1/payment_intents", BODY, Idempotency_Key="k"))[0] == 200


async def test_500_before_execution_leaves_the_key_free(shop: Shop) -> None:
    await shop.control("faults", {"method": CREATE, "when": "before", "how": "500", "times": 2})
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            await shop.create("k")
    assert (await shop.create("k")).status == "requires_action"


async def test_lock_timeout_is_a_429_with_its_code(shop: Shop) -> None:
    await shop.control("faults", {"method": CREATE, "how": "429", "code": "lock_timeout"})
    with pytest.raises(stripe.RateLimitError) as limited:
        await shop.create("k")
    assert limited.value.error is not None
    assert limited.value.error.code == "lock_timeout"


@pytest.mark.parametrize(("when", "created"), [("before", 0), ("after", 1)])
async def test_timeout_fault_sends_no_response(shop: Shop, when: str, created: int) -> None:
    await shop.control("faults", {"method": CREATE, "when": when, "how": "timeout"})
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(shop.raw("POST", "/v1/payment_intents", BODY), 0.3)
    assert len(shop.fake.store.intents) == created
    assert shop.fake.store.requests[0].status is None


async def test_stop_ends_responses_held_by_a_timeout_fault(clock: FakeClock) -> None:
    async with start_shop(clock) as running:
        await running.control("faults", {"method": CREATE, "how": "timeout"})
        held = asyncio.create_task(running.create())
        while not running.fake.store.requests:
            await asyncio.sleep(0)
        async with asyncio.timeout(0.5):
            await running.fake.stop()
        with pytest.raises(stripe.APIConnectionError):
            await held


async def test_request_is_executed_after_the_client_disconnects(shop: Shop) -> None:
    shop.fake.options.latency = 1
    task = asyncio.create_task(shop.create("k"))
    while not shop.fake.store.requests:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    shop.fake.options.latency = 0
    await shop.create("k2")
    assert len(shop.fake.store.intents) == 1
    shop.clock.advance(1)
    await shop.create("k3")
    assert len(shop.fake.store.intents) == 3
    assert (await shop.create("k")).status == "requires_action"
    assert shop.fake.store.requests[-1].replayed


async def test_only_control_routes_respond_while_stripe_is_down(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control("down", {"down": True})
    with pytest.raises(stripe.APIConnectionError):
        await shop.create()
    with pytest.raises(aiohttp.ClientError):
        await shop.http.get(f"{shop.fake.base}/test/authorize/a/b")
    await shop.control(f"intents/{intent.id}/approve")
    await shop.control("down", {"down": False})
    assert (await shop.retrieve(intent.id)).status == "succeeded"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("intents/pi_x/approve", {}, 404),
        ("intents/pi_x/decline", {}, 404),
        ("intents/pi_x/lapse", {}, 404),
        ("events/evt_x/deliver", {}, 404),
        ("clock", {"advance": "300"}, 400),
        ("clock", {"advance": -1}, 400),
        ("clock", {"advance": 1e300}, 400),
        ("faults", {"method": "POST /v1/nothing", "how": "drop"}, 400),
        ("faults", {"method": CREATE, "how": "explode"}, 400),
        ("faults", {"method": CREATE, "how": "drop", "nth": 0}, 400),
        ("faults", {"method": CREATE, "how": "drop", "unknown": True}, 400),
        ("webhooks", {"mode": "unknown"}, 400),
        ("options", {"unknown": 1}, 400),
        ("options", {"webhook_retries": 5}, 400),
        ("options", {"mobilepay": "unknown"}, 400),
        ("options", {"latency": True}, 400),
    ],
)
async def test_control_routes_reject_invalid_requests(
    shop: Shop, path: str, body: dict[str, object], status: int
) -> None:
    response = await shop.control(path, body, status=status)
    assert response["error"]


async def test_control_routes_reject_invalid_json_and_closed_attempts(shop: Shop) -> None:
    async with shop.http.post(f"{shop.fake.base}/_control/clock", data="{") as response:
        assert response.status == 400
    async with shop.http.post(f"{shop.fake.base}/_control/clock", json=[1]) as response:
        assert response.status == 400
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/approve")
    await shop.control(f"intents/{intent.id}/lapse", status=409)


async def test_store_route_returns_all_objects(shop: Shop) -> None:
    intent = await shop.create("k")
    async with shop.http.get(f"{shop.fake.base}/_control/store") as response:
        store = await response.json()
    assert list(store["intents"]) == [intent.id]
    assert store["requests"][0]["idempotency_key"] == "k"
    assert store["requests"][0]["params"]["metadata"] == {"payment": "p1"}
    assert store["attempts"][intent.id][0]["expires_at"] == "2026-11-24T12:05:00+00:00"
    async with shop.http.get(f"{shop.fake.base}/_control/intents") as response:
        assert [entry["id"] for entry in await response.json()] == [intent.id]
