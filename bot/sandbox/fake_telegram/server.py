"""Telegram on this machine: the Bot API for one bot, and the people who talk to it, on one HTTP port."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler

from bot.sandbox.fake_telegram.control import Control
from bot.sandbox.fake_telegram.delivery import Delivery
from bot.sandbox.fake_telegram.flood import FloodControl
from bot.sandbox.fake_telegram.http_api import HttpApi, abort_connection
from bot.sandbox.fake_telegram.state import FakeTelegramState
from bot.sandbox.fake_telegram.transcript import TranscriptEntry
from bot.sandbox.fake_telegram.users import FakeUsers, UserMessage
from bot.sandbox.fake_telegram.webhook import Webhook
from bot.sandbox.shared.change_notifier import ChangeIterator
from bot.sandbox.shared.fake_clock import FakeClock

TOKEN = "7700000001:AAKvitSandboxPretendTelegramToken_000"  # noqa: S105 - opens nothing but this pretend Telegram
MAX_UPLOAD = 50 * 1024 * 1024
T = TypeVar("T")


class FakeTelegram:
    """One pretend bot and its owner, who has already pressed Start."""

    def __init__(
        self,
        clock: FakeClock,
        *,
        token: str = TOKEN,
        username: str = "KvitDemoBot",
        owner_id: int = 70_010_001,
        owner_name: str = "Olivia",
        flood_control: bool = True,
    ) -> None:
        """All times are `clock`'s. Without `flood_control` any number of messages passes."""
        self.token, self.username, self.owner_id, self.chat_id = token, username, owner_id, owner_id
        self.base = ""
        number = int(token.partition(":")[0])
        self.state = FakeTelegramState(
            clock, {"id": number, "is_bot": True, "first_name": "Kvit", "username": username}
        )
        self.users = FakeUsers(self.state)
        self.webhook = Webhook()
        self.delivery = Delivery(self.state, self.webhook)
        self._http_api = HttpApi(self.state, token, self.webhook, FloodControl(flood_control))
        self._control = Control(self.state, self.users, self._http_api.faults)
        self._runner: web.AppRunner | None = None
        self.state.ensure_user(owner_id, first_name=owner_name, language_code="en")
        self.users.private_chat(owner_id)

    @property
    def transcript(self) -> list[TranscriptEntry]:
        """All that was said, oldest first."""
        return self.state.transcript.entries

    @property
    def open_polls(self) -> int:
        """How many long polls wait at the moment; a bot that listens has one."""
        return self._http_api.polling.open_polls

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> str:
        """Serve on `port` (0: any free one); returns the base address, without a trailing slash and without /bot."""
        self._http_api.stopping.clear()
        app = web.Application(middlewares=[self._abort_while_down], client_max_size=MAX_UPLOAD)
        app.add_routes([*self._control.routes(), *self._http_api.routes()])
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        self.delivery.start()
        self.base = f"http://{host}:{self._runner.addresses[0][1]}"
        return self.base

    async def stop(self) -> None:
        """End everything; long polls are answered with nothing."""
        self._http_api.stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
            await self.delivery.stop()

    def send(self, chat_id: int, from_id: int, text: str, reply_to_message_id: int | None = None) -> int:
        """Write a message and return its id; chats and people appear on first use.

        Raises LookupError if the message to reply to is not there, ValueError if he cannot write there.
        """
        return int(self.users.send(UserMessage(chat_id, from_id, text, reply_to_message_id))["message_id"])

    def press_button(self, message_id: int, from_id: int, data: str, chat_id: int | None = None) -> str:
        """Press a button and return the callback query's id; raises LookupError if there is no such message."""
        return str(self.users.press_button(message_id, from_id, data, chat_id)["callback_query_id"])

    def subscribe(self) -> ChangeIterator:
        """`async for _ in telegram.subscribe()`: one turn after every change from now on."""
        return ChangeIterator(self.state.changes)

    async def wait_until(self, found: Callable[[FakeTelegram], T | None], timeout: float = 60) -> T:  # noqa: ASYNC109
        """Return what `found(telegram)` says once it is true; raises TimeoutError after `timeout` real seconds."""
        watch = self.subscribe()
        async with asyncio.timeout(timeout):
            while not (answer := found(self)):
                await anext(watch)
        return answer

    @web.middleware
    async def _abort_while_down(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """While it is down nothing is answered, a long poll that waits included."""
        if request.path.startswith("/_control/"):
            return await handler(request)
        answer = None if self.state.down else await handler(request)
        return abort_connection(request) if answer is None or self.state.down else answer
