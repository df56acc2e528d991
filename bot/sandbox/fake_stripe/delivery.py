"""Delivers events as signed webhooks, again when they fail, and late, twice, shuffled or never when told so."""

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
    """`mode`: deliver, lose (kept in the list of events only) or hold until `release()`.

    `double` delivers everything twice, `shuffle` changes the order within what happened at once.
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
        """Do with a new event what the mode says."""
        event["pending_webhooks"] = len(self.subscribers(event))
        if self.mode == "hold":
            self._held.append(event)
        elif self.mode == "deliver":
            self._schedule([event])

    def release(self) -> int:
        """Deliver what was held; returns how many events that were."""
        held, self._held = self._held, []
        self._schedule(held)
        return len(held)

    def deliver(self, event: Json) -> None:
        """Deliver one event now, to everybody who wants it, whatever the mode."""
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
        """Start the deliveries of everything that waits; a turn later than the cause, so that a burst is whole."""
        await asyncio.sleep(0)
        self._is_scheduled = False
        batch = [event for event in self._pending for _ in range(2 if self.double else 1)]
        self._pending.clear()
        if self.shuffle:
            self.state.ids.shuffle(batch)
        for event in batch:
            self.deliver(event)

    async def _deliver_with_retries(self, endpoint: Json, event: Json, delays: tuple[float, ...]) -> None:
        """One delivery and its repeats: three in all over a few hours, as in Stripe's sandboxes."""
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
            ) as answer:
                return answer.status
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
