"""What Stripe, Kvit and Telegram say to each other, one row for each thing said, for the strip beside the phones."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import Any

from bot.sandbox.demo.stack import DemoStack
from bot.sandbox.fake_stripe import Delivery, RequestRecord
from bot.sandbox.fake_stripe.store import to_json
from bot.sandbox.fake_telegram import TranscriptEntry

Json = dict[str, Any]
MAX_DETAILS = 3000
"""Characters of a row's details; what is longer is cut."""

STRIPE_ID = re.compile(r"\b(?:pi|ch|re|pm|evt|we)_\w+")
"""One of Stripe's ids in a path, which says nothing in a narrow column."""

MAX_ROWS = 150
"""Rows that a page gets of what was said before it was there."""


class Traffic:
    """Reads three records side by side, each from where it stopped the last time."""

    def __init__(self, market: DemoStack) -> None:
        self._stripe = market.services.stripe
        self._telegram = market.services.telegram
        self._entries = self._requests = self._deliveries = 0
        self._pending: list[int] = []

    def new_rows(self) -> list[Json]:
        """What was said since, oldest first; a request comes again once it is answered."""
        rows = [*self._telegram_rows(), *self._stripe_rows(), *self._webhook_rows()]
        return sorted(rows, key=lambda row: str(row["at"]))[-MAX_ROWS:]

    def _telegram_rows(self) -> list[Json]:
        entries = self._telegram.transcript
        first, self._entries = self._entries, len(entries)
        return [_telegram_row(number, entry) for number, entry in enumerate(entries[first:], first)]

    def _stripe_rows(self) -> list[Json]:
        requests = self._stripe.store.requests
        numbers = [*self._pending, *range(self._requests, len(requests))]
        self._requests = len(requests)
        self._pending = [number for number in numbers if _is_pending(requests[number])]
        return [_stripe_row(number, requests[number]) for number in numbers if not _is_pending(requests[number])]

    def _webhook_rows(self) -> list[Json]:
        deliveries = self._stripe.store.deliveries
        first, self._deliveries = self._deliveries, len(deliveries)
        return [self._webhook_row(number, delivery) for number, delivery in enumerate(deliveries[first:], first)]

    def _webhook_row(self, number: int, delivery: Delivery) -> Json:
        event = self._stripe.store.events[delivery.event]
        said = "no answer" if delivery.status is None else str(delivery.status)
        row = {"id": f"w{number}", "at": delivery.at.isoformat(), "way": "Stripe → Kvit", "what": event["type"]}
        return row | {"said": said, "well": said == "200", "more": _details(event["data"]["object"])}


def _is_pending(request: RequestRecord) -> bool:
    return request.status is None and request.fault is None


def _telegram_row(number: int, entry: TranscriptEntry) -> Json:
    out = entry.direction == "out"
    refused = isinstance(entry.result, dict) and entry.result.get("ok") is False
    said = entry.fault or (str(entry.result["error_code"]) if refused else "ok")
    way = "Kvit → Telegram" if out else "Telegram → Kvit"
    row = {"id": f"t{number}", "at": entry.at.isoformat(), "way": way, "what": entry.method}
    more = {"params": entry.params, "result": entry.result}
    return row | {"said": said if out else "", "well": said == "ok", "more": _details(more)}


def _stripe_row(number: int, request: RequestRecord) -> Json:
    said = request.fault or str(request.status)
    what = f"{request.method} {STRIPE_ID.sub('…', request.path)}"
    row = {"id": f"s{number}", "at": request.at.isoformat(), "way": "Kvit → Stripe", "what": what}
    return row | {"said": said, "well": said == "200", "more": _details(to_json(asdict(request)))}


def _details(thing: Any) -> str:
    """As JSON that a person can read."""
    text = json.dumps(thing, indent=1, ensure_ascii=False)
    return text if len(text) <= MAX_DETAILS else text[:MAX_DETAILS] + " …"
