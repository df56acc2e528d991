"""A bare HTTP client for the tests of the pretend Telegram: its Bot API, and the control routes beside it."""

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
class Talk:
    """`fake` and a client of it; `chat` is the owner's private chat."""

    fake: FakeTelegram
    clock: FakeClock
    http: aiohttp.ClientSession

    @property
    def chat(self) -> int:
        return self.fake.chat_id

    async def call(self, method: str, **params: Any) -> Any:
        """The `result` of a call, nested parameters as JSON strings in a form."""
        answer = await self.answer(method, **params)
        assert answer["ok"], answer
        return answer["result"]

    async def refused(self, method: str, **params: Any) -> str:
        """What Telegram says instead of doing it."""
        answer = await self.answer(method, **params)
        assert not answer["ok"], answer
        return str(answer["description"])

    async def answer(self, method: str, **params: Any) -> Json:
        form = {name: value if isinstance(value, str) else json.dumps(value) for name, value in params.items()}
        async with self.http.post(f"{self.fake.base}/bot{self.fake.token}/{method}", data=form) as answer:
            body: Json = await answer.json()
            assert answer.status == body.get("error_code", 200)
            return body

    async def send(self, text: str = "open", **more: Any) -> int:
        """Post a message, by default in the owner's chat, and return its id."""
        message = await self.call("sendMessage", **({"chat_id": self.chat, "text": text} | more))
        return int(message["message_id"])

    async def control(self, path: str, body: Any = None) -> Any:
        """Ask a control route, by POST if there is a body."""
        return (await self.control_answer(path, body))[1]

    async def control_answer(self, path: str, body: Any = None) -> tuple[int, Any]:
        method = "GET" if body is None else "POST"
        data = body if isinstance(body, str) else json.dumps(body)
        async with self.http.request(method, f"{self.fake.base}/_control/{path}", data=data) as answer:
            return answer.status, await answer.json()

    async def updates(self, kind: str = "message") -> list[Json]:
        """Everything of this kind that waits, which stays there."""
        return [update[kind] for update in await self.call("getUpdates") if kind in update]

    def shown(self, message_id: int, chat_id: int | None = None) -> Json:
        """A message as it stands now."""
        return self.fake.state.chats[chat_id or self.chat].messages[message_id]


@asynccontextmanager
async def opened(clock: FakeClock, **options: Any) -> AsyncIterator[Talk]:
    """A pretend Telegram that runs, and a client."""
    fake = FakeTelegram(clock, **options)
    await fake.start()
    try:
        async with aiohttp.ClientSession() as http:
            yield Talk(fake, clock, http)
    finally:
        await fake.stop()
