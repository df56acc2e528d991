"""getUpdates: one long poll at a time, which returns as soon as there is an update."""

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
    """The newest poll gets the updates; an older one that still waits ends with 409."""

    def __init__(self, webhook: Webhook, stopping: asyncio.Event) -> None:
        self._webhook = webhook
        self._stopping = stopping
        self._newest_poll = 0
        self.open_polls = 0

    async def get_updates(self, call: Call) -> list[Json]:
        """Up to `limit` updates, after at most `timeout` seconds of the fake clock."""
        if self._webhook.url:
            raise conflict(WEBHOOK_IS_SET)
        set_allowed_updates(call)
        params, updates = call.params, call.state.updates
        offset, limit = params.number("offset"), min(max(params.number("limit", 100), 1), 100)
        seconds = min(max(params.number("timeout"), 0), MAX_TIMEOUT)
        found = updates.fetch(offset, limit)
        poll = self._newest_poll = self._newest_poll + 1
        updates.changes.notify()
        if found or not seconds:
            return found
        return await self._wait(call, poll, seconds, lambda: updates.fetch(max(offset, 0), limit))

    async def _wait(self, call: Call, poll: int, seconds: int, fetch: Callable[[], list[Json]]) -> list[Json]:
        updates = call.state.updates
        count, found = updates.changes.count, fetch()
        self.open_polls += 1
        expiry = asyncio.create_task(call.state.clock.sleep(seconds))
        call.state.changes.notify()  # after the sleep has begun: a test that waits for it advances the clock next
        try:
            while not found and not expiry.done() and not self._stopping.is_set() and not call.state.down:
                await _wait_first(expiry, updates.changes.wait_after(count), self._stopping.wait())
                self._check_conflict(poll)
                count = updates.changes.count
                found = [] if call.state.down else fetch()
            return found
        finally:
            self.open_polls -= 1
            expiry.cancel()
            await asyncio.gather(expiry, return_exceptions=True)

    def _check_conflict(self, poll: int) -> None:
        if self._webhook.url:
            raise conflict(SET_WEBHOOK)
        if poll != self._newest_poll:
            raise conflict(OTHER_POLLER)


async def _wait_first(expiry: asyncio.Future[None], *others: Coroutine[Any, Any, Any]) -> None:
    """Return when the first is done; the others are canceled."""
    tasks = [asyncio.create_task(other) for other in others]
    try:
        await asyncio.wait([expiry, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
