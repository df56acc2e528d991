"""Delivers events as signed webhooks, with retries; on request late, twice, shuffled or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json

import aiohttp

from bot.sandbox.fake_stripe.api_error import Json
from bot.sandbox.fake_stripe.state import FakeStripeState
from bot.sandbox.fake_stripe.store import Delivery

MODES = ("deliver", "lose", "hold")


def signature(secret: str, timestamp: int, body: str) -> str:
    """Stripe's `Stripe-Signature`: HMAC-SHA256 over `timestamp.body`, scheme v1."""
    digest = hmac.new(secret.encode(), f"{timestamp}.{body}".encode(), hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


class WebhookDelivery:
    """Modes: `deliver`, `lose` (the event is only in the list of events) and `hold` until `release()`.

    `double` delivers every event twice; `shuffle` changes the order of events that happen at once.
    """

    def __init__(self, state: FakeStripeState) -> None:
        self.state = state
        self.mode = "deliver"
        self.double = False
        self.shuffle = False
        self._held: list[Json] = []
        self._pending: list[Json] = []
        self._is_scheduled = False
        self._session: aiohttp.ClientSession | None = None

    def on_event(self, event: Json) -> None:
        """Deliver, lose or hold a new event, by the mode."""
        event["pending_webhooks"] = len(self.subscribers(event))
        if self.mode == "hold":
            self._held.append(event)
        elif self.mode == "deliver":
            self._schedule([event])

    def release(self) -> int:
        """Deliver the held events; returns their number."""
        held, self._held = self._held, []
        self._schedule(held)
        return len(held)

    def deliver(self, event: Json) -> None:
        """Deliver one event now to its subscribers, in any mode."""
        for endpoint in self.subscribers(event):
            self.state.background_tasks.start(
                self._deliver_with_retries(endpoint, event, self.state.options.webhook_retries)
            )

    def subscribers(self, event: Json) -> list[Json]:
        return [
            endpoint
            for endpoint in self.state.store.webhook_endpoints.values()
            if endpoint["status"] == "enabled" and {"*", event["type"]} & set(endpoint["enabled_events"])
        ]

    def _schedule(self, events: list[Json]) -> None:
        self._pending += events
        if not self._is_scheduled:
            self._is_scheduled = True
            self.state.background_tasks.start(self._deliver_pending())

    async def _deliver_pending(self) -> None:
        """Start the pending deliveries. One turn of the event loop later, so that events of one cause are one batch."""
        await asyncio.sleep(0)
        self._is_scheduled = False
        batch = [event for event in self._pending for _ in range(2 if self.double else 1)]
        self._pending.clear()
        if self.shuffle:
            self.state.ids.shuffle(batch)
        for event in batch:
            self.deliver(event)

    async def _deliver_with_retries(self, endpoint: Json, event: Json, delays: tuple[float, ...]) -> None:
        """Deliver, and retry after each of `delays`: three attempts over a few hours, as in Stripe's sandboxes."""
        for attempt, delay in enumerate((*delays, None), start=1):
            status = await self._post(endpoint, event)
            now = self.state.now()
            self.state.store.deliveries.append(
                Delivery(now, event["id"], endpoint["id"], endpoint["url"], attempt, status)
            )
            self.state.changes.notify()
            if status is not None and 200 <= status < 300:
                event["pending_webhooks"] = max(0, event["pending_webhooks"] - 1)
                return
            if delay is None:
                return
            await self.state.clock.sleep(delay)
            if endpoint["id"] not in self.state.store.webhook_endpoints:
                return

    async def _post(self, endpoint: Json, event: Json) -> int | None:
        body = json.dumps(event, indent=2)
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature(self.state.webhook_secret, int(self.state.now().timestamp()), body),
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        timeout = aiohttp.ClientTimeout(total=self.state.options.webhook_timeout)
        try:
            async with self._client().post(
                endpoint["url"], data=body.encode(), headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                return response.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
