"""Stripe's webhook endpoints: which one is Kvit's, and whether it is set up right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bot.settings import Settings
from bot.stripe.serialization import WEBHOOK_EVENT_TYPES

ROUTE = "/stripe/webhook"
ALL_EVENTS = "*"


@dataclass(frozen=True)
class WebhookEndpoint:
    """A webhook endpoint. Without an `api_version` its events have that of the account."""

    id: str
    url: str
    api_version: str | None
    events: frozenset[str]
    enabled: bool

    @property
    def missing(self) -> list[str]:
        """Kvit's events that this endpoint does not receive."""
        return [] if ALL_EVENTS in self.events else [kind for kind in WEBHOOK_EVENT_TYPES if kind not in self.events]

    @property
    def has_exact_events(self) -> bool:
        """Whether it is enabled for Kvit's events and no others."""
        return self.enabled and self.events == set(WEBHOOK_EVENT_TYPES)


def parse_endpoint(body: Mapping[str, Any]) -> WebhookEndpoint:
    """An endpoint from Stripe's JSON. Raises KeyError or TypeError for anything else."""
    events = frozenset(body["enabled_events"])
    return WebhookEndpoint(body["id"], body["url"], body.get("api_version"), events, body["status"] == "enabled")


def url_of(settings: Settings) -> str | None:
    """The webhook URL; None where Stripe cannot reach it: the real Stripe sends to https only."""
    address = settings.public_url or ""
    reachable = address.startswith("https://") or (address and settings.stripe_api_base)
    return f"{address}{ROUTE}" if reachable else None


def partition_endpoints(
    endpoints: Iterable[WebhookEndpoint], url: str, version: str
) -> tuple[WebhookEndpoint | None, list[WebhookEndpoint]]:
    """Kvit's endpoint, and others with the same URL, which are too many.

    Kvit's has this API version, which cannot be changed later; of several, the one that needs the least change.
    """
    here = [endpoint for endpoint in endpoints if endpoint.url == url]
    fitting = [endpoint for endpoint in here if endpoint.api_version == version]
    ours = min(fitting, key=lambda it: (not it.has_exact_events, not it.enabled, it.missing), default=None)
    return ours, [endpoint for endpoint in here if endpoint is not ours]
