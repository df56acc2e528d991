"""getUpdates: one long poll at a time, that wakes as soon as there is something."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from bot.sandbox.fake_telegram.api_error import Json, conflict
from bot.sandbox.fake_telegram.call import Call
from bot.sandbox.fake_telegram.webhook import Webhook, set_allowed_updates

MAX_TIMEOUT = 50
WEBHOOK_IS_SET = "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
OTHER_POLLER = "terminated by other getUpdates request; make sure that only one bot instance is running"
SET_WEBHOOK = "terminated by setWebhook request"


class Polling:
    """The newest poll is the one that gets the updates; an older one that still waits is told 409."""

    def __init__(self, webhook: Webhook, stopping: asyncio.Event) -> None:
        self._webhook = webhook
        self._stopping = stopping
        self._newest_poll = 0
        self.open_polls = 0

    async def get_updates(self, call: Call) -> list[Json]:
        """Up to `limit` updates, after at most `timeout` seconds of the pretend clock."""
        if self._webhook.url:
            raise conflict(WEBHOOK_IS_SET)
        set_allowed_updates(call)
        params, updates = call.params, call.state.updates
        offset, limit = params.number("offset"), min(max(params.number("limit", 100), 1), 100)
        seconds = min(max(params.number("timeout"), 0), MAX_TIMEOUT)
        found = updates.fetch(offset, limit)
        turn = self._newest_poll = self._newest_poll + 1
        updates.changes.notify()
        if found or not seconds:
            return found
        return await self._wait(call, turn, seconds, lambda: updates.fetch(max(offset, 0), limit))

    async def _wait(self, call: Call, turn: int, seconds: int, fetch: Callable[[], list[Json]]) -> list[Json]:
        updates = call.state.updates
        seen, found = updates.changes.count, fetch()
        self.open_polls += 1
        lapse = asyncio.create_task(call.state.clock.sleep(seconds))
        call.state.changes.notify()  # after the clock was told, for whoever hears of it may turn it
        try:
            while not found and not lapse.done() and not self._stopping.is_set() and not call.state.down:
                await _wait_first(lapse, updates.changes.wait_after(seen), self._stopping.wait())
                self._check_conflict(turn)
                seen = updates.changes.count
                found = [] if call.state.down else fetch()
            return found
        finally:
            self.open_polls -= 1
            lapse.cancel()
            await asyncio.gather(lapse, return_exceptions=True)

    def _check_conflict(self, turn: int) -> None:
        if self._webhook.url:
            raise conflict(SET_WEBHOOK)
        if turn != self._newest_poll:
            raise conflict(OTHER_POLLER)


async def _wait_first(lapse: asyncio.Future[None], *others: Coroutine[Any, Any, Any]) -> None:
    """Return when the first of them is done, leaving none of the others behind."""
    tasks = [asyncio.create_task(other) for other in others]
    try:
        await asyncio.wait([lapse, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
