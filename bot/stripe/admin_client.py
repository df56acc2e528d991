"""The second door to Stripe: the calls that only setting up and checking need, beside those of the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import stripe

from bot.stripe.gateway import StripeGateway
from bot.stripe.serialization import EVENT_TYPES
from bot.stripe.webhook_endpoint import WebhookEndpoint, parse_endpoint

API_VERSION = stripe.api_version
"""The one that the SDK speaks; an endpoint has to speak it too."""

ANSWER_SECONDS = 6.0
NEWEST_EVENTS = 20


class StripeAdminClient(StripeGateway):
    """Stripe for one key, as an operator sees it. Every call raises `GatewayError`; `permission` says a lacking right.

    Somebody waits at a terminal for its answers, so it gives up sooner than the gateway of the service.
    """

    def __init__(self, api_key: str, *, api_base: str | None = None) -> None:
        super().__init__(api_key, api_base=api_base, timeout=ANSWER_SECONDS)

    @property
    def date(self) -> datetime | None:
        """What time it was at Stripe when it answered last, whatever it answered."""
        try:
            said = parsedate_to_datetime(self._wire.server_date)
        except ValueError:
            return None
        return said if said.tzinfo else None

    async def probe_intents(self) -> None:
        """Ask for one intent, which shows whether the key may look at them."""
        await self._read(self._intents.list_async({"limit": 1}), dict)

    async def look_at_refunds(self) -> None:
        """Ask for one refund, which shows whether the key may look at them."""
        await self._read(self._client.v1.refunds.list_async({"limit": 1}), dict)

    async def look_at_disputes(self) -> None:
        """Ask for one dispute, which shows whether the key may look at them."""
        await self._read(self._client.v1.disputes.list_async({"limit": 1}), dict)

    async def delivery_results(self, since: datetime, until: datetime) -> list[bool]:
        """Of each of the newest events between those times whether every endpoint took it, newest first."""
        created = {"gte": int(since.timestamp()), "lte": int(until.timestamp())}
        params: Any = {"types": list(EVENT_TYPES), "created": created, "limit": NEWEST_EVENTS}
        return await self._read(self._client.v1.events.list_async(params), _taken)

    async def has_mobilepay(self) -> bool:
        """Whether the account's payment method settings show MobilePay, as Stripe's automatic methods ask."""
        params: Any = {"limit": 100}
        return await self._read(self._client.v1.payment_method_configurations.list_async(params), _shows_mobilepay)

    async def endpoints(self) -> list[WebhookEndpoint]:
        """All webhook endpoints of this account and mode."""
        call = self._client.v1.webhook_endpoints.list_async({"limit": 100})
        async with aclosing(self._pages(call, parse_endpoint)) as found:
            return [endpoint async for endpoint in found]

    async def create_endpoint(self, url: str) -> tuple[WebhookEndpoint, str]:
        """A new endpoint with our events and API version, and its signing secret, which is shown only now."""
        params: Any = {"url": url, "enabled_events": list(EVENT_TYPES), "api_version": API_VERSION}
        call = self._client.v1.webhook_endpoints.create_async(params)
        return await self._read(call, lambda said: (parse_endpoint(said), str(said["secret"])))

    async def update_endpoint(self, endpoint: WebhookEndpoint) -> WebhookEndpoint:
        """Have an endpoint bring exactly our events, and switch it on."""
        params: Any = {"enabled_events": list(EVENT_TYPES), "disabled": False}
        return await self._read(self._client.v1.webhook_endpoints.update_async(endpoint.id, params), parse_endpoint)


def _taken(said: Mapping[str, Any]) -> list[bool]:
    return [event["pending_webhooks"] == 0 for event in said["data"]]


def _shows_mobilepay(said: Mapping[str, Any]) -> bool:
    """By the default settings; those of a Connect platform (`application`) are not for our own intents."""
    defaults = [it for it in said["data"] if it.get("is_default") and not it.get("application")]
    return any((it.get("mobilepay") or {}).get("available") for it in defaults)
