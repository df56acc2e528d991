"""Idempotency keys, ordered faults and outages of the pretend Stripe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
import stripe

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.fake_stripe_shop import Shop, opened

CREATE = "POST /v1/payment_intents"
BODY = "amount=500&currency=dkk"


@pytest.fixture
async def shop(clock: FakeClock) -> AsyncIterator[Shop]:
    async with opened(clock) as running:
        yield running


async def test_the_same_key_gives_the_old_answer_though_the_world_moved_on(shop: Shop) -> None:
    intent = await shop.create("k")
    await shop.control(f"intents/{intent.id}/approve")
    again = await shop.create("k")
    assert (again.id, again.status) == (intent.id, "requires_action")
    assert again.last_response is not None
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert len(shop.fake.store.intents) == 1
    assert [request.replayed for request in shop.fake.store.requests] == [False, True]


async def test_a_key_belongs_to_one_request(shop: Shop) -> None:
    intent = await shop.create("k")
    with pytest.raises(stripe.IdempotencyError, match="same parameters"):
        await shop.create("k", amount=999)
    with pytest.raises(stripe.IdempotencyError, match="same endpoint"):
        await shop.confirm(intent.id, "k")


async def test_a_key_is_forgotten_after_a_day(shop: Shop) -> None:
    first = await shop.create("k")
    shop.clock.advance(24 * 3600 - 1)
    assert (await shop.create("k")).id == first.id
    shop.clock.advance(1)
    assert (await shop.create("k")).id != first.id


async def test_a_refused_form_does_not_use_up_its_key_but_a_refused_state_does(shop: Shop) -> None:
    status, _, _ = await shop.raw("POST", "/v1/payment_intents", "amount=1&currency=dkk", Idempotency_Key="k")
    assert status == 400
    intent = await shop.create("k")
    await shop.control(f"intents/{intent.id}/approve")
    for replayed in (None, "true"):
        path = f"/v1/payment_intents/{intent.id}/cancel"
        status, answer, headers = await shop.raw("POST", path, Idempotency_Key="c")
        assert (status, answer["error"]["code"]) == (400, "payment_intent_unexpected_state")
        assert headers.get("Idempotent-Replayed") == replayed


async def test_two_requests_at_once_under_one_key_are_a_conflict(shop: Shop) -> None:
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


async def test_many_parallel_confirms_begin_one_attempt(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/decline")
    answers = await asyncio.gather(*(shop.confirm(intent.id) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(answer, stripe.PaymentIntent) for answer in answers) == 1
    assert sum(isinstance(answer, stripe.InvalidRequestError) for answer in answers) == 7


@pytest.mark.parametrize("how", ["drop", "500", "429"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_fault_strikes_the_nth_request_only(shop: Shop, when: str, how: str) -> None:
    await shop.control("faults", {"method": CREATE, "nth": 2, "when": when, "how": how})
    await shop.create("a")
    errors = {"drop": stripe.APIConnectionError, "500": stripe.APIError, "429": stripe.RateLimitError}
    with pytest.raises(errors[how]):
        await shop.create("b")
    await shop.create("c")
    assert len(shop.fake.store.intents) == (2 if when == "before" else 3)
    assert shop.fake.store.requests[1].fault == f"{how} {when}"


async def test_after_a_lost_answer_the_same_key_finds_what_was_made(shop: Shop) -> None:
    await shop.control("faults", {"method": CREATE, "when": "after", "how": "drop"})
    with pytest.raises(stripe.APIConnectionError):
        await shop.create("k")
    assert [(await shop.create("k")).id] == list(shop.fake.store.intents)


async def test_a_500_of_an_executed_request_is_replayed(shop: Shop) -> None:
    await shop.control("faults", {"method": CREATE, "when": "after", "how": "500"})
    for _ in range(2):
        with pytest.raises(stripe.APIError) as broken:
            await shop.create("k")
        assert broken.value.http_status == 500
    assert len(shop.fake.store.intents) == 1


async def test_a_500_hides_a_refusal_as_well_and_is_replayed(shop: Shop) -> None:
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/approve")
    cancel = "POST /v1/payment_intents/:id/cancel"
    await shop.control("faults", {"method": cancel, "when": "after", "how": "500"})
    for _ in range(2):
        status, _, _ = await shop.raw("POST", f"/v1/payment_intents/{intent.id}/cancel", Idempotency_Key="c")
        assert status == 500


async def test_a_fault_strikes_requests_without_a_key_and_refused_forms_too(shop: Shop) -> None:
    await shop.control("faults", {"method": "GET /v1/payment_intents/:id", "when": "after", "how": "500"})
    assert (await shop.raw("GET", "/v1/payment_intents/pi_x"))[0] == 500
    await shop.control("faults", {"method": CREATE, "when": "after", "how": "500"})
    assert (await shop.raw("POST", "/v1/payment_intents", "colour=red", Idempotency_Key="k"))[0] == 500
    assert (await shop.raw("POST", "/v1/payment_intents", BODY, Idempotency_Key="k"))[0] == 200


async def test_a_500_before_execution_leaves_the_key_free(shop: Shop) -> None:
    await shop.control("faults", {"method": CREATE, "when": "before", "how": "500", "times": 2})
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            await shop.create("k")
    assert (await shop.create("k")).status == "requires_action"


async def test_a_lock_timeout_is_a_429_that_says_so(shop: Shop) -> None:
    await shop.control("faults", {"method": CREATE, "how": "429", "code": "lock_timeout"})
    with pytest.raises(stripe.RateLimitError) as limited:
        await shop.create("k")
    assert limited.value.error is not None
    assert limited.value.error.code == "lock_timeout"


@pytest.mark.parametrize(("when", "made"), [("before", 0), ("after", 1)])
async def test_a_timeout_holds_the_answer_until_the_client_gives_up(shop: Shop, when: str, made: int) -> None:
    await shop.control("faults", {"method": CREATE, "when": when, "how": "timeout"})
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(shop.raw("POST", "/v1/payment_intents", BODY), 0.3)
    assert len(shop.fake.store.intents) == made
    assert shop.fake.store.requests[0].status is None


async def test_stop_lets_go_of_held_answers(clock: FakeClock) -> None:
    async with opened(clock) as running:
        await running.control("faults", {"method": CREATE, "how": "timeout"})
        held = asyncio.create_task(running.create())
        while not running.fake.store.requests:
            await asyncio.sleep(0)
        async with asyncio.timeout(0.5):
            await running.fake.stop()
        with pytest.raises(stripe.APIConnectionError):
            await held


async def test_a_client_that_goes_away_does_not_undo_its_request(shop: Shop) -> None:
    shop.fake.options.latency = 1
    asked = asyncio.create_task(shop.create("k"))
    while not shop.fake.store.requests:
        await asyncio.sleep(0)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    shop.fake.options.latency = 0
    await shop.create("k2")
    assert len(shop.fake.store.intents) == 1
    shop.clock.advance(1)
    await shop.create("k3")
    assert len(shop.fake.store.intents) == 3
    assert (await shop.create("k")).status == "requires_action"
    assert shop.fake.store.requests[-1].replayed


async def test_while_stripe_is_down_nothing_answers_but_the_control_routes(shop: Shop) -> None:
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
        ("intents/pi_x/expire", {}, 404),
        ("events/evt_x/deliver", {}, 404),
        ("clock", {"advance": "soon"}, 400),
        ("clock", {"advance": -1}, 400),
        ("clock", {"advance": 1e300}, 400),
        ("faults", {"method": "POST /v1/nothing", "how": "drop"}, 400),
        ("faults", {"method": CREATE, "how": "explode"}, 400),
        ("faults", {"method": CREATE, "how": "drop", "nth": 0}, 400),
        ("faults", {"method": CREATE, "how": "drop", "soon": True}, 400),
        ("webhooks", {"mode": "sing"}, 400),
        ("options", {"colour": "red"}, 400),
        ("options", {"webhook_retries": 5}, 400),
        ("options", {"mobilepay": "perhaps"}, 400),
        ("options", {"latency": True}, 400),
    ],
)
async def test_control_routes_refuse_what_they_do_not_understand(
    shop: Shop, path: str, body: dict[str, object], status: int
) -> None:
    answer = await shop.control(path, body, status=status)
    assert answer["error"]


async def test_control_routes_refuse_bad_json_and_what_is_too_late(shop: Shop) -> None:
    async with shop.http.post(f"{shop.fake.base}/_control/clock", data="{") as answer:
        assert answer.status == 400
    async with shop.http.post(f"{shop.fake.base}/_control/clock", json=[1]) as answer:
        assert answer.status == 400
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/approve")
    await shop.control(f"intents/{intent.id}/expire", status=409)


async def test_the_ledger_is_shown_whole(shop: Shop) -> None:
    intent = await shop.create("k")
    async with shop.http.get(f"{shop.fake.base}/_control/store") as answer:
        ledger = await answer.json()
    assert list(ledger["intents"]) == [intent.id]
    assert ledger["requests"][0]["idempotency_key"] == "k"
    assert ledger["requests"][0]["params"]["metadata"] == {"payment": "p1"}
    assert ledger["attempts"][intent.id][0]["expires_at"] == "2026-11-24T12:05:00+00:00"
    async with shop.http.get(f"{shop.fake.base}/_control/intents") as answer:
        assert [each["id"] for each in await answer.json()] == [intent.id]
