"""The sandbox command and both fake services over HTTP, as another program uses them."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from bot.sandbox import fake_services
from bot.sandbox.fake_services import FakeServices, SandboxStartError
from bot.sandbox.standalone import connection_info
from tests.support.program import ended, first_line, running

Json = dict[str, Any]
INTENT = {
    "amount": "12500",
    "currency": "dkk",
    "confirm": "true",
    "return_url": "https://kvit.example/p/x",
    "payment_method_data[type]": "mobilepay",
    "automatic_payment_methods[enabled]": "true",
}


@pytest.fixture
async def services() -> AsyncIterator[FakeServices]:
    async with fake_services.start_services() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def post(http: aiohttp.ClientSession, address: str, body: Json) -> Json:
    async with http.post(address, json=body) as answer:
        result: Json = await answer.json()
        assert answer.status == 200, result
        return result


async def create_intent(http: aiohttp.ClientSession, info: Json) -> Json:
    """Create an intent with the key of the connection info."""
    headers = {"Authorization": f"Bearer {info['stripe_key']}"}
    async with http.post(f"{info['stripe']}/v1/payment_intents", data=INTENT, headers=headers) as answer:
        intent: Json = await answer.json()
        assert answer.status == 200, intent
        return intent


async def call(http: aiohttp.ClientSession, info: Json, method: str, **params: Any) -> Any:
    address = f"{info['telegram']}/bot{info['bot_token']}/{method}"
    async with http.post(address, json=params) as answer:
        return (await answer.json())["result"]


@pytest.mark.parametrize("stop_signal", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
async def test_first_line_has_the_connection_info_and_a_signal_stops_the_program(stop_signal: signal.Signals) -> None:
    async with running("sandbox") as process:
        info = json.loads(await first_line(process))
        names = ["stripe", "telegram", "stripe_key", "webhook_secret", "bot_token", "owner_id", "chat_id"]
        assert list(info) == names
        assert info["chat_id"] == info["owner_id"]
        async with aiohttp.ClientSession() as http:
            assert (await create_intent(http, info))["status"] == "requires_action"
            assert (await call(http, info, "getMe"))["is_bot"]
        process.send_signal(stop_signal)
        assert await ended(process) == (0, "", "")


async def test_waiting_long_poll_does_not_delay_stop(http: aiohttp.ClientSession) -> None:
    async with fake_services.start_services() as services:
        poll = asyncio.create_task(call(http, connection_info(services), "getUpdates", timeout=50))
        await services.telegram.wait_until(lambda telegram: telegram.open_polls)
    assert await poll == []


@pytest.mark.parametrize("option", ["--stripe-port", "--telegram-port"])
async def test_port_in_use_raises_a_one_sentence_error(services: FakeServices, option: str) -> None:
    taken = int(services.stripe.base.rpartition(":")[2])
    stripe, telegram = (taken, 0) if option == "--stripe-port" else (0, taken)
    with pytest.raises(SandboxStartError) as refused:
        async with fake_services.start_services(stripe_port=stripe, telegram_port=telegram):
            raise AssertionError("it started")
    assert str(refused.value) == (f"Port {taken} is in use; choose another port with {option}, or 0 for any free port.")


async def test_same_port_for_both_services_is_in_use(unused_tcp_port: int) -> None:
    with pytest.raises(SandboxStartError, match="--telegram-port"):
        async with fake_services.start_services(stripe_port=unused_tcp_port, telegram_port=unused_tcp_port):
            raise AssertionError("it started")


@pytest.mark.long
async def test_sandbox_command_prints_the_port_error_and_exits_with_2(services: FakeServices) -> None:
    taken = services.stripe.base.rpartition(":")[2]
    async with running("sandbox", "--telegram-port", taken) as process:
        code, out, errors = await ended(process)
    assert (code, out) == (2, "")
    assert errors.startswith(f"Port {taken} is in use; ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("service", ["stripe", "telegram"])
async def test_advancing_the_clock_of_either_service_advances_both(
    services: FakeServices, http: aiohttp.ClientSession, service: str
) -> None:
    info = connection_info(services)
    intent = await create_intent(http, info)
    before = services.clock.now()
    poll = asyncio.create_task(call(http, info, "getUpdates", timeout=50))
    await services.telegram.wait_until(lambda telegram: telegram.open_polls)
    await post(http, f"{info[service]}/_control/clock", {"advance": 300})
    assert (services.clock.now() - before).total_seconds() >= 300
    assert await poll == []
    async with http.get(f"{info['stripe']}/_control/intents") as answer:
        [now] = await answer.json()
    assert (now["id"], now["status"]) == (intent["id"], "requires_payment_method")


@pytest.mark.parametrize("service", ["stripe", "telegram"])
@pytest.mark.parametrize("seconds", ["1e12", "1e300", "NaN", "-1", '"soon"', "true"])
async def test_invalid_clock_advance_is_rejected_and_the_clock_still_works(
    services: FakeServices, http: aiohttp.ClientSession, service: str, seconds: str
) -> None:
    address = f"{connection_info(services)[service]}/_control/clock"
    async with http.post(address, data=f'{{"advance": {seconds}}}') as answer:
        assert answer.status == 400
    await post(http, address, {"advance": 1})


async def test_control_routes_approve_decline_and_expire_an_intent(
    services: FakeServices, http: aiohttp.ClientSession
) -> None:
    info = connection_info(services)
    for action, status in (("approve", "succeeded"), ("decline", "requires_payment_method"), ("lapse", None)):
        intent = await create_intent(http, info)
        decided = await post(http, f"{info['stripe']}/_control/intents/{intent['id']}/{action}", {})
        assert decided["status"] == (status or "requires_payment_method")


async def test_created_endpoint_has_the_secret_of_the_connection_info(
    services: FakeServices, http: aiohttp.ClientSession
) -> None:
    info, signatures = connection_info(services), asyncio.Queue[str]()

    async def receive(request: web.Request) -> web.Response:
        await signatures.put(request.headers["Stripe-Signature"])
        return web.Response()

    app = web.Application()
    app.router.add_post("/stripe/webhook", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    form = {"url": f"http://127.0.0.1:{runner.addresses[0][1]}/stripe/webhook", "enabled_events[]": "*"}
    headers = {"Authorization": f"Bearer {info['stripe_key']}"}
    async with http.post(f"{info['stripe']}/v1/webhook_endpoints", data=form, headers=headers) as answer:
        assert (await answer.json())["secret"] == info["webhook_secret"]
    await create_intent(http, info)
    async with asyncio.timeout(10):
        assert (await signatures.get()).startswith("t=")
    await runner.cleanup()


async def test_transcript_keeps_the_order_of_messages_replies_and_callbacks(
    services: FakeServices, http: aiohttp.ClientSession
) -> None:
    info = connection_info(services)
    control = f"{info['telegram']}/_control"
    body = {"chat_id": info["chat_id"], "from_id": info["owner_id"], "text": "/pay 125"}
    message = await post(http, f"{control}/messages", body)
    button = {"inline_keyboard": [[{"text": "Cancel", "callback_data": "c:1"}]]}
    bot_message = await call(http, info, "sendMessage", chat_id=info["chat_id"], text="A message", reply_markup=button)
    reply = await post(http, f"{control}/messages", body | {"reply_to_message_id": bot_message["message_id"]})
    assert bot_message["message_id"] == message["message_id"] + 1 == reply["message_id"] - 1
    tap = {"message_id": bot_message["message_id"], "from_id": info["owner_id"], "data": "c:1"}
    query = (await post(http, f"{control}/taps", tap))["callback_query_id"]
    await call(http, info, "answerCallbackQuery", callback_query_id=query, text="Cancelled")
    async with http.get(f"{control}/transcript") as response:
        entries = await response.json()
    assert [(entry["direction"], entry["method"]) for entry in entries] == [
        ("in", "message"),
        ("out", "sendMessage"),
        ("in", "message"),
        ("in", "callback_query"),
        ("out", "answerCallbackQuery"),
    ]
    assert all(set(entry) == {"at", "direction", "method", "params", "result"} for entry in entries)


async def test_fault_routes_of_both_services_take_the_same_fields(
    services: FakeServices, http: aiohttp.ClientSession
) -> None:
    info = connection_info(services)
    fault = {"nth": 1, "when": "before", "how": "500"}
    await post(http, f"{info['telegram']}/_control/faults", fault | {"method": "getMe"})
    async with http.post(f"{info['telegram']}/bot{info['bot_token']}/getMe") as answer:
        assert answer.status == 500
    await post(http, f"{info['stripe']}/_control/faults", fault | {"method": "POST /v1/payment_intents"})
    headers = {"Authorization": f"Bearer {info['stripe_key']}"}
    async with http.post(f"{info['stripe']}/v1/payment_intents", data=INTENT, headers=headers) as answer:
        assert answer.status == 500
    assert (await create_intent(http, info))["status"] == "requires_action"


async def test_waiting_long_poll_ends_without_a_response_when_telegram_goes_down(
    services: FakeServices, http: aiohttp.ClientSession
) -> None:
    info = connection_info(services)
    control = f"{info['telegram']}/_control"
    poll = asyncio.create_task(call(http, info, "getUpdates", timeout=50))
    await services.telegram.wait_until(lambda telegram: telegram.open_polls)
    await post(http, f"{control}/down", {"down": True})
    with pytest.raises(aiohttp.ClientError):
        await poll
    await post(http, f"{control}/messages", {"chat_id": 7, "from_id": 7, "text": "Are you there?"})
    await post(http, f"{control}/down", {"down": False})
    [update] = await call(http, info, "getUpdates")
    assert update["message"]["text"] == "Are you there?"
