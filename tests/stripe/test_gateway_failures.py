"""StripeGateway: errors as GatewayError, attempts, and secrets."""

from __future__ import annotations

import asyncio
import logging
import sys
import traceback
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.stripe.gateway import StripeGateway
from handlers.stripe.gateway import GatewayError, IntentStatus
from tests.support.scripted_stripe import (
    KEY,
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


# errors

ERRORS = [
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


@pytest.mark.parametrize(("status", "body", "code", "retryable"), ERRORS)
async def test_error_response_has_code_and_retryable(
    stripe: ScriptedStripe, gateway: StripeGateway, status: int, body: object, code: str, retryable: bool
) -> None:
    stripe.will(Answer(body, status))
    failure = await failure_of(gateway)
    assert (failure.code, failure.retryable, failure.replayed, failure.intent) == (code, retryable, False, None)
    assert len(stripe.asked) == (3 if status in {409, 429} or status >= 500 else 1)
    assert len(failure.message) < 100
    assert "html" not in failure.message


async def test_request_is_not_repeated_when_stripe_says_so(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    for status in (500, 429):
        stripe.will(Answer(an_error("api_error"), status, {"Stripe-Should-Retry": "false"}))
        stripe.asked.clear()
        assert (await failure_of(gateway)).retryable
        assert len(stripe.asked) == 1


async def test_error_contains_the_request_id(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    stripe.will(Answer(an_error(code="amount_too_small"), 400))
    failure = await failure_of(gateway)
    assert (failure.request_id, failure.message) == ("req_1", "Stripe says no")
    assert str(failure) == "Stripe: amount_too_small (req_1)"


async def test_long_error_message_is_cut_to_one_line(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    stripe.will(Answer(an_error(message="so\nlong " * 100), 400))
    failure = await failure_of(gateway)
    assert len(failure.message) == 200
    assert "\n" not in failure.message


async def test_other_params_with_a_used_key_are_a_final_error(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    stripe.will(Answer(an_error("idempotency_error"), 400))
    failure = await failure_of(gateway)
    assert (failure.code, failure.retryable, failure.replayed) == ("idempotency", False, True)


async def test_replayed_500_is_marked_as_replayed(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    stripe.will(Answer(an_error("api_error"), 500, REPLAYED))
    failure = await failure_of(gateway)
    assert (failure.code, failure.retryable, failure.replayed) == ("server", True, True)


async def test_card_error_contains_the_intent(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    declined = an_error("card_error", "card_declined", payment_intent=an_intent("requires_payment_method"))
    stripe.will(Answer(declined, 402))
    failure = await failure_of(gateway)
    assert failure.intent is not None
    assert failure.intent.status is IntentStatus.REQUIRES_PAYMENT_METHOD
    assert len(stripe.asked) == 1


async def test_unexpected_state_error_contains_the_attached_or_retrieved_intent(
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


async def test_intent_attached_to_a_replayed_error_is_retrieved_again(
    stripe: ScriptedStripe, gateway: StripeGateway
) -> None:
    old = an_error("card_error", "card_declined", payment_intent=an_intent("requires_payment_method"))
    stripe.will(Answer(old, 402, REPLAYED), Answer(an_intent("succeeded")))
    failure = await failure_of(gateway)
    assert (failure.code, failure.retryable, failure.replayed) == ("card_declined", False, False)
    assert failure.intent is not None
    assert failure.intent.status is IntentStatus.SUCCEEDED
    stripe.will(Answer(old, 402, REPLAYED), Answer(an_error(), 403))
    assert (await failure_of(gateway)).intent is None


async def test_rejected_key_after_a_broken_attempt_is_retryable(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    stripe.will(Answer(silent=True), Answer(an_error(), 401))
    failure = await failure_of(gateway)
    assert (failure.code, failure.retryable) == ("authentication", True)


@pytest.mark.parametrize("broken", [Answer(silent=True), Answer(an_intent(), cut=True)], ids=["drop", "half"])
async def test_broken_connection_is_an_error_after_three_attempts(
    stripe: ScriptedStripe, gateway: StripeGateway, broken: Answer
) -> None:
    stripe.will(broken)
    failure = await failure_of(gateway)
    assert (failure.code, failure.retryable, failure.replayed) == ("connection", True, False)
    assert len(stripe.asked) == 3


async def test_unreachable_stripe_and_closed_gateway_are_connection_errors() -> None:
    gateway = StripeGateway(KEY, api_base="http://127.0.0.1:1")
    assert (await failure_of(gateway)).code == "connection"
    await gateway.close()
    assert (await failure_of(gateway)).code == "connection"


async def test_request_without_response_times_out(stripe: ScriptedStripe) -> None:
    stripe.will(Answer(an_intent()))
    stripe.hold.clear()
    gateway = StripeGateway(KEY, api_base=stripe.base, timeout=0.05)
    failure = await failure_of(gateway)
    stripe.hold.set()
    await gateway.close()
    assert (failure.code, failure.retryable, failure.message) == (
        "connection",
        True,
        "no response after 3 attempts: TimeoutError",
    )


async def test_redirect_is_not_followed(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    stripe.will(Answer("moved", 302, {"Location": "/v1/elsewhere"}))
    failure = await failure_of(gateway)
    assert (failure.code, failure.retryable) == ("server", True)
    assert stripe.calls == ["POST /v1/payment_intents"]


async def test_cancellation_of_a_call_is_raised(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    stripe.will(Answer(an_intent()))
    stripe.hold.clear()
    async with asyncio.timeout(10):
        task = asyncio.create_task(gateway.create(gateway.create_params(REQUEST), key="k"))
        await stripe.heard.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    stripe.hold.set()


async def test_concurrent_calls_track_their_own_attempts(stripe: ScriptedStripe, gateway: StripeGateway) -> None:
    stripe.will(Answer(an_intent()))
    params = gateway.create_params(REQUEST)
    await asyncio.gather(*(gateway.create(params, key=f"k{n}") for n in range(5)))
    assert stripe.calls == ["POST /v1/payment_intents"] * 5


# logs and secrets


async def test_stripe_notice_is_logged_and_no_error(
    stripe: ScriptedStripe, gateway: StripeGateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stripe.will(Answer(an_intent(), headers={"Stripe-Notice": "an old API version"}))
    assert (await gateway.create(gateway.create_params(REQUEST), key="k")).id == "pi_1"
    assert "an old API version" in caplog.text


async def test_stripe_log_variable_does_not_print_bodies(tmp_path: Path) -> None:
    program = f"""
import asyncio
from bot.stripe.gateway import StripeGateway
from handlers.stripe.gateway import GatewayError

async def main():
    gateway = StripeGateway({KEY!r}, api_base="http://127.0.0.1:1")
    try:
        await gateway.create('{{"description": "Canary"}}', key="k")
    except GatewayError as error:
        print(error.code)
    await gateway.close()

asyncio.run(main())
"""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program),
        env={"STRIPE_LOG": "debug", "HOME": str(tmp_path), "PYTHONPATH": "."},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await child.communicate()
    assert (out, err) == (b"connection\n", b"")


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
async def test_errors_and_logs_contain_no_key_and_no_client_secret(
    stripe: ScriptedStripe,
    gateway: StripeGateway,
    answer: Answer,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    stripe.will(answer)
    failure = await failure_of(gateway)
    shown = "".join(traceback.format_exception(failure)) + repr(failure) + failure.message + repr(gateway)
    assert "Canary" not in shown + caplog.text + "".join(capsys.readouterr())
