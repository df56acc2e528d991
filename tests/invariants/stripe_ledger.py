"""What Stripe's ledger says of one intent: what came to hold of it, and when, one thing after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from bot.sandbox.fake_stripe import Attempt, ObjectStore, RequestRecord

ROOT = "/v1/payment_intents"
AFTER_AN_ATTEMPT = {"declined": "failed", "expired": "expired"}
EVENTS = {
    "payment_intent.succeeded": "paid",
    "payment_intent.amount_capturable_updated": "reserved",
    "payment_intent.canceled": "canceled",
}
NEVER_DONE = {409, 429}
REFUNDS = "/v1/refunds"
CAME_TO_NOTHING = frozenset({"failed", "canceled"})


@dataclass(frozen=True)
class Turn:
    """`state` is open, failed, lapsed, reserved, paid or canceled; an open one has its `attempt`.

    After *paid* it is refunded, partly refunded or paid again, each time that what went `back` has changed.
    """

    at: datetime
    state: str
    number: int = 0
    attempt: Attempt | None = None
    back: int = 0

    @property
    def fresh_until(self) -> datetime:
        """Until when the link of an open attempt may be handed out: the first four fifths of its life."""
        assert self.attempt is not None
        return self.attempt.started_at + (self.attempt.expires_at - self.attempt.started_at) * 4 / 5


def intents_of(payments: ObjectStore, payment_id: str) -> list[str]:
    """Every intent that names the payment."""
    return [key for key, intent in payments.intents.items() if intent["metadata"].get("kvit_payment") == payment_id]


def turns(payments: ObjectStore, intent_id: str) -> list[Turn]:
    """All that came to hold of an intent, oldest first."""
    found = (*_by_attempts(payments, intent_id), *_by_events(payments, intent_id), *_by_refunds(payments, intent_id))
    return sorted(found, key=lambda turn: turn.at)


@dataclass(frozen=True)
class Move:
    """A refund or a dispute at Stripe came to stand so."""

    at: datetime
    id: str
    state: str
    amount: int


def refund_moves(payments: ObjectStore, intent_id: str) -> list[Move]:
    """All that became of the refunds of an intent, oldest first."""
    return list(_moves(payments, intent_id, "refund."))


def dispute_moves(payments: ObjectStore, intent_id: str) -> list[Move]:
    """All that became of the disputes of an intent, oldest first."""
    return list(_moves(payments, intent_id, "charge.dispute."))


def not_failed(moves: Iterable[Move], at: datetime) -> int:
    """What had gone back by then or was on its way, in minor units."""
    latest = {move.id: move for move in moves if move.at <= at}
    return sum(move.amount for move in latest.values() if move.state not in CAME_TO_NOTHING)


def asked_for(payments: ObjectStore, refund_id: str) -> list[RequestRecord]:
    """The requests for a refund of ours that Stripe looked at; a repeat that its key answered is none."""
    asked = [r for r in payments.requests if r.method == "POST" and r.path == REFUNDS]
    return [r for r in asked if r.params.get("metadata", {}).get("kvit_refund") == refund_id and _carried_out(r)]


def asked_to(payments: ObjectStore, intent_id: str, what: str) -> list[RequestRecord]:
    """The requests to capture or cancel an intent that Stripe looked at; a repeat that its key answered is none."""
    path = f"{ROOT}/{intent_id}/{what}"
    return [r for r in payments.requests if r.method == "POST" and r.path == path and _carried_out(r)]


def charges(payments: ObjectStore, intent_ids: list[str]) -> list[str]:
    """The charges that took or hold money."""
    found = payments.charges.values()
    return [c["id"] for c in found if c["status"] == "succeeded" and c["payment_intent"] in intent_ids]


def confirms(payments: ObjectStore, intent_id: str) -> list[RequestRecord]:
    """The further confirms that Stripe looked at, refused ones too; a repeat that its key answered is none."""
    return asked_to(payments, intent_id, "confirm")


def open_at(payments: ObjectStore, intent_id: str, at: datetime) -> Attempt | None:
    """The attempt that the customer could authorise at that time."""
    for attempt in payments.attempts.get(intent_id, []):
        if attempt.started_at < at and (attempt.ended_at is None or attempt.ended_at > at):
            return attempt
    return None


def _by_attempts(payments: ObjectStore, intent_id: str) -> Iterator[Turn]:
    for attempt in payments.attempts.get(intent_id, []):
        yield Turn(attempt.started_at, "open", attempt.number, attempt)
        if attempt.ended_at is not None and attempt.outcome in AFTER_AN_ATTEMPT:
            yield Turn(attempt.ended_at, AFTER_AN_ATTEMPT[attempt.outcome], attempt.number)


def _by_events(payments: ObjectStore, intent_id: str) -> Iterator[Turn]:
    for key, event in payments.events.items():
        if event["type"] in EVENTS and event["data"]["object"]["id"] == intent_id:
            yield Turn(payments.event_times[key], EVENTS[event["type"]])


def _by_refunds(payments: ObjectStore, intent_id: str) -> Iterator[Turn]:
    """Each time that the sum of what went back has changed."""
    taken, before = payments.intents[intent_id]["amount_received"], 0
    done: dict[str, int] = {}
    for move in refund_moves(payments, intent_id):
        done[move.id] = move.amount if move.state == "succeeded" else 0
        if (back := sum(done.values())) != before:
            state = "refunded" if back >= taken else "partly refunded" if back else "paid again"
            yield Turn(move.at, state, back=back)
            before = back


def _moves(payments: ObjectStore, intent_id: str, kind: str) -> Iterator[Move]:
    standing: dict[str, str] = {}
    for key, event in payments.events.items():
        thing = event["data"]["object"]
        if not event["type"].startswith(kind) or thing["payment_intent"] != intent_id:
            continue
        if standing.get(thing["id"]) != thing["status"]:
            standing[thing["id"]] = thing["status"]
            yield Move(payments.event_times[key], thing["id"], thing["status"], thing["amount"])


def _carried_out(request: RequestRecord) -> bool:
    return not (request.replayed or (request.fault or "").endswith("before") or request.status in NEVER_DONE)
