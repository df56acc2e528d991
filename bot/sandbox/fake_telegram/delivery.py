"""Delivers updates to the bot's webhook, in order per ordering key, with retries (as the server's WebhookActor)."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from datetime import datetime, timedelta

import aiohttp

from bot.sandbox.fake_telegram.state import FakeTelegramState
from bot.sandbox.fake_telegram.updates import Update
from bot.sandbox.fake_telegram.webhook import Webhook
from bot.sandbox.shared.background_tasks import BackgroundTasks

RESPONSE_TIMEOUT = 60
MAX_RETRY_AFTER = 3600
KEYS_PER_CONNECTION = 2
"""Ordering keys that Telegram delivers at a time, per connection. Enough failing ones block all others."""


@dataclass(frozen=True)
class DeliveryAttempt:
    """One request to the webhook; `status` is None without a response."""

    at: datetime
    update_id: int
    status: int | None


class Delivery:
    """One task per ordering key with pending updates; the updates of a key are delivered one after another."""

    def __init__(self, state: FakeTelegramState, webhook: Webhook) -> None:
        self.requests: list[DeliveryAttempt] = []
        self._state = state
        self._webhook = webhook
        self._random = random.Random(1)  # noqa: S311 - the same delays in every run
        self._active: set[tuple[int, str]] = set()
        self._background_tasks = BackgroundTasks()
        self._session: aiohttp.ClientSession | None = None

    def start(self) -> None:
        """Start to deliver updates."""
        self._background_tasks.start(self._run())

    async def stop(self) -> None:
        """Stop all deliveries; raises the first error of a background task."""
        try:
            await self._background_tasks.stop()
        finally:
            self._active.clear()
            if self._session is not None:
                await self._session.close()
                self._session = None

    async def _run(self) -> None:
        changes = self._state.updates.changes
        while True:
            count = changes.count
            self._start_deliveries()
            await changes.wait_after(count)

    def _start_deliveries(self) -> None:
        if not self._webhook.url or self._state.down:
            return
        for update in self._state.updates.pending():
            key = (self._webhook.version, update.ordering_key)
            busy = sum(version == self._webhook.version for version, _ in self._active)
            if key not in self._active and busy < KEYS_PER_CONNECTION * self._webhook.max_connections:
                self._active.add(key)
                self._background_tasks.start(self._deliver_all(*key))

    async def _deliver_all(self, version: int, ordering_key: str) -> None:
        """Deliver the pending updates of one ordering key, until none is left or the webhook has changed."""
        while self._webhook.version == version and not self._state.down and (update := self._next(ordering_key)):
            await self._deliver(update, version)
        self._active.discard((version, ordering_key))
        self._start_deliveries()

    async def _deliver(self, update: Update, version: int) -> None:
        """Deliver one update; retry after 0, 2, 4, 8, 16, 32, then 60 to 120 s, or `Retry-After`, until it expires."""
        delay, failures = 1.0, 0
        while self._webhook.version == version and not self._state.down and self._state.updates.is_pending(update):
            status, wait = await self._post(update)
            if status is not None and 200 <= status < 300:
                return self._state.updates.remove(update)
            if not wait and failures:
                delay = min(self._random.uniform(60, 120), delay * 2)
                wait = delay
            failures += 1
            if self._state.now() + timedelta(seconds=wait) > update.expires_at:
                return self._state.updates.remove(update)
            await self._state.clock.sleep(wait)
        return None

    def _next(self, ordering_key: str) -> Update | None:
        return next((update for update in self._state.updates.pending() if update.ordering_key == ordering_key), None)

    async def _post(self, update: Update) -> tuple[int | None, float]:
        """The status of the response and its `Retry-After` in seconds (0 without)."""
        status, wait, error = None, 0.0, ""
        headers = {"Content-Type": "application/json"}
        if self._webhook.secret:
            headers["X-Telegram-Bot-Api-Secret-Token"] = self._webhook.secret
        timeout = aiohttp.ClientTimeout(total=RESPONSE_TIMEOUT)
        body = json.dumps(update.body).encode()
        try:
            async with self._client().post(
                self._webhook.url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                status, wait = response.status, _retry_after(response.headers.get("Retry-After", ""))
                error = f"Wrong response from the webhook: {response.status} {response.reason}"
        except TimeoutError:
            error = "Read timeout expired"
        except (aiohttp.ClientError, OSError):
            error = "Connection failed"
        self._record(update, status, error)
        return status, wait

    def _record(self, update: Update, status: int | None, error: str) -> None:
        self.requests.append(DeliveryAttempt(self._state.now(), update.id, status))
        if status is None or not 200 <= status < 300:
            self._webhook.last_error = {"last_error_date": self._state.unix_time(), "last_error_message": error}
        self._state.changes.notify()

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._webhook.max_connections)
            self._session = aiohttp.ClientSession(connector=connector)
        return self._session


def _retry_after(header: str) -> float:
    return min(int(header), MAX_RETRY_AFTER) if header.isdigit() else 0.0
