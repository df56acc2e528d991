"""The whole of Kvit between its pretend halves, over real HTTP, on a clock that only the test turns."""

from __future__ import annotations

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
from tests.support.migrated_file import lay_out

Json = dict[str, Any]
BRISK = 1_000_000
OWNER = 70_010_001
PATIENCE = 60
"""Real seconds that anything may take on a busy machine: only what never comes fails."""


@dataclass
class World:
    """`service` is running; `stop` and `begin` let it die and live again on the same database."""

    stripe: FakeStripe
    telegram: FakeTelegram
    clock: FakeClock
    settings: Settings
    http: aiohttp.ClientSession
    service: Service
    seams: AdapterOverrides | None = None

    @property
    def database(self) -> Path:
        """The database's file."""
        return Path(self.settings.database_url.removeprefix("sqlite:///"))

    async def begin(self) -> None:
        """Start another service on the same database."""
        self.service = Service(
            self.settings,
            self.clock,
            rate_limiter=TelegramRateLimiter(BRISK, BRISK, BRISK, BRISK),
            overrides=self.seams,
        )
        await self.service.start()

    async def stop(self) -> None:
        """Stop the service, as SIGTERM would."""
        await self.service.stop()

    def say(self, text: str, *, by: int = OWNER, chat: int | None = None, reply_to: int | None = None) -> int:
        """Somebody writes a message; returns its id."""
        return self.telegram.send(chat or by, by, text, reply_to)

    def tap(self, message: Json, label: str, *, by: int = OWNER) -> str:
        """Somebody presses the button of a message that says `label`; returns the query's id."""
        return self.telegram.press_button(
            message["message_id"], by, button(message, label)["callback_data"], message["chat"]["id"]
        )

    async def answer(self, query_id: str) -> str:
        """The toast or alert that a tap was answered with."""
        found = await self.telegram.wait_until(lambda t: t.state.callback_queries[query_id].answer)
        return str(found.get("text", ""))

    async def card(self, contains: str, *, chat: int = OWNER, but: str | None = None) -> Json:
        """The bot's newest message in a chat that says `contains` (and not `but`), once there is one."""

        def find(telegram: FakeTelegram) -> Json | None:
            messages = telegram.state.chats[chat].messages.values() if chat in telegram.state.chats else ()
            mine = [m for m in messages if m["message_id"] in telegram.state.chats[chat].bot_message_ids]
            said = [m for m in mine if "text" in m]
            fitting = [m for m in said if contains in m["text"] and (but is None or but not in m["text"])]
            return fitting[-1] if fitting else None

        return await self.telegram.wait_until(find, timeout=PATIENCE)

    def sent(self, contains: str = "") -> list[TranscriptEntry]:
        """Every message that the bot posted so far (not the edits) that says so."""
        return [e for e in self.telegram.transcript if e.method == "sendMessage" and contains in e.params["text"]]

    def intent(self, number: int = -1) -> Json:
        """One of the intents at Stripe, the newest unless told otherwise."""
        return list(self.stripe.store.intents.values())[number]

    async def decide(self, what: str, number: int = -1, **body: Any) -> None:
        """The customer approves, declines or lets lapse the open attempt of an intent."""
        await self.control("stripe", f"intents/{self.intent(number)['id']}/{what}", body)

    async def control(self, whose: str, path: str, body: Json) -> Any:
        """Ask a control route of `stripe` or `telegram`."""
        base = self.stripe.base if whose == "stripe" else self.telegram.base
        async with self.http.post(f"{base}/_control/{path}", json=body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    def advance(self, seconds: float) -> None:
        """Turn the one clock of all three."""
        self.clock.advance(seconds)
        self.stripe.state.timers.run_due()

    async def until(self, true: Callable[[], Any]) -> Any:
        """Wait for something that shows in the chat or at Telegram."""
        return await self.telegram.wait_until(lambda _: true(), timeout=PATIENCE)


def free_port() -> int:
    """A port that stays the same when the service begins again, as Stripe's webhooks expect.

    Nobody is given it while the service is down: clients get theirs from 32768 on, each of the processes that play the
    suite side by side (pytest-xdist) has a thousand of its own, and of these each comes round again last.
    """
    for port in islice(_ports(), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")


@cache
def _ports() -> Iterator[int]:
    """The ports of this process in an order of its own, round and round."""
    first = 15_000 + 1_000 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw15")[2:]) % 16)
    return cycle(random.SystemRandom().sample(range(first, first + 1_000), 1_000))


def button(message: Json, label: str) -> Json:
    """The button of a message whose label contains `label`."""
    rows: list[list[Json]] = message.get("reply_markup", {}).get("inline_keyboard", [])
    return next(b for row in rows for b in row if label in b["text"])


def labels(message: Json) -> list[str]:
    """The labels of all buttons of a message, with plain spaces."""
    return [
        b["text"].replace("\u00a0", " ")
        for row in message.get("reply_markup", {}).get("inline_keyboard", [])
        for b in row
    ]


async def installed(stripe: FakeStripe, telegram: FakeTelegram, folder: Path, **settings: Any) -> Settings:
    """Start both, and give the settings of a Kvit between them; `settings` are written as in the environment."""
    given: Json = {
        "stripe_api_base": await stripe.start(),
        "telegram_api_base": await telegram.start(),
        "telegram_bot_token": telegram.token,
        "stripe_api_key": stripe.key,
        "stripe_webhook_secrets": stripe.webhook_secret,
        "owner_ids": str(OWNER),
        "database_url": f"sqlite:///{folder}/kvit.db",
        "port": free_port(),
    }
    await lay_out(folder / "kvit.db")
    return make_settings(**(given | settings))


@asynccontextmanager
async def opened(
    clock: FakeClock,
    folder: Path,
    *,
    webhooks: bool = True,
    overrides: AdapterOverrides | None = None,
    **settings: Any,
) -> AsyncIterator[World]:
    """Everything running; without `webhooks` no event reaches Kvit. `settings` are Kvit's, as in the environment."""
    stripe, telegram = FakeStripe(clock), FakeTelegram(clock, owner_id=OWNER, flood_control=False)
    secret = stripe.webhook_secret if webhooks else ""
    chosen = await installed(stripe, telegram, folder, **{"stripe_webhook_secrets": secret, **settings})
    async with aiohttp.ClientSession() as http:
        service = Service(chosen, clock)
        world = World(stripe, telegram, clock, chosen, http, service, overrides)
        try:
            await world.begin()
            if webhooks:
                await create_webhook_endpoint(stripe, world.service.base)
            yield world
        finally:
            await world.stop()
            await telegram.stop()
            await stripe.stop()
