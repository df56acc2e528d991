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
from bot.sandbox.fake_telegram.http_api import Counter, cut
from bot.sandbox.fake_telegram.state import World
from bot.sandbox.fake_telegram.transcript import Entry
from bot.sandbox.fake_telegram.users import People, Words
from bot.sandbox.fake_telegram.webhook import Webhook
from bot.sandbox.shared.change_notifier import Watch
from bot.sandbox.shared.fake_clock import TurnedClock

TOKEN = "7700000001:AAKvitSandboxPretendTelegramToken_000"  # noqa: S105 - opens nothing but this pretend Telegram
LARGEST_UPLOAD = 50 * 1024 * 1024
T = TypeVar("T")


class FakeTelegram:
    """One pretend bot and its owner, who has already pressed Start."""

    def __init__(
        self,
        clock: TurnedClock,
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
        self.world = World(clock, {"id": number, "is_bot": True, "first_name": "Kvit", "username": username})
        self.people = People(self.world)
        self.webhook = Webhook()
        self.delivery = Delivery(self.world, self.webhook)
        self._counter = Counter(self.world, token, self.webhook, FloodControl(flood_control))
        self._control = Control(self.world, self.people, self._counter.faults)
        self._runner: web.AppRunner | None = None
        self.world.person(owner_id, first_name=owner_name, language_code="en")
        self.people.private_chat(owner_id)

    @property
    def transcript(self) -> list[Entry]:
        """All that was said, oldest first."""
        return self.world.transcript.entries

    @property
    def polls(self) -> int:
        """How many long polls wait at the moment; a bot that listens has one."""
        return self._counter.polling.waiting

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> str:
        """Serve on `port` (0: any free one); returns the base address, without a trailing slash and without /bot."""
        self._counter.stopping.clear()
        app = web.Application(middlewares=[self._up], client_max_size=LARGEST_UPLOAD)
        app.add_routes([*self._control.routes(), *self._counter.routes()])
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        self.delivery.start()
        self.base = f"http://{host}:{self._runner.addresses[0][1]}"
        return self.base

    async def stop(self) -> None:
        """End everything; long polls are answered with nothing."""
        self._counter.stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
            await self.delivery.stop()

    def say(self, chat_id: int, from_id: int, text: str, reply_to_message_id: int | None = None) -> int:
        """Write a message and return its id; chats and people appear on first use.

        Raises LookupError if the message to reply to is not there, ValueError if he cannot write there.
        """
        return int(self.people.say(Words(chat_id, from_id, text, reply_to_message_id))["message_id"])

    def tap(self, message_id: int, from_id: int, data: str, chat_id: int | None = None) -> str:
        """Press a button and return the callback query's id; raises LookupError if there is no such message."""
        return str(self.people.tap(message_id, from_id, data, chat_id)["callback_query_id"])

    def subscribe(self) -> Watch:
        """`async for _ in telegram.subscribe()`: one turn after every change from now on."""
        return Watch(self.world.changes)

    async def until(self, found: Callable[[FakeTelegram], T | None], timeout: float = 60) -> T:  # noqa: ASYNC109
        """Return what `found(telegram)` says once it is true; raises TimeoutError after `timeout` real seconds."""
        watch = self.subscribe()
        async with asyncio.timeout(timeout):
            while not (answer := found(self)):
                await anext(watch)
        return answer

    @web.middleware
    async def _up(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """While it is down nothing is answered, a long poll that waits included."""
        if request.path.startswith("/_control/"):
            return await handler(request)
        answer = None if self.world.down else await handler(request)
        return cut(request) if answer is None or self.world.down else answer
