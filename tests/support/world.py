"""A running service between a fake Stripe and a fake Telegram, over real HTTP, on a clock that only tests advance."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import aiohttp

from bot.app import AdapterOverrides, Service
from bot.sandbox.fake_services import create_webhook_endpoint
from bot.sandbox.fake_stripe import FakeStripe
from bot.sandbox.fake_telegram import FakeTelegram, TranscriptEntry
from bot.sandbox.shared.fake_clock import FakeClock
from bot.settings import Settings, make_settings
from handlers.telegram.rate_limit import TelegramRateLimiter
from tests.support.empty_database import empty_database
from tests.support.postgres import snapshot

Json = dict[str, Any]
BRISK = 1_000_000
OWNER = 70_010_001
PATIENCE = 60
"""Real seconds that a step may take on a busy machine. Only what never happens fails."""


@dataclass
class World:
    """`service` is running. `stop` and `begin` restart it on the same database."""

    stripe: FakeStripe
    telegram: FakeTelegram
    clock: FakeClock
    settings: Settings
    http: aiohttp.ClientSession
    service: Service
    overrides: AdapterOverrides | None = None

    @property
    def database(self) -> Path:
        """The database file; of PostgreSQL, a copy of what it holds now."""
        if self.settings.database_url.startswith("postgresql:"):
            return snapshot(self.settings.database_url)
        return Path(self.settings.database_url.removeprefix("sqlite:///"))

    async def begin(self) -> None:
        """Starts a new service on the same database, and waits until it leads: a former one has to give that back."""
        self.service = Service(
            self.settings,
            self.clock,
            rate_limiter=TelegramRateLimiter(BRISK, BRISK, BRISK, BRISK),
            overrides=self.overrides,
        )
        await self.service.start()
        async with asyncio.timeout(PATIENCE):
            while not self.service._components.leadership.is_leader:
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Stops the service as SIGTERM does."""
        await self.service.stop()

    def say(self, text: str, *, by: int = OWNER, chat: int | None = None, reply_to: int | None = None) -> int:
        """Sends a message as a person. Returns its id."""
        return self.telegram.send(chat or by, by, text, reply_to)

    def tap(self, message: Json, label: str, *, by: int = OWNER) -> str:
        """Presses the button of a message whose label contains `label`. Returns the id of the callback query."""
        return self.telegram.press_button(
            message["message_id"], by, button(message, label)["callback_data"], message["chat"]["id"]
        )

    async def answer(self, query_id: str) -> str:
        """The toast or alert that answered a tap."""
        answer = await self.telegram.wait_until(lambda t: t.state.callback_queries[query_id].answer)
        return str(answer.get("text", ""))

    async def message(self, contains: str, *, chat: int = OWNER, but: str | None = None) -> Json:
        """The newest message of the bot in a chat that contains `contains` and not `but`, once there is one."""

        def find(telegram: FakeTelegram) -> Json | None:
            messages = telegram.state.chats[chat].messages.values() if chat in telegram.state.chats else ()
            sent = [
                m for m in messages if m["message_id"] in telegram.state.chats[chat].bot_message_ids and "text" in m
            ]
            matches = [m for m in sent if contains in m["text"] and (but is None or but not in m["text"])]
            return matches[-1] if matches else None

        return await self.telegram.wait_until(find, timeout=PATIENCE)

    def sent(self, contains: str = "") -> list[TranscriptEntry]:
        """The messages sent so far, without edits, whose text contains `contains`."""
        return [e for e in self.telegram.transcript if e.method == "sendMessage" and contains in e.params["text"]]

    def intent(self, number: int = -1) -> Json:
        """An intent at Stripe, by default the newest."""
        return list(self.stripe.store.intents.values())[number]

    async def decide(self, what: str, number: int = -1, **body: Any) -> None:
        """Ends the active attempt of an intent as the customer does: approve, decline or expire."""
        await self.control("stripe", f"intents/{self.intent(number)['id']}/{what}", body)

    async def control(self, vendor: str, path: str, body: Json) -> Any:
        """Calls a control route of `stripe` or `telegram`. Returns the JSON of the response."""
        base = self.stripe.base if vendor == "stripe" else self.telegram.base
        async with self.http.post(f"{base}/_control/{path}", json=body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    def advance(self, seconds: float) -> None:
        """Advances the clock that the service and both vendors share."""
        self.clock.advance(seconds)
        self.stripe.state.timers.run_due()

    async def until(self, true: Callable[[], Any]) -> Any:
        """Waits for a condition that changes with the chat or with another state of Telegram. Returns its value."""
        return await self.telegram.wait_until(lambda _: true(), timeout=PATIENCE)


def free_port() -> int:
    """A port that the service keeps across restarts, as Stripe's webhooks expect.

    No other process gets it while the service is down: client ports begin at 32768, each pytest-xdist worker has a
    range of 1,000, and a port of the range is used again only after all others.
    """
    for port in islice(_ports(), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")


@cache
def _ports() -> Iterator[int]:
    """The ports of this process in random order, endlessly."""
    first = 15_000 + 1_000 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw15")[2:]) % 16)
    return cycle(random.SystemRandom().sample(range(first, first + 1_000), 1_000))


PAY_LABELS = ("Pay ", "Reserve ")
"""How the button of an open request begins, in English; of a hold the money is only reserved."""


def button(message: Json, label: str) -> Json:
    """The button of a message whose label contains `label`."""
    rows: list[list[Json]] = message.get("reply_markup", {}).get("inline_keyboard", [])
    return next(b for row in rows for b in row if label in b["text"])


def pay_url(message: Json) -> str:
    """Where the button that pays or reserves leads."""
    rows: list[list[Json]] = message.get("reply_markup", {}).get("inline_keyboard", [])
    return next(str(b["url"]) for row in rows for b in row if b["text"].startswith(PAY_LABELS))


def labels(message: Json) -> list[str]:
    """The labels of all buttons of a message. No-break spaces become spaces."""
    return [
        b["text"].replace("\u00a0", " ")
        for row in message.get("reply_markup", {}).get("inline_keyboard", [])
        for b in row
    ]


async def installed(stripe: FakeStripe, telegram: FakeTelegram, folder: Path, **settings: Any) -> Settings:
    """Starts both vendors. Returns settings for a service between them; `settings` override them."""
    defaults: Json = {
        "stripe_api_base": await stripe.start(),
        "telegram_api_base": await telegram.start(),
        "telegram_bot_token": telegram.token,
        "stripe_api_key": stripe.key,
        "stripe_webhook_secrets": stripe.webhook_secret,
        "owner_ids": str(OWNER),
        "port": free_port(),
    }
    if "database_url" not in settings:
        defaults["database_url"] = await empty_database(folder)
    return make_settings(**(defaults | settings))


@asynccontextmanager
async def opened(
    clock: FakeClock,
    folder: Path,
    *,
    webhooks: bool = True,
    overrides: AdapterOverrides | None = None,
    **settings: Any,
) -> AsyncIterator[World]:
    """A world with a running service. Without `webhooks`, Stripe sends it no events. `settings`: see `installed`."""
    stripe, telegram = FakeStripe(clock), FakeTelegram(clock, owner_id=OWNER, flood_control=False)
    secret = stripe.webhook_secret if webhooks else ""
    installed_settings = await installed(stripe, telegram, folder, **{"stripe_webhook_secrets": secret, **settings})
    async with aiohttp.ClientSession() as http:
        service = Service(installed_settings, clock)
        world = World(stripe, telegram, clock, installed_settings, http, service, overrides)
        try:
            await world.begin()
            if webhooks:
                await create_webhook_endpoint(stripe, world.service.base)
            yield world
        finally:
            await world.stop()
            await telegram.stop()
            await stripe.stop()
