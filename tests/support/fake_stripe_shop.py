"""A shop for the tests of the fake Stripe: the real SDK, a bare HTTP client, and a webhook receiver."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import stripe
from aiohttp import web

from bot.sandbox.fake_stripe import FakeStripe
from bot.sandbox.shared.fake_clock import FakeClock

if TYPE_CHECKING:
    from stripe.params import PaymentIntentCreateParams, WebhookEndpointCreateParams

RETURN_URL = "https://kvit.example/p/token?lang=da"


@dataclass
class Receiver:
    """Receives webhooks, checks each signature with Stripe's library, responds with `status`."""

    secret: str
    status: int = 200
    bodies: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    async def receive(self, request: web.Request) -> web.Response:
        body = (await request.read()).decode()
        stripe.WebhookSignature.verify_header(body, request.headers["Stripe-Signature"], self.secret)
        await self.bodies.put(body)
        return web.Response(status=self.status)

    async def events(self, count: int) -> list[dict[str, Any]]:
        """The next `count` events, in the order of arrival."""
        return [json.loads(await asyncio.wait_for(self.bodies.get(), 5)) for _ in range(count)]


@dataclass
class Shop:
    """A running fake Stripe and its clients; `sdk` is the real asynchronous SDK."""

    fake: FakeStripe
    clock: FakeClock
    sdk: stripe.StripeClient
    http: aiohttp.ClientSession
    receiver: Receiver
    hook: str

    async def create(self, key: str | None = None, **changes: Any) -> stripe.PaymentIntent:
        """Create and confirm 12.34 DKK by MobilePay."""
        params: dict[str, Any] = {
            "amount": 1234,
            "currency": "dkk",
            "automatic_payment_methods": {"enabled": True},
            "payment_method_data": {"type": "mobilepay"},
            "confirm": True,
            "return_url": RETURN_URL,
            "description": "Two coffees",
            "metadata": {"payment": "p1"},
        }
        return await self.sdk.v1.payment_intents.create_async(
            cast("PaymentIntentCreateParams", params | changes),
            {"idempotency_key": key} if key else {},
        )

    async def paid(self) -> stripe.PaymentIntent:
        """Create, confirm and approve 12.34 DKK."""
        intent = await self.create()
        await self.control(f"intents/{intent.id}/approve")
        return intent

    async def confirm(self, intent: str, key: str | None = None) -> stripe.PaymentIntent:
        """Begin another attempt."""
        return await self.sdk.v1.payment_intents.confirm_async(
            intent,
            {"payment_method_data": {"type": "mobilepay"}, "return_url": RETURN_URL},
            {"idempotency_key": key} if key else {},
        )

    async def retrieve(self, intent: str) -> stripe.PaymentIntent:
        return await self.sdk.v1.payment_intents.retrieve_async(intent, {"expand": ["latest_charge"]})

    async def control(self, path: str, body: dict[str, Any] | None = None, *, status: int = 200) -> Any:
        """The JSON of a POST control route."""
        async with self.http.post(f"{self.fake.base}/_control/{path}", json=body or {}) as response:
            assert response.status == status, await response.text()
            return await response.json()

    async def raw(self, method: str, path: str, data: str = "", **headers: str) -> tuple[int, Any, Any]:
        """Send one request with the API key; header names have _ for -. Returns status, JSON and headers."""
        merged = {"Authorization": f"Bearer {self.fake.key}", "Content-Type": "application/x-www-form-urlencoded"}
        merged |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.request(method, self.fake.base + path, data=data or None, headers=merged) as response:
            return response.status, await response.json(), response.headers

    async def subscribe(self, *types: str) -> stripe.WebhookEndpoint:
        """Create a webhook endpoint for these event types, or for all."""
        params = {"url": self.hook, "enabled_events": list(types) or ["*"], "api_version": "2026-10-28.endive"}
        return await self.sdk.v1.webhook_endpoints.create_async(cast("WebhookEndpointCreateParams", params))

    def last(self, kind: str) -> Any:
        """The newest event of this type."""
        return [event for event in self.fake.store.events.values() if event["type"] == kind][-1]

    @property
    def kinds(self) -> list[str]:
        """The types of all events so far, oldest first."""
        return [event["type"] for event in self.fake.store.events.values()]


@asynccontextmanager
async def start_shop(clock: FakeClock, **settings: Any) -> AsyncIterator[Shop]:
    """Run a fake Stripe with a shop while the context is open."""
    fake = FakeStripe(clock, **settings)
    base = await fake.start()
    receiver = Receiver(fake.webhook_secret)
    app = web.Application()
    app.router.add_post("/hook", receiver.receive)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hook = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    stripe.enable_telemetry = False
    client = stripe.AIOHTTPClient(timeout=5)
    sdk = stripe.StripeClient(fake.key, http_client=client, base_addresses={"api": base})
    async with aiohttp.ClientSession() as http:
        yield Shop(fake, clock, sdk, http, receiver, hook)
    await client.close_async()  # type: ignore[no-untyped-call]
    await fake.stop()
    await runner.cleanup()
