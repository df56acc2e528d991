"""The fake Telegram: the Bot API for one bot, and control routes for its users, on one HTTP port."""

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

TOKEN = "7700000001:AAKvitSandboxFakeTelegramBotToken_000"  # noqa: S105 - only this fake accepts it
MAX_UPLOAD = 50 * 1024 * 1024
T = TypeVar("T")


class FakeTelegram:
    """One bot, and the shop's owner, who has started it."""

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
        """`flood_control` switches Telegram's rate limits on."""
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
        """All calls and user actions, oldest first."""
        return self.state.transcript.entries

    @property
    def open_polls(self) -> int:
        """The number of waiting long polls; a polling bot has one."""
        return self._http_api.polling.open_polls

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> str:
        """Serve on `port` (0: any free port); returns the base URL, without a trailing slash and without /bot."""
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
        """Stop the server and all tasks; long polls return no updates."""
        self._http_api.stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
            await self.delivery.stop()

    def send(self, chat_id: int, from_id: int, text: str, reply_to_message_id: int | None = None) -> int:
        """Send a message as a user; returns its id. Unknown chats and users are created.

        Raises LookupError for an unknown message to reply to, ValueError if the user cannot write there.
        """
        return int(self.users.send(UserMessage(chat_id, from_id, text, reply_to_message_id))["message_id"])

    def press_button(self, message_id: int, from_id: int, data: str, chat_id: int | None = None) -> str:
        """Press a button; returns the id of the callback query. Raises LookupError for an unknown message."""
        return str(self.users.press_button(message_id, from_id, data, chat_id)["callback_query_id"])

    def subscribe(self) -> ChangeIterator:
        """An iterator with one iteration after every change from now on."""
        return ChangeIterator(self.state.changes)

    async def wait_until(self, find: Callable[[FakeTelegram], T | None], timeout: float = 60) -> T:  # noqa: ASYNC109
        """Return the first true result of `find(telegram)`; raises TimeoutError after `timeout` real seconds."""
        changes = self.subscribe()
        async with asyncio.timeout(timeout):
            while not (found := find(self)):
                await anext(changes)
        return found

    @web.middleware
    async def _abort_while_down(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """While Telegram is down, close every connection without a response, those of waiting long polls too."""
        if request.path.startswith("/_control/"):
            return await handler(request)
        if self.state.down and "/bot" in request.path:
            self.state.refused.append((self.state.now(), request.path.rpartition("/")[2]))
            self.state.changes.notify()
        response = None if self.state.down else await handler(request)
        return abort_connection(request) if response is None or self.state.down else response
