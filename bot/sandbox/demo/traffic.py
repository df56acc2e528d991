"""The calls between Stripe, Kvit and Telegram, as rows of the demo page's traffic list."""

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
"""Characters of a row's details; the rest is cut off."""

STRIPE_ID = re.compile(r"\b(?:pi|ch|re|pm|evt|we)_\w+")
"""A Stripe id in a path; rows show `…` instead, because the column is narrow."""

MAX_ROWS = 150
"""Rows that a page gets at once; older ones are left out."""


class Traffic:
    """Reads Telegram's transcript, Stripe's requests and Stripe's webhooks, each from the last position.

    It begins with what the first person does: the calls with which Kvit starts are left out.
    """

    def __init__(self, stack: DemoStack) -> None:
        self._stripe = stack.services.stripe
        self._telegram = stack.services.telegram
        self._entries = self._requests = self._deliveries = self._refused = self._refused_by_telegram = 0
        self._pending: list[int] = []
        self._has_begun = False

    def new_rows(self) -> list[Json]:
        """The rows since the last call, oldest first. A request appears once it has a response."""
        if not (self._has_begun or self._begin()):
            return []
        rows = [*self._telegram_rows(), *self._stripe_rows(), *self._webhook_rows(), *self._refused_rows()]
        return sorted(rows, key=lambda row: str(row["at"]))[-MAX_ROWS:]

    def _begin(self) -> bool:
        entries, store = self._telegram.transcript, self._stripe.store
        first = next((number for number, entry in enumerate(entries) if entry.direction == "in"), None)
        if first is None:
            return False
        at = entries[first].at
        self._entries = first
        self._requests = sum(request.at < at for request in store.requests)
        self._deliveries = sum(delivery.at < at for delivery in store.deliveries)
        self._refused = sum(request.at < at for request in store.refused)
        self._refused_by_telegram = sum(moment < at for moment, _ in self._telegram.state.refused)
        self._has_begun = True
        return True

    def _refused_rows(self) -> list[Json]:
        """Calls that got no response, because the service was down."""
        by_stripe, by_telegram = self._stripe.store.refused, self._telegram.state.refused
        first, self._refused = self._refused, len(by_stripe)
        rows = [_stripe_row(number, it, prefix="d") for number, it in enumerate(by_stripe[first:], first)]
        first, self._refused_by_telegram = self._refused_by_telegram, len(by_telegram)
        for number, (at, method) in enumerate(by_telegram[first:], first):
            row = {"id": f"u{number}", "at": at.isoformat(), "direction": "Kvit → Telegram", "call": method}
            rows.append(row | {"result": "no response", "ok": False, "details": "Telegram was down."})
        return rows

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
        result = "no response" if delivery.status is None else str(delivery.status)
        row = {"id": f"w{number}", "at": delivery.at.isoformat(), "direction": "Stripe → Kvit", "call": event["type"]}
        return row | {"result": result, "ok": result == "200", "details": _details(event["data"]["object"])}


def _is_pending(request: RequestRecord) -> bool:
    return request.status is None and request.fault is None


def _telegram_row(number: int, entry: TranscriptEntry) -> Json:
    is_call = entry.direction == "out"
    is_error = isinstance(entry.result, dict) and entry.result.get("ok") is False
    result = entry.fault or (str(entry.result["error_code"]) if is_error else "ok")
    direction = "Kvit → Telegram" if is_call else "Telegram → Kvit"
    row = {"id": f"t{number}", "at": entry.at.isoformat(), "direction": direction, "call": entry.method}
    details = _details({"params": entry.params, "result": entry.result})
    return row | {"result": result if is_call else "", "ok": result == "ok", "details": details}


def _stripe_row(number: int, request: RequestRecord, prefix: str = "s") -> Json:
    result = request.fault or str(request.status)
    call = f"{request.method} {STRIPE_ID.sub('…', request.path)}"
    row = {"id": f"{prefix}{number}", "at": request.at.isoformat(), "direction": "Kvit → Stripe", "call": call}
    return row | {"result": result, "ok": result == "200", "details": _details(to_json(asdict(request)))}


def _details(value: Any) -> str:
    """The value as indented JSON."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    return text if len(text) <= MAX_DETAILS else text[:MAX_DETAILS] + " …"
