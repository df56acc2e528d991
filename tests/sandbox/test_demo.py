"""The demo as a program and as a web server: start and stop, access from other origins, the feed, cleanup."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bot.sandbox import seed_users
from bot.sandbox.demo.server import start_demo
from bot.sandbox.demo.stack import DemoStack
from bot.sandbox.fake_telegram import FakeTelegram
from handlers.chat.routes import COMMANDS
from tests.support.program import ROOT, ended, first_line, running
from tests.support.world import PATIENCE

Json = dict[str, Any]


@pytest.fixture
async def demo() -> AsyncIterator[tuple[str, DemoStack]]:
    async with start_demo(0, unthrottled=True) as running:
        yield running


@pytest.fixture
def origin(demo: tuple[str, DemoStack]) -> str:
    return demo[0]


@pytest.fixture
def telegram(demo: tuple[str, DemoStack]) -> FakeTelegram:
    return demo[1].services.telegram


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


class FeedStream:
    """The event stream of one page."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def next(self) -> Json:
        """The data of the next event."""
        async with asyncio.timeout(PATIENCE):
            while not (line := await self._response.content.readline()).startswith(b"data: "):
                assert line, "the stream has ended"
        data: Json = json.loads(line.removeprefix(b"data: "))
        return data

    async def until(self, kind: str) -> list[Json]:
        """The items of the first event that has some of this kind."""
        while not (found := (await self.next()).get(kind)):
            pass
        return list(found)


@asynccontextmanager
async def open_feed(http: aiohttp.ClientSession, origin: str) -> AsyncIterator[FeedStream]:
    async with http.get(f"{origin}/feed") as response:
        assert response.content_type == "text/event-stream"
        yield FeedStream(response)


def test_page_files_are_small_and_load_nothing_from_other_hosts() -> None:
    parts = [path.read_text("utf-8") for path in (ROOT / "bot" / "sandbox" / "demo" / "static").iterdir()]
    assert len(parts) == 5
    assert sum(len(part.encode()) for part in parts) < 60_000
    assert not re.search(r"(src|href|url|import)\W{1,3}(https?:)?//", "".join(parts))
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", "".join(parts))


@pytest.mark.parametrize("stop_signal", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
async def test_demo_prints_its_address_stops_on_a_signal_and_leaves_no_files(
    stop_signal: signal.Signals, tmp_path: Path
) -> None:
    environment = {"TMPDIR": str(tmp_path), "STRIPE_API_KEY": "sk_test_51other", "PORT": "nonsense"}
    environment |= {"OWNER_IDS": "7", "DATABASE_URL": f"sqlite:///{tmp_path}/other.db", "PUBLIC_URL": "ftp://x"}
    async with running("demo", "--port", "0", **environment) as process:
        found = re.match(r"The Kvit demo runs at (http://127\.0\.0\.1:\d+)/ ", await first_line(process))
        assert found
        async with aiohttp.ClientSession() as http, open_feed(http, found[1]) as stream:
            assert "config" in await stream.next()
            assert list(tmp_path.glob("kvit-*/kvit.db"))
            process.send_signal(stop_signal)
            assert await ended(process) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


async def test_demo_uses_the_next_free_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with start_demo(port) as (origin, _):
            assert int(origin.rpartition(":")[2]) > port


@pytest.mark.long
@pytest.mark.parametrize("arguments", [("demo", "--port", "0"), ("demo", "--tour")])
@pytest.mark.parametrize(("name", "key"), [("STRIPE_API_KEY", "sk_live_51abc"), ("stripe_api_key", " rk_live_51abc")])
async def test_demo_refuses_to_start_with_a_live_key(arguments: tuple[str, ...], name: str, key: str) -> None:
    async with running(*arguments, **{name: key}) as process:
        code, out, errors = await ended(process)
    assert (code, out) == (2, "")
    assert errors.startswith("STRIPE_API_KEY is a live key")
    assert errors.count("\n") == 1
    assert "51abc" not in errors


async def test_page_policy_allows_only_its_own_style_script_and_frames(
    demo: tuple[str, DemoStack], http: aiohttp.ClientSession
) -> None:
    origin, stack = demo
    async with http.get(origin) as response:
        page, policy = await response.text(), response.headers["Content-Security-Policy"]
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        [inside] = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert allowed[directive] == f"'sha256-{digest}'"
    assert allowed["default-src"] == allowed["base-uri"] == allowed["frame-ancestors"] == "'none'"
    assert allowed["frame-src"].split() == [stack.services.stripe.base, stack.service.base]
    assert allowed["require-trusted-types-for"] == "'script'"


async def test_requests_of_other_sites_and_other_host_names_are_rejected(
    origin: str, http: aiohttp.ClientSession
) -> None:
    for site in ("cross-site", "same-site"):
        for method, path in (("POST", "/control/stripe/clock"), ("GET", "/feed"), ("GET", "/files/x")):
            async with http.request(method, origin + path, headers={"Sec-Fetch-Site": site}) as response:
                assert response.status == 403
    for host in ("localhost:" + origin.rpartition(":")[2], "evil.example"):
        async with http.get(origin, headers={"Host": host}, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (302, f"{origin}/")
    async with http.post(f"{origin}/control/kvit/clock") as response:
        assert response.status == 404


async def test_pay_pages_can_be_framed_by_the_demo_only(
    demo: tuple[str, DemoStack], http: aiohttp.ClientSession
) -> None:
    origin, stack = demo
    async with http.get(f"{stack.service.base}/healthz") as response:
        assert f"frame-ancestors {origin}" in response.headers["Content-Security-Policy"]
        assert "X-Frame-Options" not in response.headers


async def test_feed_sends_a_snapshot_and_then_only_changes(
    demo: tuple[str, DemoStack], http: aiohttp.ClientSession
) -> None:
    origin, stack = demo
    telegram = stack.services.telegram
    telegram.send(seed_users.OWNER.id, seed_users.OWNER.id, "/pay 125 DKK Coffee")
    payment_message = await telegram.wait_until(lambda t: t.state.chats[seed_users.OWNER.id].messages.get(2), PATIENCE)
    async with open_feed(http, origin) as stream:
        first = await stream.next()
        assert [user["name"] for user in first["config"]["users"]] == [user.name for user in seed_users.USERS]
        assert [message["message_id"] for message in first["messages"]][:2] == [1, payment_message["message_id"]]
        names = ("stripe_down", "telegram_down", "webhooks_lost", "webhooks_doubled", "balance_empty")
        assert first["faults"] == [dict.fromkeys(names, False)]
        [attempt] = first["attempts"]
        assert attempt["link"] == payment_message["reply_markup"]["inline_keyboard"][1][0]["url"]
        async with http.post(f"{origin}/control/stripe/intents/{attempt['intent']}/approve") as response:
            assert response.status == 200
        edited = (await stream.until("messages"))[0]
        assert (edited["message_id"], edited["bot"]) == (2, True)
        assert "edit_date" in edited


async def test_traffic_has_a_row_for_each_call_in_each_direction(
    demo: tuple[str, DemoStack], http: aiohttp.ClientSession
) -> None:
    origin, stack = demo
    telegram = stack.services.telegram
    telegram.send(seed_users.OWNER.id, seed_users.OWNER.id, "/pay 125 DKK Coffee")
    await telegram.wait_until(lambda _: stack.services.stripe.store.deliveries, PATIENCE)
    await telegram.wait_until(lambda t: t.state.chats[seed_users.OWNER.id].messages.get(2), PATIENCE)
    async with open_feed(http, origin) as stream:
        rows = {(row["direction"], row["call"]): row for row in (await stream.next())["traffic"]}
    assert rows["Telegram → Kvit", "message"]["result"] == ""
    assert rows["Kvit → Stripe", "POST /v1/payment_intents"]["result"] == "200"
    assert rows["Stripe → Kvit", "payment_intent.created"]["ok"]
    assert rows["Kvit → Telegram", "sendMessage"]["result"] == "ok"
    assert "Coffee" in rows["Kvit → Telegram", "sendMessage"]["details"]


async def test_traffic_shows_the_fault_of_a_lost_response(
    demo: tuple[str, DemoStack], http: aiohttp.ClientSession
) -> None:
    origin, stack = demo
    async with open_feed(http, origin) as stream:
        await stream.next()
        fault = {"method": "POST /v1/payment_intents", "how": "drop", "when": "after"}
        async with http.post(f"{origin}/control/stripe/faults", json=fault) as response:
            assert response.status == 200
        stack.services.telegram.send(seed_users.OWNER.id, seed_users.OWNER.id, "/pay 125 DKK Coffee")
        rows: list[Json] = []
        while not (lost := [row for row in rows if row["result"] == "drop after"]):
            rows += await stream.until("traffic")
    assert (lost[0]["call"], lost[0]["ok"]) == ("POST /v1/payment_intents", False)


async def test_feed_shows_each_fault_until_it_is_switched_off(origin: str, http: aiohttp.ClientSession) -> None:
    async with open_feed(http, origin) as stream:
        await stream.next()
        for service, path, body, shown in (
            ("stripe", "webhooks", {"mode": "lose", "double": True}, {"webhooks_lost": True, "webhooks_doubled": True}),
            ("stripe", "balance", {"available": 0}, {"balance_empty": True}),
            ("stripe", "down", {"down": True}, {"stripe_down": True}),
            ("telegram", "down", {"down": True}, {"telegram_down": True}),
            ("telegram", "down", {"down": False}, {"telegram_down": False}),
        ):
            async with http.post(f"{origin}/control/{service}/{path}", json=body) as response:
                assert response.status == 200
            [faults] = await stream.until("faults")
            assert faults | shown == faults


async def test_feed_offers_hold_expiry_while_the_hold_is_open(
    demo: tuple[str, DemoStack], http: aiohttp.ClientSession
) -> None:
    origin, stack = demo
    stripe = stack.services.stripe
    form = {"amount": "500", "currency": "dkk", "capture_method": "manual", "confirm": "true"}
    form |= {"payment_method_data[type]": "mobilepay", "return_url": "https://kvit.example"}
    headers = {"Authorization": f"Bearer {stripe.key}"}
    async with http.post(f"{stripe.base}/v1/payment_intents", data=form, headers=headers) as response:
        intent = (await response.json())["id"]
    async with open_feed(http, origin) as stream:
        await stream.next()
        for path, labels in (("approve", ["Hold expires"]), ("expire_hold", [])):
            async with http.post(f"{origin}/control/stripe/intents/{intent}/{path}") as response:
                assert response.status == 200
            [payment] = await stream.until("payments")
            assert [action["label"] for action in payment["actions"]] == labels


async def test_control_request_that_fails_returns_the_reason(origin: str, http: aiohttp.ClientSession) -> None:
    async with http.post(f"{origin}/control/stripe/intents/pi_none/approve") as response:
        assert (response.status, await response.json()) == (404, {"error": "no such intent"})
    async with http.post(f"{origin}/control/telegram/messages", json={"chat_id": 1}) as response:
        assert response.status == 400


async def test_feed_sends_the_menu_that_the_bot_has_set(
    origin: str, telegram: FakeTelegram, http: aiohttp.ClientSession
) -> None:
    async with open_feed(http, origin) as stream:
        menus = {menu["chat_type"]: menu["commands"] for menu in (await stream.next())["menus"]}
        assert [command["name"] for command in menus["private"]] == list(COMMANDS)
        commands = json.dumps([{"command": "pay", "description": "Request a payment"}])
        address = f"{telegram.base}/bot{telegram.token}/setMyCommands"
        form = {"commands": commands, "scope": json.dumps({"type": "all_private_chats"})}
        async with http.post(address, data=form) as response:
            assert response.status == 200
        assert await stream.until("menus") == [
            {"chat_type": "private", "commands": [{"name": "pay", "description": "Request a payment"}]}
        ]


async def test_members_of_the_demo_shop_can_request_payments_and_guests_cannot(telegram: FakeTelegram) -> None:
    for user in (seed_users.MERCHANT, seed_users.ADMIN, seed_users.SECOND_ADMIN):
        command = telegram.send(seed_users.GROUP, user.id, "/pay 125 DKK Coffee")
        answer = await telegram.wait_until(lambda t, n=command: _answer(t, seed_users.GROUP, n), PATIENCE)  # type: ignore[misc]
        assert "reply_markup" in answer
    telegram.send(seed_users.GUEST.id, seed_users.GUEST.id, "/pay 125 DKK Coffee")
    refusal = await telegram.wait_until(lambda t: _answer(t, seed_users.GUEST.id, 1), PATIENCE)
    assert str(seed_users.GUEST.id) in refusal["text"]


def _answer(telegram: FakeTelegram, chat_id: int, message_id: int) -> Json | None:
    """The bot's reply to a message."""
    messages = telegram.state.chats[chat_id].messages.values()
    return next((m for m in messages if m.get("reply_to_message", {}).get("message_id") == message_id), None)
