"""The door to Stripe over real HTTP: what is sent, what is read, and what each kind of failure becomes."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bot.stripe_gateway import StripeGateway
from bot.stripe_words import EVENT_TYPES, Account
from handlers.ports import Gateway, GatewayError, IntentRequest, IntentStatus

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
KEY = "sk_test_CanaryKey1234567890"
REQUEST = IntentRequest("pay_1", "K7F3", 14950, "DKK", "Coffee & cake ☕", "https://pay.example.dk/p/TOKEN")
REPLAYED = {"Idempotent-Replayed": "true"}


@dataclass
class Answer:
    """One scripted answer; `cut` breaks the connection in the middle of the body, `silent` before any of it."""

    body: object = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    silent: bool = False


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True, strict_parsing=True))


class ScriptedStripe:
    """Answers what it was told to, in that order, and remembers what it was asked; the last answer repeats."""

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.asked: list[Asked] = []
        self.heard = asyncio.Event()
        self.hold = asyncio.Event()
        self.hold.set()

    def will(self, *answers: Answer) -> None:
        self.script = list(answers)

    @property
    def calls(self) -> list[str]:
        return [f"{asked.method} {asked.path}" for asked in self.asked]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = Asked(request.method, request.path, dict(request.query), request.headers, await request.read())
        self.asked.append(asked)
        self.heard.set()
        await self.hold.wait()
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        assert request.transport is not None
        if answer.silent:
            request.transport.abort()
            return web.Response()
        body = (answer.body if isinstance(answer.body, str) else json.dumps(answer.body)).encode()
        if not answer.cut:
            return web.Response(body=body, status=answer.status, headers={"Request-Id": "req_1", **answer.headers})
        response = web.StreamResponse(status=answer.status, headers={"Content-Length": str(len(body))})
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        request.transport.abort()
        return response


@pytest.fixture
async def stripe() -> ScriptedStripe:
    return ScriptedStripe()


@pytest.fixture
async def base(stripe: ScriptedStripe) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", stripe.answer)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


@pytest.fixture
async def gateway(base: str) -> AsyncIterator[StripeGateway]:
    gateway = StripeGateway(KEY, api_base=base, timeout=5)
    yield gateway
    await gateway.close()


def an_intent(status: str = "requires_action", **more: object) -> dict[str, Any]:
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "amount": 14950,
        "amount_received": 0,
        "currency": "dkk",
        "status": status,
        "livemode": False,
        "created": int(NOON.timestamp()),
        "client_secret": "pi_1_secret_Canary",
        "metadata": {"kvit_payment": "pay_1", "kvit_ref": "K7F3"},
        "payment_method_types": ["card", "mobilepay"],
        "next_action": {"type": "redirect_to_url", "redirect_to_url": {"url": "https://pm.example/1"}},
        **more,
    }


def an_error(kind: str = "invalid_request_error", code: str | None = None, **more: object) -> dict[str, Any]:
    return {"error": {"type": kind, "message": "Stripe says no", **({"code": code} if code else {}), **more}}


async def failure_of(gateway: StripeGateway, key: str = "create:pay_1:1") -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await gateway.create(gateway.create_params(REQUEST), key=key)
    return caught.value


# what is sent


async def test_create_and_confirm_are_one_call_with_our_names_in_it(
    stripe: ScriptedStripe, gateway: StripeGateway
) -> None:
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
    assert "X-Stripe-Client-Telemetry" not in asked.headers


async def test_the_same_stored_request_is_the_same_bytes_in_another_process_too(
    stripe: ScriptedStripe, gateway: StripeGateway, base: str
) -> None:
    stripe.will(Answer(an_intent()))
    params = gateway.create_params(REQUEST)
    await gateway.create(params, key="k")
    later = StripeGateway(KEY, api_base=base)
    await later.create(json.dumps(json.loads(params), sort_keys=True), key="k")
    await later.close()
    assert stripe.asked[0].body == stripe.asked[1].body
    assert list(json.loads(params)) == sorted(json.loads(params))


def test_a_request_without_words_has_no_description_and_a_hold_is_captured_by_hand() -> None:
    gateway: Gateway = StripeGateway(KEY)
    hold = IntentRequest("pay_1", "K7F3", 100, "EUR", "", "https://t.me/KvitBot", manual_capture=True)
    params = json.loads(gateway.create_params(hold))
    assert "description" not in params
    assert params["capture_method"] == "manual"
    assert params["currency"] == "eur"


async def test_half_a_surrogate_in_the_words_does_not_stop_the_request(
    stripe: ScriptedStripe, gateway: StripeGateway
) -> None:
    stripe.will(Answer(an_intent()))
    odd = IntentRequest("pay_1", "K7F3", 100, "EUR", "tea \ud83d", "https://t.me/KvitBot")
    await gateway.create(gateway.create_params(odd), key="k")
    assert stripe.asked[0].form["description"] == "tea ?"


async def test_a_further_confirm_brings_a_new_payment_method_and_the_way_back(
    stripe: ScriptedStripe, gateway: StripeGateway
) -> None:
    stripe.will(Answer(an_intent()))
    intent = await gateway.confirm("pi_1", gateway.confirm_params(REQUEST), key="confirm:pay_1:2")
    assert stripe.calls == ["POST /v1/payment_intents/pi_1/confirm"]
    assert stripe.asked[0].form == {"payment_method_data[type]": "mobilepay", "return_url": REQUEST.return_url}
    assert stripe.asked[0].headers["Idempotency-Key"] == "confirm:pay_1:2"
    assert intent.fresh


@pytest.mark.parametrize(
    ("key", "live"), [("sk_test_1", False), ("rk_test_1", False), ("sk_live_1", True), ("rk_live_1", True)]
)
def test_the_key_says_whether_the_money_is_real(key: str, live: bool) -> None:
    assert StripeGateway(key).livemode is live


# what is read


async def test_an_intent_is_read_whole(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    stripe.will(Answer(an_intent()))
    intent = await gateway.retrieve("pi_1")
    assert (intent.id, intent.status, intent.amount, intent.currency) == (
        "pi_1",
        IntentStatus.REQUIRES_ACTION,
        14950,
        "DKK",
    )
    assert intent.metadata == {"kvit_payment": "pay_1", "kvit_ref": "K7F3"}
    assert intent.link == "https://pm.example/1"
    assert intent.methods == ("card", "mobilepay")
    assert intent.created_at == NOON
    assert not intent.livemode
    assert intent.fresh


async def test_a_declined_intent_tells_why_and_has_no_link(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    failed = {"code": "card_declined", "decline_code": "insufficient_funds", "type": "card_error"}
    stripe.will(Answer(an_intent("requires_payment_method", next_action=None, last_payment_error=failed)))
    intent = await gateway.retrieve("pi_1")
    assert (intent.error_code, intent.decline_code, intent.link) == ("card_declined", "insufficient_funds", None)


async def test_a_canceled_intent_with_little_in_it_is_read_too(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    bare = {"id": "pi_1", "object": "payment_intent", "amount": 1, "currency": "sek", "livemode": True}
    stripe.will(Answer({**bare, "status": "canceled", "cancellation_reason": "automatic"}))
    intent = await gateway.retrieve("pi_1")
    assert (intent.status, intent.cancellation_reason, intent.livemode) == (IntentStatus.CANCELED, "automatic", True)
    assert (intent.received, intent.metadata, intent.methods, intent.created_at) == (0, {}, (), None)


# a replayed answer is an old answer


async def test_a_first_answer_is_believed_without_a_second_look(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    stripe.will(Answer(an_intent()))
    assert (await gateway.create(gateway.create_params(REQUEST), key="k")).fresh
    assert stripe.calls == ["POST /v1/payment_intents"]


async def test_after_a_replayed_answer_stripe_is_asked_what_is_true_now(
    stripe: ScriptedStripe, gateway: StripeGateway
) -> None:
    stripe.will(Answer(an_intent(), headers=REPLAYED), Answer(an_intent("succeeded", amount_received=14950)))
    intent = await gateway.create(gateway.create_params(REQUEST), key="k")
    assert stripe.calls == ["POST /v1/payment_intents", "GET /v1/payment_intents/pi_1"]
    assert (intent.status, intent.received, intent.fresh) == (IntentStatus.SUCCEEDED, 14950, True)


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
async def test_after_a_second_try_stripe_is_asked_what_is_true_now(
    stripe: ScriptedStripe, gateway: StripeGateway, broken: Answer
) -> None:
    stripe.will(broken, Answer(an_intent()), Answer(an_intent("canceled")))
    intent = await gateway.create(gateway.create_params(REQUEST), key="create:pay_1:1")
    assert stripe.calls == ["POST /v1/payment_intents"] * 2 + ["GET /v1/payment_intents/pi_1"]
    assert {asked.headers["Idempotency-Key"] for asked in stripe.asked[:2]} == {"create:pay_1:1"}
    assert stripe.asked[0].body == stripe.asked[1].body
    assert intent.status is IntentStatus.CANCELED


async def test_a_request_that_was_turned_away_first_is_new_when_it_is_let_in(
    stripe: ScriptedStripe, gateway: StripeGateway
) -> None:
    stripe.will(Answer(an_error(code="rate_limit"), 429), Answer(an_intent()))
    await gateway.create(gateway.create_params(REQUEST), key="k")
    assert stripe.calls == ["POST /v1/payment_intents"] * 2


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_that_the_look_failed_does_not_undo_what_stripe_did(
    stripe: ScriptedStripe, gateway: StripeGateway, status: int
) -> None:
    stripe.will(Answer(an_intent(), headers=REPLAYED), Answer(an_error(code="resource_missing"), status))
    assert (await failure_of(gateway)).retryable


# what each failure becomes

REFUSALS = [
    (400, an_error(code="amount_too_small"), "amount_too_small", False),
    (400, an_error(), "invalid_request_error", False),
    (400, an_error(code="payment_method_types_no_longer_supported"), "payment_method_types_no_longer_supported", False),
    (400, an_error(code="rate_limit"), "rate_limit", True),
    (404, an_error(code="resource_missing"), "resource_missing", False),
    (402, an_error("card_error", "card_declined", decline_code="do_not_honor"), "card_declined", False),
    (401, an_error(), "authentication", False),
    (403, an_error(code="secret_key_required"), "permission", False),
    (424, an_error("api_error"), "server", True),
    (404, "<html>not here</html>", "server", True),
    (200, "<html>a captive portal</html>", "server", True),
    (200, [], "server", True),
    (200, None, "server", True),
    (200, {}, "server", True),
    (200, an_intent("a_new_word"), "server", True),
    (200, {"id": "pi_1", "object": "charge", "status": "succeeded"}, "server", True),
    (500, an_error("api_error"), "server", True),
    (502, "<html>Bad gateway</html>", "server", True),
    (503, "", "server", True),
    (409, an_error(code="idempotency_key_in_use"), "idempotency_key_in_use", True),
    (409, an_error("idempotency_error"), "conflict", True),
    (429, an_error(code="lock_timeout"), "lock_timeout", True),
    (429, "slow down", "rate_limit", True),
]


@pytest.mark.parametrize(("status", "body", "code", "retryable"), REFUSALS)
async def test_every_refusal_has_a_code_and_says_whether_to_come_again(
    stripe: ScriptedStripe, gateway: StripeGateway, status: int, body: object, code: str, retryable: bool
) -> None:
    stripe.will(Answer(body, status))
    failure = await failure_of(gateway)
    assert (failure.code, failure.retryable, failure.stored, failure.intent) == (code, retryable, False, None)
    assert len(stripe.asked) == (3 if status in {409, 429} or status >= 500 else 1)
    assert len(failure.message) < 100
    assert "html" not in failure.message


async def test_a_stripe_that_asks_not_to_be_asked_again_is_obeyed(
    stripe: ScriptedStripe, gateway: StripeGateway
) -> None:
    for status in (500, 429):
        stripe.will(Answer(an_error("api_error"), status, {"Stripe-Should-Retry": "false"}))
        stripe.asked.clear()
        assert (await failure_of(gateway)).retryable
        assert len(stripe.asked) == 1


async def test_the_request_id_is_kept_for_stripes_support(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    stripe.will(Answer(an_error(code="amount_too_small"), 400))
    failure = await failure_of(gateway)
    assert (failure.request_id, failure.message) == ("req_1", "Stripe says no")
    assert str(failure) == "Stripe: amount_too_small (req_1)"


async def test_another_request_under_a_used_key_is_stored_and_final(
    stripe: ScriptedStripe, gateway: StripeGateway
) -> None:
    stripe.will(Answer(an_error("idempotency_error"), 400))
    failure = await failure_of(gateway)
    assert (failure.code, failure.retryable, failure.stored) == ("idempotency", False, True)


async def test_a_stored_500_is_looked_behind_and_not_sent_again(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    stripe.will(Answer(an_error("api_error"), 500, REPLAYED))
    failure = await failure_of(gateway)
    assert (failure.code, failure.retryable, failure.stored) == ("server", True, True)


async def test_a_declined_card_brings_the_intent_along(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    declined = an_error("card_error", "card_declined", payment_intent=an_intent("requires_payment_method"))
    stripe.will(Answer(declined, 402))
    failure = await failure_of(gateway)
    assert failure.intent is not None
    assert failure.intent.status is IntentStatus.REQUIRES_PAYMENT_METHOD
    assert len(stripe.asked) == 1


async def test_an_unexpected_state_brings_the_intent_or_it_is_looked_up(
    stripe: ScriptedStripe, gateway: StripeGateway
) -> None:
    late = an_error(code="payment_intent_unexpected_state", payment_intent=an_intent("succeeded"))
    bare = an_error(code="payment_intent_unexpected_state")
    for script in ([Answer(late, 400)], [Answer(bare, 400), Answer(an_intent("succeeded"))]):
        stripe.will(*script)
        with pytest.raises(GatewayError) as caught:
            await gateway.cancel("pi_1", key="cancel:pay_1:1")
        assert (caught.value.code, caught.value.retryable) == ("payment_intent_unexpected_state", False)
        assert caught.value.intent is not None
        assert caught.value.intent.status is IntentStatus.SUCCEEDED


async def test_the_intent_within_a_replayed_refusal_is_looked_at_anew(
    stripe: ScriptedStripe, gateway: StripeGateway
) -> None:
    old = an_error("card_error", "card_declined", payment_intent=an_intent("requires_payment_method"))
    stripe.will(Answer(old, 402, REPLAYED), Answer(an_intent("succeeded")))
    failure = await failure_of(gateway)
    assert failure.intent is not None
    assert failure.intent.status is IntentStatus.SUCCEEDED
    stripe.will(Answer(old, 402, REPLAYED), Answer(an_error(), 403))
    assert (await failure_of(gateway)).intent is None


async def test_a_key_refused_after_a_broken_try_leaves_the_outcome_open(
    stripe: ScriptedStripe, gateway: StripeGateway
) -> None:
    stripe.will(Answer(silent=True), Answer(an_error(), 401))
    failure = await failure_of(gateway)
    assert (failure.code, failure.retryable) == ("authentication", True)


@pytest.mark.parametrize("broken", [Answer(silent=True), Answer(an_intent(), cut=True)], ids=["drop", "half"])
async def test_a_broken_connection_is_tried_three_times_and_then_told(
    stripe: ScriptedStripe, gateway: StripeGateway, broken: Answer
) -> None:
    stripe.will(broken)
    failure = await failure_of(gateway)
    assert (failure.code, failure.retryable, failure.stored) == ("connection", True, False)
    assert len(stripe.asked) == 3


async def test_nobody_listening_and_a_closed_gateway_are_connection_failures() -> None:
    gateway = StripeGateway(KEY, api_base="http://127.0.0.1:1")
    assert (await failure_of(gateway)).code == "connection"
    await gateway.close()
    assert (await failure_of(gateway)).code == "connection"


async def test_a_silent_stripe_runs_into_the_timeout(stripe: ScriptedStripe, base: str) -> None:
    stripe.will(Answer(an_intent()))
    stripe.hold.clear()
    gateway = StripeGateway(KEY, api_base=base, timeout=0.05)
    failure = await failure_of(gateway)
    stripe.hold.set()
    await gateway.close()
    assert (failure.code, failure.retryable, failure.message) == (
        "connection",
        True,
        "no answer after 3 tries: TimeoutError",
    )


async def test_a_redirect_is_not_followed_as_a_get(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    stripe.will(Answer("moved", 302, {"Location": "/v1/elsewhere"}))
    failure = await failure_of(gateway)
    assert (failure.code, failure.retryable) == ("server", True)
    assert stripe.calls == ["POST /v1/payment_intents"]


async def test_being_canceled_passes_through(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    stripe.will(Answer(an_intent()))
    stripe.hold.clear()
    async with asyncio.timeout(10):
        task = asyncio.create_task(gateway.create(gateway.create_params(REQUEST), key="k"))
        await stripe.heard.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    stripe.hold.set()


async def test_calls_side_by_side_do_not_count_each_others_tries(
    stripe: ScriptedStripe, gateway: StripeGateway
) -> None:
    stripe.will(Answer(an_intent()))
    params = gateway.create_params(REQUEST)
    await asyncio.gather(*(gateway.create(params, key=f"k{n}") for n in range(5)))
    assert stripe.calls == ["POST /v1/payment_intents"] * 5


# what stays inside


async def test_a_notice_of_stripe_is_no_failure(
    stripe: ScriptedStripe, gateway: StripeGateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stripe.will(Answer(an_intent(), headers={"Stripe-Notice": "an old API version"}))
    assert (await gateway.create(gateway.create_params(REQUEST), key="k")).id == "pi_1"
    assert "an old API version" in caplog.text


@pytest.mark.parametrize(
    "answer",
    [
        Answer(an_error(message=f"Invalid API Key provided: {KEY}"), 401),
        Answer(an_error(message="pi_1_secret_Canary is not yours", payment_intent=an_intent()), 400),
        Answer('{"client_secret": "pi_1_secret_Canary", "id": '),
        Answer(an_intent(), cut=True),
    ],
    ids=["key", "message", "broken json", "half"],
)
async def test_no_key_and_no_client_secret_leaves_the_gateway(
    stripe: ScriptedStripe,
    gateway: StripeGateway,
    answer: Answer,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    stripe.will(answer)
    failure = await failure_of(gateway)
    told = "".join(traceback.format_exception(failure)) + repr(failure) + failure.message + repr(gateway)
    assert "Canary" not in told + caplog.text + "".join(capsys.readouterr())


# looking for what we lost


async def test_a_lost_intent_is_found_by_list_and_our_name_through_all_pages(
    stripe: ScriptedStripe, gateway: StripeGateway
) -> None:
    def page(ids: list[str], **more: object) -> Answer:
        intents = [an_intent(id=one, metadata={"kvit_payment": one.replace("pi", "pay")}) for one in ids]
        return Answer({"object": "list", "url": "/v1/payment_intents", "data": intents, **more})

    stripe.will(page(["pi_4", "pi_3"], has_more=True), page(["pi_2", "pi_1"], has_more=False))
    intent = await gateway.find("pay_2", around=NOON)
    assert intent is not None
    assert intent.id == "pi_2"
    first, second = stripe.asked
    at = int(NOON.timestamp())
    assert first.query == {"created[gte]": str(at - 60), "created[lte]": str(at + 3600), "limit": "100"}
    assert second.query == {**first.query, "starting_after": "pi_3"}
    stripe.will(page(["pi_4"], has_more=False))
    assert await gateway.find("pay_9", around=NOON) is None


async def test_a_list_that_cannot_be_read_or_had_is_told(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    for answer in (Answer(an_error(), 403), Answer({"object": "list"}), Answer([]), Answer("<html>")):
        stripe.will(answer)
        with pytest.raises(GatewayError):
            await gateway.find("pay_9", around=NOON)


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


async def test_events_after_the_last_known_one_come_oldest_first_through_all_pages(
    stripe: ScriptedStripe, gateway: StripeGateway
) -> None:
    stripe.will(events(an_event(3), an_event(2), more=True), events(an_event(4)), events())
    got = [change async for change, _ in gateway.events_since("evt_1", NOON)]
    assert [change.id for change in got] == ["evt_2", "evt_3", "evt_4"]
    asked = stripe.asked[0].query
    assert {name: value for name, value in asked.items() if not name.startswith("types")} == {
        "ending_before": "evt_1",
        "limit": "100",
    }
    assert [asked[f"types[{n}]"] for n in range(len(EVENT_TYPES))] == list(EVENT_TYPES)
    assert stripe.asked[1].query["ending_before"] == "evt_3"


async def test_without_a_known_event_or_with_a_forgotten_one_time_decides(
    stripe: ScriptedStripe, gateway: StripeGateway
) -> None:
    forgotten = Answer(an_error(code="resource_missing", param="ending_before"), 400)
    stripe.will(events(an_event(2), an_event(1)))
    assert [change.id async for change, _ in gateway.events_since(None, NOON)] == ["evt_1", "evt_2"]
    stripe.will(forgotten, events(an_event(2), an_event(1)))
    assert [change.id async for change, _ in gateway.events_since("evt_0", NOON)] == ["evt_1", "evt_2"]
    assert stripe.asked[-1].query["created[gte]"] == str(int(NOON.timestamp()))
    stripe.will(Answer(an_error(), 403))
    with pytest.raises(GatewayError, match="permission"):
        _ = [change async for change, _ in gateway.events_since("evt_0", NOON)]


async def test_an_event_points_at_the_intent_and_is_kept_without_client_secrets(
    stripe: ScriptedStripe, gateway: StripeGateway
) -> None:
    charge = {"id": "ch_1", "object": "charge", "payment_intent": "pi_1", "metadata": {}}
    dispute = {"id": "dp_1", "object": "dispute", "payment_intent": {"id": "pi_1", "client_secret": "pi_1_secret_C"}}
    told = [
        an_event(3, type="charge.dispute.created", data={"object": dispute}),
        an_event(2, type="charge.refunded", data={"object": charge}),
        an_event(1),
    ]
    stripe.will(events(*told))
    got = [item async for item in gateway.events_since(None, NOON)]
    assert [(change.intent_id, change.payment_id) for change, _ in got] == [
        ("pi_1", "pay_1"),
        ("pi_1", None),
        ("pi_1", None),
    ]
    assert (got[0][0].type, got[0][0].livemode) == ("payment_intent.succeeded", False)
    assert all("_secret_" not in raw for _, raw in got)
    assert [json.loads(raw)["id"] for _, raw in got] == ["evt_1", "evt_2", "evt_3"]


def test_the_events_asked_for_fit_into_one_question() -> None:
    assert len(set(EVENT_TYPES)) == len(EVENT_TYPES) <= 20


async def test_the_account_says_whether_mobilepay_is_active(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    account = {"id": "acct_1", "object": "account", "country": "DK", "charges_enabled": True}
    stripe.will(Answer({**account, "capabilities": {"mobilepay_payments": "active"}}))
    assert await gateway.account() == Account("acct_1", "DK", "active", charges_enabled=True)
    stripe.will(Answer({"id": "acct_1", "object": "account"}))
    assert await gateway.account() == Account("acct_1", None, None, charges_enabled=False)
