"""What Stripe, Kvit and Telegram say to each other, one row for each thing said, for the strip beside the phones."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import Any

from bot.sandbox.demo.stack import Market
from bot.sandbox.fake_stripe import Delivery, Request
from bot.sandbox.fake_stripe.ledger import plain
from bot.sandbox.fake_telegram import Entry

Json = dict[str, Any]
LONGEST = 3000
"""Characters of a row's details; what is longer is cut."""

ID = re.compile(r"\b(?:pi|ch|re|pm|evt|we)_\w+")
"""One of Stripe's ids in a path, which says nothing in a narrow column."""

MOST_OLD = 150
"""Rows that a page gets of what was said before it was there."""


class Talk:
    """Reads three records side by side, each from where it stopped the last time."""

    def __init__(self, market: Market) -> None:
        self._stripe = market.vendors.stripe
        self._telegram = market.vendors.telegram
        self._entries = self._requests = self._deliveries = 0
        self._unanswered: list[int] = []

    def news(self) -> list[Json]:
        """What was said since, oldest first; a request comes again once it is answered."""
        rows = [*self._calls(), *self._asked(), *self._webhooks()]
        return sorted(rows, key=lambda row: str(row["at"]))[-MOST_OLD:]

    def _calls(self) -> list[Json]:
        entries = self._telegram.transcript
        first, self._entries = self._entries, len(entries)
        return [_call(number, entry) for number, entry in enumerate(entries[first:], first)]

    def _asked(self) -> list[Json]:
        requests = self._stripe.ledger.requests
        numbers = [*self._unanswered, *range(self._requests, len(requests))]
        self._requests = len(requests)
        self._unanswered = [number for number in numbers if _waits(requests[number])]
        return [_request(number, requests[number]) for number in numbers if not _waits(requests[number])]

    def _webhooks(self) -> list[Json]:
        deliveries = self._stripe.ledger.deliveries
        first, self._deliveries = self._deliveries, len(deliveries)
        return [self._webhook(number, delivery) for number, delivery in enumerate(deliveries[first:], first)]

    def _webhook(self, number: int, delivery: Delivery) -> Json:
        event = self._stripe.ledger.events[delivery.event]
        said = "no answer" if delivery.status is None else str(delivery.status)
        row = {"id": f"w{number}", "at": delivery.at.isoformat(), "way": "Stripe → Kvit", "what": event["type"]}
        return row | {"said": said, "well": said == "200", "more": _cut(event["data"]["object"])}


def _waits(request: Request) -> bool:
    return request.status is None and request.fault is None


def _call(number: int, entry: Entry) -> Json:
    out = entry.direction == "out"
    refused = isinstance(entry.result, dict) and entry.result.get("ok") is False
    said = entry.fault or (str(entry.result["error_code"]) if refused else "ok")
    way = "Kvit → Telegram" if out else "Telegram → Kvit"
    row = {"id": f"t{number}", "at": entry.at.isoformat(), "way": way, "what": entry.method}
    more = {"params": entry.params, "result": entry.result}
    return row | {"said": said if out else "", "well": said == "ok", "more": _cut(more)}


def _request(number: int, request: Request) -> Json:
    said = request.fault or str(request.status)
    what = f"{request.method} {ID.sub('…', request.path)}"
    row = {"id": f"s{number}", "at": request.at.isoformat(), "way": "Kvit → Stripe", "what": what}
    return row | {"said": said, "well": said == "200", "more": _cut(plain(asdict(request)))}


def _cut(thing: Any) -> str:
    """As JSON that a person can read."""
    text = json.dumps(thing, indent=1, ensure_ascii=False)
    return text if len(text) <= LONGEST else text[:LONGEST] + " …"
