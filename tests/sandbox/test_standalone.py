"""The pretend services by themselves, as another program finds them: by the first line, over HTTP alone."""

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
ASKED = {
    "amount": "12500",
    "currency": "dkk",
    "confirm": "true",
    "return_url": "https://kvit.example/p/x",
    "payment_method_data[type]": "mobilepay",
    "automatic_payment_methods[enabled]": "true",
}


@pytest.fixture
async def pair() -> AsyncIterator[FakeServices]:
    async with fake_services.start_services() as both:
        yield both


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def post(http: aiohttp.ClientSession, address: str, body: Json) -> Json:
    async with http.post(address, json=body) as answer:
        said: Json = await answer.json()
        assert answer.status == 200, said
        return said


async def ask(http: aiohttp.ClientSession, known: Json) -> Json:
    """Make an intent with the key of the first line."""
    headers = {"Authorization": f"Bearer {known['stripe_key']}"}
    async with http.post(f"{known['stripe']}/v1/payment_intents", data=ASKED, headers=headers) as answer:
        intent: Json = await answer.json()
        assert answer.status == 200, intent
        return intent


async def call(http: aiohttp.ClientSession, known: Json, method: str, **params: Any) -> Any:
    address = f"{known['telegram']}/bot{known['bot_token']}/{method}"
    async with http.post(address, json=params) as answer:
        return (await answer.json())["result"]


@pytest.mark.parametrize("told", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
async def test_the_first_line_tells_all_and_a_signal_ends_it_cleanly(told: signal.Signals) -> None:
    async with running("sandbox") as process:
        known = json.loads(await first_line(process))
        names = ["stripe", "telegram", "stripe_key", "webhook_secret", "bot_token", "owner_id", "chat_id"]
        assert list(known) == names
        assert known["chat_id"] == known["owner_id"]
        async with aiohttp.ClientSession() as http:
            assert (await ask(http, known))["status"] == "requires_action"
            assert (await call(http, known, "getMe"))["is_bot"]
        process.send_signal(told)
        assert await ended(process) == (0, "", "")


async def test_a_long_poll_that_waits_does_not_hold_up_the_end(http: aiohttp.ClientSession) -> None:
    async with fake_services.start_services() as pair:
        poll = asyncio.create_task(call(http, connection_info(pair), "getUpdates", timeout=50))
        await pair.telegram.wait_until(lambda telegram: telegram.open_polls)
    assert await poll == []


@pytest.mark.parametrize("option", ["--stripe-port", "--telegram-port"])
async def test_a_port_that_is_taken_is_said_in_one_sentence(pair: FakeServices, option: str) -> None:
    taken = int(pair.stripe.base.rpartition(":")[2])
    stripe, telegram = (taken, 0) if option == "--stripe-port" else (0, taken)
    with pytest.raises(SandboxStartError) as refused:
        async with fake_services.start_services(stripe_port=stripe, telegram_port=telegram):
            raise AssertionError("it opened")
    assert str(refused.value) == (
        f"Port {taken} is taken already; choose another one with {option}, or 0 for any free one."
    )


async def test_one_number_for_both_is_a_taken_port_too(unused_tcp_port: int) -> None:
    with pytest.raises(SandboxStartError, match="--telegram-port"):
        async with fake_services.start_services(stripe_port=unused_tcp_port, telegram_port=unused_tcp_port):
            raise AssertionError("it opened")


@pytest.mark.long
async def test_the_program_says_that_sentence_and_ends_with_2(pair: FakeServices) -> None:
    taken = pair.stripe.base.rpartition(":")[2]
    async with running("sandbox", "--telegram-port", taken) as process:
        code, out, complaints = await ended(process)
    assert (code, out) == (2, "")
    assert complaints.startswith(f"Port {taken} is taken already; ")
    assert complaints.count("\n") == 1


@pytest.mark.parametrize("on", ["stripe", "telegram"])
async def test_turning_either_clock_moves_both(pair: FakeServices, http: aiohttp.ClientSession, on: str) -> None:
    known = connection_info(pair)
    intent = await ask(http, known)
    before = pair.clock.now()
    poll = asyncio.create_task(call(http, known, "getUpdates", timeout=50))
    await pair.telegram.wait_until(lambda telegram: telegram.open_polls)
    await post(http, f"{known[on]}/_control/clock", {"advance": 300})
    assert (pair.clock.now() - before).total_seconds() >= 300
    assert await poll == []
    async with http.get(f"{known['stripe']}/_control/intents") as answer:
        [now] = await answer.json()
    assert (now["id"], now["status"]) == (intent["id"], "requires_payment_method")


@pytest.mark.parametrize("on", ["stripe", "telegram"])
@pytest.mark.parametrize("seconds", ["1e12", "1e300", "NaN", "-1", '"soon"', "true"])
async def test_a_clock_that_cannot_be_turned_so_far_goes_on(
    pair: FakeServices, http: aiohttp.ClientSession, on: str, seconds: str
) -> None:
    address = f"{connection_info(pair)[on]}/_control/clock"
    async with http.post(address, data=f'{{"advance": {seconds}}}') as answer:
        assert answer.status == 400
    await post(http, address, {"advance": 1})


async def test_the_customer_decides_by_the_control_routes(pair: FakeServices, http: aiohttp.ClientSession) -> None:
    known = connection_info(pair)
    for act, status in (("approve", "succeeded"), ("decline", "requires_payment_method"), ("expire", None)):
        intent = await ask(http, known)
        decided = await post(http, f"{known['stripe']}/_control/intents/{intent['id']}/{act}", {})
        assert decided["status"] == (status or "requires_payment_method")


async def test_endpoints_that_are_made_sign_with_the_secret_of_the_first_line(
    pair: FakeServices, http: aiohttp.ClientSession
) -> None:
    known, heard = connection_info(pair), asyncio.Queue[str]()

    async def receive(request: web.Request) -> web.Response:
        await heard.put(request.headers["Stripe-Signature"])
        return web.Response()

    app = web.Application()
    app.router.add_post("/stripe/webhook", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    wanted = {"url": f"http://127.0.0.1:{runner.addresses[0][1]}/stripe/webhook", "enabled_events[]": "*"}
    headers = {"Authorization": f"Bearer {known['stripe_key']}"}
    async with http.post(f"{known['stripe']}/v1/webhook_endpoints", data=wanted, headers=headers) as answer:
        assert (await answer.json())["secret"] == known["webhook_secret"]
    await ask(http, known)
    async with asyncio.timeout(10):
        assert (await heard.get()).startswith("t=")
    await runner.cleanup()


async def test_people_write_reply_and_tap_and_the_transcript_keeps_the_order(
    pair: FakeServices, http: aiohttp.ClientSession
) -> None:
    known = connection_info(pair)
    control = f"{known['telegram']}/_control"
    words = {"chat_id": known["chat_id"], "from_id": known["owner_id"], "text": "/pay 125"}
    said = await post(http, f"{control}/messages", words)
    button = {"inline_keyboard": [[{"text": "Cancel", "callback_data": "c:1"}]]}
    card = await call(http, known, "sendMessage", chat_id=known["chat_id"], text="A card", reply_markup=button)
    answer = await post(http, f"{control}/messages", words | {"reply_to_message_id": card["message_id"]})
    assert card["message_id"] == said["message_id"] + 1 == answer["message_id"] - 1
    tap = {"message_id": card["message_id"], "from_id": known["owner_id"], "data": "c:1"}
    query = (await post(http, f"{control}/taps", tap))["callback_query_id"]
    await call(http, known, "answerCallbackQuery", callback_query_id=query, text="Cancelled")
    async with http.get(f"{control}/transcript") as answered:
        entries = await answered.json()
    assert [(entry["direction"], entry["method"]) for entry in entries] == [
        ("in", "message"),
        ("out", "sendMessage"),
        ("in", "message"),
        ("in", "callback_query"),
        ("out", "answerCallbackQuery"),
    ]
    assert all(set(entry) == {"at", "direction", "method", "params", "result"} for entry in entries)


async def test_faults_are_ordered_on_both_in_the_same_words(pair: FakeServices, http: aiohttp.ClientSession) -> None:
    known = connection_info(pair)
    order = {"nth": 1, "when": "before", "how": "500"}
    await post(http, f"{known['telegram']}/_control/faults", order | {"method": "getMe"})
    async with http.post(f"{known['telegram']}/bot{known['bot_token']}/getMe") as answer:
        assert answer.status == 500
    await post(http, f"{known['stripe']}/_control/faults", order | {"method": "POST /v1/payment_intents"})
    headers = {"Authorization": f"Bearer {known['stripe_key']}"}
    async with http.post(f"{known['stripe']}/v1/payment_intents", data=ASKED, headers=headers) as answer:
        assert answer.status == 500
    assert (await ask(http, known))["status"] == "requires_action"


async def test_a_poll_that_waits_hears_nothing_once_telegram_is_down(
    pair: FakeServices, http: aiohttp.ClientSession
) -> None:
    known = connection_info(pair)
    control = f"{known['telegram']}/_control"
    poll = asyncio.create_task(call(http, known, "getUpdates", timeout=50))
    await pair.telegram.wait_until(lambda telegram: telegram.open_polls)
    await post(http, f"{control}/down", {"down": True})
    with pytest.raises(aiohttp.ClientError):
        await poll
    await post(http, f"{control}/messages", {"chat_id": 7, "from_id": 7, "text": "Is anybody there?"})
    await post(http, f"{control}/down", {"down": False})
    [update] = await call(http, known, "getUpdates")
    assert update["message"]["text"] == "Is anybody there?"
