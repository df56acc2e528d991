"""Stripe's webhook endpoints as plain data: which one is ours, and how it should be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bot.settings import Settings
from bot.stripe.serialization import EVENT_TYPES

ROUTE = "/stripe/webhook"
ALL_EVENTS = "*"


@dataclass(frozen=True)
class WebhookEndpoint:
    """One that Stripe knows; without an `api_version` its events have the shape of the account's own."""

    id: str
    url: str
    api_version: str | None
    events: frozenset[str]
    enabled: bool

    @property
    def missing(self) -> list[str]:
        """The events that Kvit needs and this endpoint does not bring."""
        return [] if ALL_EVENTS in self.events else [kind for kind in EVENT_TYPES if kind not in self.events]

    @property
    def has_exact_events(self) -> bool:
        """Whether it is on, and brings what Kvit needs and nothing else."""
        return self.enabled and self.events == set(EVENT_TYPES)


def parse_endpoint(said: Mapping[str, Any]) -> WebhookEndpoint:
    """Read a webhook endpoint's JSON.

    Raises:
        KeyError, TypeError: it is not one.
    """
    events = frozenset(said["enabled_events"])
    return WebhookEndpoint(said["id"], said["url"], said.get("api_version"), events, said["status"] == "enabled")


def url_of(settings: Settings) -> str | None:
    """Where Stripe is to send its events; None where it could not reach us: the real one sends to https only."""
    address = settings.public_url or ""
    reachable = address.startswith("https://") or (address and settings.stripe_api_base)
    return f"{address}{ROUTE}" if reachable else None


def partition_endpoints(
    endpoints: Iterable[WebhookEndpoint], url: str, version: str
) -> tuple[WebhookEndpoint | None, list[WebhookEndpoint]]:
    """Our endpoint and those at the same address that are too many.

    Ours has our API version, which cannot be changed afterwards; of several the one that needs the least change.
    """
    here = [endpoint for endpoint in endpoints if endpoint.url == url]
    fitting = [endpoint for endpoint in here if endpoint.api_version == version]
    ours = min(fitting, key=lambda it: (not it.has_exact_events, not it.enabled, it.missing), default=None)
    return ours, [endpoint for endpoint in here if endpoint is not ours]
