"""Calls to Stripe for the commands `check` and `setup-webhooks`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any

import stripe

from bot.stripe.gateway import StripeGateway, server_time
from bot.stripe.serialization import EVENT_TYPES, WEBHOOK_EVENT_TYPES
from bot.stripe.webhook_endpoint import WebhookEndpoint, parse_endpoint

API_VERSION = stripe.api_version
"""The API version of the library; a webhook endpoint has to have the same."""

ADMIN_TIMEOUT = 6.0
"""Seconds for one attempt: shorter than the service's, as the operator waits at a terminal."""

NEWEST_EVENTS = 20


class StripeAdminClient(StripeGateway):
    """Stripe's API with one key. Every call raises `GatewayError`; `permission` means that the key lacks a right."""

    def __init__(self, api_key: str, *, api_base: str | None = None) -> None:
        super().__init__(api_key, api_base=api_base, timeout=ADMIN_TIMEOUT)

    @property
    def server_date(self) -> datetime | None:
        """Stripe's time at its last response, of whatever status."""
        return server_time({"Date": self._http.server_date})

    async def probe_intents(self) -> None:
        """Lists one intent, to see whether the key may."""
        await self._read(self._intents.list_async({"limit": 1}), dict)

    async def probe_refunds(self) -> None:
        """Lists one refund, to see whether the key may."""
        await self._read(self._client.v1.refunds.list_async({"limit": 1}), dict)

    async def probe_disputes(self) -> None:
        """Lists one dispute, to see whether the key may."""
        await self._read(self._client.v1.disputes.list_async({"limit": 1}), dict)

    async def probe_balance(self) -> None:
        """Lists one balance transaction, to see whether the key may."""
        await self._read(self._client.v1.balance_transactions.list_async({"limit": 1}), dict)

    async def probe_payouts(self) -> None:
        """Lists one payout, to see whether the key may."""
        await self._read(self._client.v1.payouts.list_async({"limit": 1}), dict)

    async def delivery_results(self, since: datetime, until: datetime) -> list[bool]:
        """For each of the newest events between those times, whether all endpoints accepted it; newest first."""
        created = {"gte": int(since.timestamp()), "lte": int(until.timestamp())}
        params: Any = {"types": list(EVENT_TYPES), "created": created, "limit": NEWEST_EVENTS}
        return await self._read(self._client.v1.events.list_async(params), _delivered)

    async def has_mobilepay(self) -> bool:
        """Whether the account's payment method settings show MobilePay: `automatic_payment_methods` follows them."""
        params: Any = {"limit": 100}
        return await self._read(self._client.v1.payment_method_configurations.list_async(params), _shows_mobilepay)

    async def endpoints(self) -> list[WebhookEndpoint]:
        """All webhook endpoints of the account in the key's mode."""
        call = self._client.v1.webhook_endpoints.list_async({"limit": 100})
        async with aclosing(self._pages(call, parse_endpoint)) as endpoints:
            return [endpoint async for endpoint in endpoints]

    async def create_endpoint(self, url: str) -> tuple[WebhookEndpoint, str]:
        """Creates an endpoint with Kvit's events and API version. Stripe shows its signing secret only here."""
        params: Any = {"url": url, "enabled_events": list(WEBHOOK_EVENT_TYPES), "api_version": API_VERSION}
        call = self._client.v1.webhook_endpoints.create_async(params)
        return await self._read(call, lambda body: (parse_endpoint(body), str(body["secret"])))

    async def update_endpoint(self, endpoint: WebhookEndpoint) -> WebhookEndpoint:
        """Enables an endpoint and sets its events to Kvit's."""
        params: Any = {"enabled_events": list(WEBHOOK_EVENT_TYPES), "disabled": False}
        return await self._read(self._client.v1.webhook_endpoints.update_async(endpoint.id, params), parse_endpoint)


def _delivered(body: Mapping[str, Any]) -> list[bool]:
    return [event["pending_webhooks"] == 0 for event in body["data"]]


def _shows_mobilepay(body: Mapping[str, Any]) -> bool:
    """By the default settings; those of a Connect platform (`application`) do not apply to own intents."""
    defaults = [it for it in body["data"] if it.get("is_default") and not it.get("application")]
    return any((it.get("mobilepay") or {}).get("available") for it in defaults)
