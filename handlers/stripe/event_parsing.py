"""Stripe's events: parses the few fields that are used, which are all that is stored of an event."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from storage.models.job import Job, NewJob

RELATED_OBJECTS = frozenset({"charge", "refund", "dispute", "radar.early_fraud_warning"})
"""Objects that name the intent they belong to. Their own metadata need not be the intent's."""

PAYOUT = "payout"
"""The object of events about payouts, which are of the whole account."""

CUSTOMER_RETURNED = "customer_returned"
"""The kind of a job in the events queue: the customer came back from the wallet. The payload is the payment's id."""

THIN_HINT = (
    "Stripe sends thin events, which do not say enough for Kvit: "
    'the payload style of the webhook endpoint has to be "snapshot". '
    "Run `python -m bot setup-webhooks`, which makes such an endpoint, and remove the other one in the Dashboard."
)

_MAX_CREATED = 2**33
"""Seconds since 1970 (in the year 2242). A later time is not one of Stripe's."""

_ID = re.compile(r"[!-~]{1,255}")
"""Ids and types are printable ASCII. Other characters are not Stripe's, and some databases cannot store them."""


class InvalidEvent(Exception):
    """The body is not UTF-8, not JSON, or not a snapshot event of Stripe's."""


class ThinEvent(Exception):
    """An event without its object, which Kvit cannot use; the text tells the operator what to change."""


@dataclass(frozen=True)
class StripeEvent:
    """An event reduced to what it points at.

    `intent_id` is the PaymentIntent it is about; `is_ours` if Kvit may have created that intent. `payment_id` is taken
    from the object's metadata and unverified. `payout_id` is the payout it is about. `created` is Stripe's time of the
    event, in seconds since 1970.
    """

    id: str
    type: str
    livemode: bool
    intent_id: str | None
    is_ours: bool
    payment_id: str | None = None
    created: int | None = None
    payout_id: str | None = None


def parse_event(raw: bytes) -> StripeEvent:
    """Parses the body of an event.

    Raises:
        InvalidEvent: also for JSON that is nested too deeply, and if `id`, `type` or `livemode` is missing.
        ThinEvent: the endpoint's payload style is not "snapshot".
    """
    try:
        event = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        raise InvalidEvent("the body is not JSON in UTF-8") from None
    if not isinstance(event, dict):
        raise InvalidEvent("the body is not an object")
    event_id, event_type, livemode = _id(event.get("id")), _id(event.get("type")), event.get("livemode")
    if event_id is None or event_type is None or not isinstance(livemode, bool):
        raise InvalidEvent("the body lacks an id, a type or a livemode")
    if _is_thin(event):
        raise ThinEvent(THIN_HINT)
    subject = event_object(event)
    intent_id, payment_id = intent_of(subject), payment_of(subject)
    payout_id = _id(subject.get("id")) if subject.get("object") == PAYOUT else None
    is_ours = payout_id is not None or (intent_id is not None and _may_be_ours(subject))
    created = event.get("created")
    created = created if type(created) is int and 0 < created < _MAX_CREATED else None
    return StripeEvent(event_id, event_type, livemode, intent_id, is_ours, payment_id, created, payout_id)


def _is_thin(event: dict[str, Any]) -> bool:
    """Whether it only names an object: `object` is `v2.core.event`, and `related_object` stands for `data.object`."""
    return not event_object(event) and (
        str(event.get("object")).startswith("v2.") or isinstance(event.get("related_object"), dict)
    )


def event_job(event: StripeEvent) -> NewJob:
    """The job that stores an event: what it points at and nothing else, so no secret and no customer's data.

    Webhook and backfill make the same job of an event.
    """
    payload = json.dumps(vars(event), separators=(",", ":")).encode()
    return NewJob(event.id, event.intent_id or event.payout_id or event.id, event.type, payload)


def event_of_job(job: Job) -> StripeEvent:
    """The event that `event_job` stored."""
    return StripeEvent(**json.loads(job.payload))


def event_object(event: Any) -> dict[str, Any]:
    """The event's `data.object`; empty if there is none."""
    return _object(_object(_object(event).get("data")).get("object"))


def intent_of(stripe_object: dict[str, Any]) -> str | None:
    """The id of the PaymentIntent that an object is, or names."""
    if stripe_object.get("object") == "payment_intent":
        return _id(stripe_object.get("id"))
    intent = stripe_object.get("payment_intent")
    return _id(_object(intent).get("id") if isinstance(intent, dict) else intent)


def payment_of(stripe_object: dict[str, Any]) -> str | None:
    """The id of our payment, from an object's metadata."""
    return _id(_object(stripe_object.get("metadata")).get("kvit_payment"))


def _may_be_ours(stripe_object: dict[str, Any]) -> bool:
    """Whether Kvit may have created the intent: only an intent's own metadata can rule that out."""
    if stripe_object.get("object") == "payment_intent":
        return isinstance(_object(stripe_object.get("metadata")).get("kvit_payment"), str)
    return stripe_object.get("object") in RELATED_OBJECTS


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _id(value: Any) -> str | None:
    return value if isinstance(value, str) and _ID.fullmatch(value) else None
