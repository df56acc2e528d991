"""The little of Stripe's event that the door has to read, and the client secrets that it must not keep."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from storage.models.job import NewJob

RELATED_OBJECTS = frozenset({"charge", "refund", "dispute", "radar.early_fraud_warning"})
"""Objects that name the intent they belong to; their own metadata need not be the intent's."""

_LATEST = 2**33
"""Seconds; a later time is none of Stripe's."""

_WORD = re.compile(r"[!-~]{1,255}")
"""Ids and types are printable ASCII; anything else is none of Stripe's, and some databases could not keep it."""

_CLIENT_SECRET = re.compile(rb'("client_secret"\s*:\s*)"(?:[^"\\]|\\.)*"', re.DOTALL)
_SECRET_ANYWHERE = re.compile(rb"[a-z]{1,12}_[A-Za-z0-9]{1,255}_secret_[A-Za-z0-9_-]+")


class InvalidEvent(Exception):
    """The body is not UTF-8, not JSON, or not one of Stripe's snapshot events."""


@dataclass(frozen=True)
class StripeEvent:
    """An event as a pointer. `intent_id` is the PaymentIntent it is about; `ours` if Kvit may have made that intent.

    `payment_id` is what the object's metadata says is our payment: a hint, to be held against Stripe. `created` is
    Stripe's time of the event in seconds since 1970.
    """

    id: str
    type: str
    livemode: bool
    intent_id: str | None
    is_ours: bool
    payment_id: str | None = None
    created: int | None = None


def parse_event(raw: bytes) -> StripeEvent:
    """Read the pointer out of the body.

    Raises:
        NotAnEvent: also for JSON that is nested too deeply, and for what lacks `id`, `type` or `livemode`.
    """
    try:
        said = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        raise InvalidEvent("the body is not JSON in UTF-8") from None
    if not isinstance(said, dict):
        raise InvalidEvent("the body is not an object")
    event_id, kind, livemode = _word(said.get("id")), _word(said.get("type")), said.get("livemode")
    if event_id is None or kind is None or not isinstance(livemode, bool):
        raise InvalidEvent("the body lacks an id, a type or a livemode")
    thing = event_object(said)
    intent_id, payment_id = intent_of(thing), payment_of(thing)
    ours = intent_id is not None and _may_be_ours(thing)
    created = said.get("created")
    at = created if type(created) is int and 0 < created < _LATEST else None
    return StripeEvent(event_id, kind, livemode, intent_id, ours, payment_id, at)


def event_job(event: StripeEvent, raw: bytes) -> NewJob:
    """The mail that keeps an event, without its client secrets: by whichever way it came, it is the same mail."""
    return NewJob(event.id, event.intent_id or event.id, event.type, strip_client_secrets(raw))


def strip_client_secrets(raw: bytes) -> bytes:
    """The same event, every client secret blanked, wherever it is nested; it stays valid JSON."""
    blanked = _CLIENT_SECRET.sub(rb'\1""', raw)
    return _SECRET_ANYWHERE.sub(b"", blanked) if b"_secret_" in blanked else blanked


def event_object(said: Any) -> dict[str, Any]:
    """The object that an event is about; an empty one if there is none that can be read."""
    return _object(_object(_object(said).get("data")).get("object"))


def intent_of(thing: dict[str, Any]) -> str | None:
    """The id of the PaymentIntent that an object is, or names."""
    if thing.get("object") == "payment_intent":
        return _word(thing.get("id"))
    intent = thing.get("payment_intent")
    return _word(_object(intent).get("id") if isinstance(intent, dict) else intent)


def payment_of(thing: dict[str, Any]) -> str | None:
    """What an object's metadata says is our payment."""
    return _word(_object(thing.get("metadata")).get("kvit_payment"))


def _may_be_ours(thing: dict[str, Any]) -> bool:
    """An intent says by its metadata whether Kvit made it; what hangs on an intent may not."""
    if thing.get("object") == "payment_intent":
        return isinstance(_object(thing.get("metadata")).get("kvit_payment"), str)
    return thing.get("object") in RELATED_OBJECTS


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and _WORD.fullmatch(value) else None


CUSTOMER_RETURNED = "customer_returned"
"""The kind of mail that says that a customer came back from the wallet: its body is our payment's id."""
