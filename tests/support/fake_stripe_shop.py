"""A merchant for the tests of the pretend Stripe: the real SDK, a bare HTTP client, and a webhook receiver."""

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
    """Takes webhooks and checks each signature with Stripe's own code; answers with `status`."""

    secret: str
    status: int = 200
    bodies: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    async def take(self, request: web.Request) -> web.Response:
        body = (await request.read()).decode()
        stripe.WebhookSignature.verify_header(body, request.headers["Stripe-Signature"], self.secret)
        await self.bodies.put(body)
        return web.Response(status=self.status)

    async def events(self, count: int) -> list[dict[str, Any]]:
        """The next `count` events, in the order of arrival."""
        return [json.loads(await asyncio.wait_for(self.bodies.get(), 5)) for _ in range(count)]


@dataclass
class Shop:
    """Everything a test touches; `sdk` is the real asynchronous SDK on the pretend Stripe."""

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
        """POST to a control route; GET where there is no body to send and the route only shows."""
        async with self.http.post(f"{self.fake.base}/_control/{path}", json=body or {}) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()

    async def raw(self, method: str, path: str, data: str = "", **headers: str) -> tuple[int, Any, Any]:
        """One bare request with the right key; headers by name with _ for -. Returns status, JSON and headers."""
        sent = {"Authorization": f"Bearer {self.fake.key}", "Content-Type": "application/x-www-form-urlencoded"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.request(method, self.fake.base + path, data=data or None, headers=sent) as answer:
            return answer.status, await answer.json(), answer.headers

    async def subscribe(self, *types: str) -> stripe.WebhookEndpoint:
        """Ask for webhooks of these types, or of all."""
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
async def opened(clock: FakeClock, **settings: Any) -> AsyncIterator[Shop]:
    """The pretend Stripe and its merchant, running; nothing is left when it ends."""
    fake = FakeStripe(clock, **settings)
    base = await fake.start()
    receiver = Receiver(fake.webhook_secret)
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
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
