"""The demo as a program and as a web server: it opens, keeps to itself, tells its page the news, and leaves nothing."""

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


class Stream:
    """What a page hears."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def next(self) -> Json:
        """The next news."""
        async with asyncio.timeout(PATIENCE):
            while not (line := await self._answer.content.readline()).startswith(b"data: "):
                assert line, "the stream has ended"
        news: Json = json.loads(line.removeprefix(b"data: "))
        return news

    async def until(self, kind: str) -> list[Json]:
        """The first news that has something of this kind."""
        while not (found := (await self.next()).get(kind)):
            pass
        return list(found)


@asynccontextmanager
async def listening(http: aiohttp.ClientSession, origin: str) -> AsyncIterator[Stream]:
    async with http.get(f"{origin}/feed") as answer:
        assert answer.content_type == "text/event-stream"
        yield Stream(answer)


def test_the_files_of_the_page_are_small_and_have_nothing_from_elsewhere() -> None:
    parts = [path.read_text("utf-8") for path in (ROOT / "bot" / "sandbox" / "demo" / "static").iterdir()]
    assert len(parts) == 5
    assert sum(len(part.encode()) for part in parts) < 60_000
    assert not re.search(r"(src|href|url|import)\W{1,3}(https?:)?//", "".join(parts))
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", "".join(parts))


@pytest.mark.parametrize("told", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
async def test_it_says_where_it_is_ends_by_a_signal_and_leaves_nothing(told: signal.Signals, tmp_path: Path) -> None:
    surroundings = {"TMPDIR": str(tmp_path), "STRIPE_API_KEY": "sk_test_51other", "PORT": "nonsense"}
    surroundings |= {"OWNER_IDS": "7", "DATABASE_URL": f"sqlite:///{tmp_path}/other.db", "PUBLIC_URL": "ftp://x"}
    async with running("demo", "--port", "0", **surroundings) as process:
        found = re.match(r"Kvit's demo is open: (http://127\.0\.0\.1:\d+)/ ", await first_line(process))
        assert found
        async with aiohttp.ClientSession() as http, listening(http, found[1]) as stream:
            assert "setting" in await stream.next()
            assert list(tmp_path.glob("kvit-*/kvit.db"))
            process.send_signal(told)
            assert await ended(process) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


async def test_it_takes_the_next_free_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with start_demo(port) as (origin, _):
            assert int(origin.rpartition(":")[2]) > port


@pytest.mark.long
@pytest.mark.parametrize("arguments", [("demo", "--port", "0"), ("demo", "--tour")])
@pytest.mark.parametrize(("name", "key"), [("STRIPE_API_KEY", "sk_live_51abc"), ("stripe_api_key", " rk_live_51abc")])
async def test_it_does_not_run_beside_a_live_key(arguments: tuple[str, ...], name: str, key: str) -> None:
    async with running(*arguments, **{name: key}) as process:
        code, out, complaints = await ended(process)
    assert (code, out) == (2, "")
    assert complaints.startswith("STRIPE_API_KEY holds a live key")
    assert complaints.count("\n") == 1
    assert "51abc" not in complaints


async def test_the_page_allows_itself_and_nothing_else(
    demo: tuple[str, DemoStack], http: aiohttp.ClientSession
) -> None:
    origin, market = demo
    async with http.get(origin) as answer:
        page, policy = await answer.text(), answer.headers["Content-Security-Policy"]
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        [inside] = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert allowed[directive] == f"'sha256-{digest}'"
    assert allowed["default-src"] == allowed["base-uri"] == allowed["frame-ancestors"] == "'none'"
    assert allowed["frame-src"].split() == [market.services.stripe.base, market.service.base]
    assert allowed["require-trusted-types-for"] == "'script'"


async def test_other_sites_and_other_names_of_this_machine_are_turned_away(
    origin: str, http: aiohttp.ClientSession
) -> None:
    for site in ("cross-site", "same-site"):
        for method, path in (("POST", "/do/stripe/clock"), ("GET", "/feed"), ("GET", "/files/x")):
            async with http.request(method, origin + path, headers={"Sec-Fetch-Site": site}) as answer:
                assert answer.status == 403
    for host in ("localhost:" + origin.rpartition(":")[2], "evil.example"):
        async with http.get(origin, headers={"Host": host}, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (302, f"{origin}/")
    async with http.post(f"{origin}/do/kvit/clock") as answer:
        assert answer.status == 404


async def test_only_the_demo_may_frame_the_pages_of_kvit(
    demo: tuple[str, DemoStack], http: aiohttp.ClientSession
) -> None:
    origin, market = demo
    async with http.get(f"{market.service.base}/healthz") as answer:
        assert f"frame-ancestors {origin}" in answer.headers["Content-Security-Policy"]
        assert "X-Frame-Options" not in answer.headers


async def test_a_page_hears_everything_first_and_then_only_what_is_new(
    demo: tuple[str, DemoStack], http: aiohttp.ClientSession
) -> None:
    origin, market = demo
    telegram = market.services.telegram
    telegram.send(seed_users.OWNER.id, seed_users.OWNER.id, "/pay 125 DKK Coffee")
    card = await telegram.wait_until(lambda t: t.state.chats[seed_users.OWNER.id].messages.get(2), PATIENCE)
    async with listening(http, origin) as stream:
        first = await stream.next()
        assert [person["name"] for person in first["setting"]["people"]] == [player.name for player in seed_users.USERS]
        assert [message["message_id"] for message in first["messages"]][:2] == [1, card["message_id"]]
        assert first["weather"] == [dict.fromkeys(("stripe_down", "telegram_down", "lose", "double", "poor"), False)]
        [attempt] = first["attempts"]
        assert attempt["link"] == card["reply_markup"]["inline_keyboard"][0][0]["url"]
        async with http.post(f"{origin}/do/stripe/intents/{attempt['intent']}/approve") as answer:
            assert answer.status == 200
        edited = (await stream.until("messages"))[0]
        assert (edited["message_id"], edited["bot"]) == (2, True)
        assert "edit_date" in edited


async def test_the_strip_tells_who_said_what_to_whom(demo: tuple[str, DemoStack], http: aiohttp.ClientSession) -> None:
    origin, market = demo
    telegram = market.services.telegram
    telegram.send(seed_users.OWNER.id, seed_users.OWNER.id, "/pay 125 DKK Coffee")
    await telegram.wait_until(lambda _: market.services.stripe.store.deliveries, PATIENCE)
    await telegram.wait_until(lambda t: t.state.chats[seed_users.OWNER.id].messages.get(2), PATIENCE)
    async with listening(http, origin) as stream:
        said = {(row["way"], row["what"]): row for row in (await stream.next())["talk"]}
    assert said["Telegram → Kvit", "message"]["said"] == ""
    assert said["Kvit → Stripe", "POST /v1/payment_intents"]["said"] == "200"
    assert said["Stripe → Kvit", "payment_intent.created"]["well"]
    assert said["Kvit → Telegram", "sendMessage"]["said"] == "ok"
    assert "Coffee" in said["Kvit → Telegram", "sendMessage"]["more"]


async def test_an_answer_that_is_lost_is_told_as_what_broke_it(
    demo: tuple[str, DemoStack], http: aiohttp.ClientSession
) -> None:
    origin, market = demo
    async with listening(http, origin) as stream:
        await stream.next()
        fault = {"method": "POST /v1/payment_intents", "how": "drop", "when": "after"}
        async with http.post(f"{origin}/do/stripe/faults", json=fault) as answer:
            assert answer.status == 200
        market.services.telegram.send(seed_users.OWNER.id, seed_users.OWNER.id, "/pay 125 DKK Coffee")
        rows: list[Json] = []
        while not (lost := [row for row in rows if row["said"] == "drop after"]):
            rows += await stream.until("talk")
    assert (lost[0]["what"], lost[0]["well"]) == ("POST /v1/payment_intents", False)


async def test_what_was_broken_on_purpose_is_shown_until_it_is_mended(origin: str, http: aiohttp.ClientSession) -> None:
    async with listening(http, origin) as stream:
        await stream.next()
        for vendor, act, body, shown in (
            ("stripe", "webhooks", {"mode": "lose", "double": True}, {"lose": True, "double": True}),
            ("stripe", "balance", {"available": 0}, {"poor": True}),
            ("stripe", "down", {"down": True}, {"stripe_down": True}),
            ("telegram", "down", {"down": True}, {"telegram_down": True}),
            ("telegram", "down", {"down": False}, {"telegram_down": False}),
        ):
            async with http.post(f"{origin}/do/{vendor}/{act}", json=body) as answer:
                assert answer.status == 200
            [weather] = await stream.until("weather")
            assert weather | shown == weather


async def test_a_hold_can_be_let_lapse_until_it_is_over(
    demo: tuple[str, DemoStack], http: aiohttp.ClientSession
) -> None:
    origin, market = demo
    stripe = market.services.stripe
    form = {"amount": "500", "currency": "dkk", "capture_method": "manual", "confirm": "true"}
    form |= {"payment_method_data[type]": "mobilepay", "return_url": "https://kvit.example"}
    headers = {"Authorization": f"Bearer {stripe.key}"}
    async with http.post(f"{stripe.base}/v1/payment_intents", data=form, headers=headers) as answer:
        intent = (await answer.json())["id"]
    async with listening(http, origin) as stream:
        await stream.next()
        for act, left in (("approve", ["Hold lapses"]), ("expire_hold", [])):
            async with http.post(f"{origin}/do/stripe/intents/{intent}/{act}") as answer:
                assert answer.status == 200
            [payment] = await stream.until("payments")
            assert [fate["words"] for fate in payment["fates"]] == left


async def test_what_cannot_be_done_says_why(origin: str, http: aiohttp.ClientSession) -> None:
    async with http.post(f"{origin}/do/stripe/intents/pi_none/approve") as answer:
        assert (answer.status, await answer.json()) == (404, {"error": "no such intent"})
    async with http.post(f"{origin}/do/telegram/messages", json={"chat_id": 1}) as answer:
        assert answer.status == 400


async def test_the_menu_is_the_bots_own_once_it_has_one(
    origin: str, telegram: FakeTelegram, http: aiohttp.ClientSession
) -> None:
    async with listening(http, origin) as stream:
        menus = {menu["place"]: menu["commands"] for menu in (await stream.next())["menus"]}
        assert [command["name"] for command in menus["private"]] == list(COMMANDS)
        commands = json.dumps([{"command": "pay", "description": "Request a payment"}])
        address = f"{telegram.base}/bot{telegram.token}/setMyCommands"
        form = {"commands": commands, "scope": json.dumps({"type": "all_private_chats"})}
        async with http.post(address, data=form) as answer:
            assert answer.status == 200
        assert await stream.until("menus") == [
            {"place": "private", "commands": [{"name": "pay", "about": "Request a payment"}]}
        ]


async def test_the_shop_knows_its_people_and_its_group_and_nobody_else(telegram: FakeTelegram) -> None:
    for player in (seed_users.MERCHANT, seed_users.ADMIN, seed_users.SECOND_ADMIN):
        said = telegram.send(seed_users.GROUP, player.id, "/pay 125 DKK Coffee")
        card = await telegram.wait_until(lambda t, n=said: _answer(t, seed_users.GROUP, n), PATIENCE)  # type: ignore[misc]
        assert "reply_markup" in card
    telegram.send(seed_users.GUEST.id, seed_users.GUEST.id, "/pay 125 DKK Coffee")
    refusal = await telegram.wait_until(lambda t: _answer(t, seed_users.GUEST.id, 1), PATIENCE)
    assert str(seed_users.GUEST.id) in refusal["text"]


def _answer(telegram: FakeTelegram, chat_id: int, said: int) -> Json | None:
    """What the bot answered to a message."""
    messages = telegram.state.chats[chat_id].messages.values()
    return next((m for m in messages if m.get("reply_to_message", {}).get("message_id") == said), None)
