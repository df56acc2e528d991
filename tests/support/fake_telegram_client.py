"""A bare HTTP client for the tests of the fake Telegram: its Bot API and its control routes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from bot.sandbox.fake_telegram import FakeTelegram
from bot.sandbox.shared.fake_clock import FakeClock

Json = dict[str, Any]


@dataclass
class FakeTelegramClient:
    """A running `fake` and an HTTP client; `chat` is the owner's private chat."""

    fake: FakeTelegram
    clock: FakeClock
    http: aiohttp.ClientSession

    @property
    def chat(self) -> int:
        return self.fake.chat_id

    async def call(self, method: str, **params: Any) -> Any:
        """The `result` of a successful call; nested parameters are sent as JSON strings in a form."""
        response = await self.response(method, **params)
        assert response["ok"], response
        return response["result"]

    async def error_of(self, method: str, **params: Any) -> str:
        """The `description` of a call that fails."""
        response = await self.response(method, **params)
        assert not response["ok"], response
        return str(response["description"])

    async def response(self, method: str, **params: Any) -> Json:
        """The whole response of a call."""
        form = {name: value if isinstance(value, str) else json.dumps(value) for name, value in params.items()}
        url = f"{self.fake.base}/bot{self.fake.token}/{method}"
        async with self.http.post(url, data=form) as response:
            body: Json = await response.json()
            assert response.status == body.get("error_code", 200)
            return body

    async def send(self, text: str = "open", **more: Any) -> int:
        """Send a message as the bot, by default to the owner; returns its id."""
        message = await self.call("sendMessage", **({"chat_id": self.chat, "text": text} | more))
        return int(message["message_id"])

    async def control(self, path: str, body: Any = None) -> Any:
        """The JSON of a control route: POST with a body, GET without."""
        return (await self.control_response(path, body))[1]

    async def control_response(self, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of a control route."""
        method = "GET" if body is None else "POST"
        data = body if isinstance(body, str) else json.dumps(body)
        async with self.http.request(method, f"{self.fake.base}/_control/{path}", data=data) as response:
            return response.status, await response.json()

    async def updates(self, kind: str = "message") -> list[Json]:
        """The content of all pending updates of this kind; they stay pending."""
        return [update[kind] for update in await self.call("getUpdates") if kind in update]

    def message(self, message_id: int, chat_id: int | None = None) -> Json:
        """A message as Telegram has it now."""
        return self.fake.state.chats[chat_id or self.chat].messages[message_id]


@asynccontextmanager
async def start_client(clock: FakeClock, **options: Any) -> AsyncIterator[FakeTelegramClient]:
    """Run a fake Telegram with a client while the context is open."""
    fake = FakeTelegram(clock, **options)
    await fake.start()
    try:
        async with aiohttp.ClientSession() as http:
            yield FakeTelegramClient(fake, clock, http)
    finally:
        await fake.stop()
