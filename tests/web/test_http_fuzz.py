"""Random HTTP requests, also with valid signatures, are answered and never with a 500."""

from __future__ import annotations

import asyncio
import json
import random
import string
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from bot.sandbox.fake_stripe.delivery import signature
from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import idle, rows
from tests.support.people import dead_letters
from tests.support.refund_steps import paid
from tests.support.world import World, opened

ROUNDS = 250
SEED = 20_261_125
PATHS = (
    "/stripe/webhook",
    "/telegram/webhook",
    "/p/{token}",
    "/p/{token}/state",
    "/p/{token}/qr.svg",
    "/p/{token}/qr.png",
    "/p/{token}/receipt",
    "/p/{token}/credit-note/1",
    "/healthz",
    "/readyz",
    "/metrics",
    "/",
    "/p",
    "/p/",
    "/favicon.ico",
)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW")
ODD_STRINGS = (
    "",
    "\x00",
    "\u202e",
    "../..",
    "%2e%2e%2f",
    "'\"<script>",
    "😀" * 50,
    "a" * 5000,
    "null",
    "-1",
    "1e999",
    "{}",
)
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**80,
    1.5,
    "",
    "\u0000",
    "x" * 3000,
    "\ud800",
    [],
    {},
    [[]],
    {"a": {"b": []}},
)


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        yield running


def random_text(chance: random.Random) -> str:
    return chance.choice(ODD_STRINGS) + "".join(chance.choices(string.printable, k=chance.randrange(12)))


def random_header(chance: random.Random) -> str:
    return "".join(c for c in random_text(chance)[:2000] if c.isprintable() and ord(c) < 256)


def mutate(chance: random.Random, value: Any, depth: int = 0) -> Any:
    """The same JSON with random parts replaced or removed."""
    if depth > 5 or chance.random() < 0.05:
        return chance.choice(ODD_VALUES)
    if isinstance(value, dict):
        changed = {k: mutate(chance, v, depth + 1) if chance.random() < 0.4 else v for k, v in value.items()}
        if changed and chance.random() < 0.3:
            del changed[chance.choice(list(changed))]
        return changed
    if isinstance(value, list):
        return [mutate(chance, each, depth + 1) for each in value]
    return chance.choice(ODD_VALUES) if chance.random() < 0.1 else value


async def status(world: World, method: str, path: str, headers: dict[str, str], body: bytes) -> int:
    async with asyncio.timeout(20):
        async with world.http.request(
            method, f"{world.service.base}{path}", headers=headers, data=body, allow_redirects=False
        ) as answer:
            if "text/event-stream" not in answer.headers.get("Content-Type", ""):
                await answer.read()
            return answer.status


async def test_random_requests_are_never_answered_with_500(world: World) -> None:
    chance = random.Random(SEED)
    await paid(world)
    token = rows(world, "SELECT page_token FROM payments")[0]["page_token"]
    names: tuple[str, ...] = (
        "Accept",
        "Accept-Language",
        "Authorization",
        "Cookie",
        "Content-Type",
        "Forwarded",
        "Origin",
        "Referer",
    )
    names += ("Sec-Fetch-Site", "Stripe-Signature", "X-Forwarded-For", "X-Telegram-Bot-Api-Secret-Token", "Range")
    for number in range(ROUNDS):
        path = chance.choice(PATHS).format(token=chance.choice((token, token, quote(random_text(chance), safe=""))))
        query = "?" + quote(random_text(chance), safe="=&") if chance.random() < 0.5 else ""
        headers = {name: random_header(chance) for name in chance.sample(names, chance.randrange(5))}
        method, body = chance.choice(METHODS), random_text(chance).encode(errors="surrogatepass")
        answer = await status(world, method, path + query, headers, body)
        assert answer < 500, f"{number}: {method} {path}{query} {headers} was answered {answer}"
    assert await status(world, "GET", "/healthz", {}, b"") == 200


def signed(world: World, body: bytes) -> dict[str, str]:
    timestamp = int(world.clock.now().timestamp())
    return {"Stripe-Signature": signature(world.stripe.webhook_secret, timestamp, body.decode())}


async def test_signed_nonsense_is_answered_and_changes_no_payment(world: World) -> None:
    chance = random.Random(SEED)
    await paid(world)
    await world.control("stripe", f"intents/{world.intent()['id']}/refund", {"amount": 100})
    await idle(world)
    before = rows(world, "SELECT status, amount_received, amount_refunded FROM payments")
    answers: list[int] = []
    genuine = [json.loads(json.dumps(each)) for each in world.stripe.store.events.values()]
    for number in range(ROUNDS):
        event = mutate(chance, chance.choice(genuine))
        if isinstance(event, dict) and chance.random() < 0.7:
            event["id"] = f"evt_fuzz_{number}"
        body = json.dumps(event).encode()
        answer = await status(world, "POST", "/stripe/webhook", signed(world, body), body)
        assert answer in {200, 400}, f"{number}: {body[:300]!r} was answered {answer}"
        answers.append(answer)
    await idle(world)
    assert answers.count(200) > ROUNDS / 2
    assert rows(world, "SELECT status, amount_received, amount_refunded FROM payments") == before
    assert [reason for reason in await dead_letters(world, "events") if "in 3 attempts" in reason] == []


@pytest.mark.long
async def test_random_updates_are_answered_and_do_not_stop_the_next_one(clock: FakeClock, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    async with opened(clock, tmp_path, telegram_mode="webhook", public_url="https://pay.example.dk") as world:
        secret = {"X-Telegram-Bot-Api-Secret-Token": world.settings.update_secret.get_secret_value()}
        for number in range(ROUNDS):
            update = mutate(chance, an_update(number))
            body = json.dumps(update).encode()
            answer = await status(world, "POST", "/telegram/webhook", secret, body)
            assert answer in {200, 400}, f"{number}: {body[:300]!r} was answered {answer}"
        body = json.dumps(an_update(ROUNDS + 1, text="/id")).encode()
        assert await status(world, "POST", "/telegram/webhook", secret, body) == 200
        await world.until(lambda: world.sent("Your Telegram ID is"))


def an_update(number: int, text: str = "/pay 125 Tea") -> dict[str, Any]:
    person = {"id": 70010001, "is_bot": False, "first_name": "Otto", "language_code": "en"}
    chat = {"id": 70010001, "type": "private", "first_name": "Otto"}
    entities = [{"type": "bot_command", "offset": 0, "length": 4}]
    message = {"message_id": number + 1, "from": person, "chat": chat, "date": 1795521600, "text": text}
    return {"update_id": 900_000 + number, "message": message | {"entities": entities}}


def test_paths_contain_no_query() -> None:
    assert all(urlsplit(path).path == path for path in PATHS)


async def test_unknown_expectation_is_refused_and_not_repeated(world: World) -> None:
    url = urlsplit(world.service.base)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: kvit\r\nExpect: canary\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(20):
        response = (await reader.read()).decode()
    writer.close()
    assert response.startswith("HTTP/1.1 417 ")
    assert "Server: kvit" in response
    assert "canary" not in response
