"""The changes of one intent in the fake Stripe's ledger, in order: attempts, payment, refunds and disputes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from bot.sandbox.fake_stripe import Attempt, ObjectStore, RequestRecord

ROOT = "/v1/payment_intents"
STATE_AFTER_ATTEMPT = {"declined": "failed", "expired": "expired"}
STATE_AFTER_EVENT = {
    "payment_intent.succeeded": "paid",
    "payment_intent.amount_capturable_updated": "reserved",
    "payment_intent.canceled": "canceled",
}
NOT_EXECUTED_STATUSES = {409, 429}
REFUNDS = "/v1/refunds"
UNSUCCESSFUL_REFUND_STATUSES = frozenset({"failed", "canceled"})


@dataclass(frozen=True)
class PaymentChange:
    """`state` is open, failed, expired, reserved, paid or canceled; an open one has its `attempt`.

    After *paid* it is refunded, partly_refunded or paid_again, once for each change of `amount_refunded` (minor units).
    """

    at: datetime
    state: str
    number: int = 0
    attempt: Attempt | None = None
    amount_refunded: int = 0

    @property
    def link_usable_until(self) -> datetime:
        """Until when the link of an open attempt may be handed out: the first four fifths of its lifetime."""
        assert self.attempt is not None
        return self.attempt.started_at + (self.attempt.expires_at - self.attempt.started_at) * 4 / 5


def intents_of(ledger: ObjectStore, payment_id: str) -> list[str]:
    """The ids of all intents whose metadata names the payment."""
    return [key for key, intent in ledger.intents.items() if intent["metadata"].get("kvit_payment") == payment_id]


def payment_changes(ledger: ObjectStore, intent_id: str) -> list[PaymentChange]:
    """All changes of an intent, oldest first."""
    changes = (
        *_attempt_changes(ledger, intent_id),
        *_event_changes(ledger, intent_id),
        *_amount_refunded_changes(ledger, intent_id),
    )
    return sorted(changes, key=lambda change: change.at)


@dataclass(frozen=True)
class StatusChange:
    """A refund or dispute got this `status` (Stripe's word); `amount` is in minor units."""

    at: datetime
    id: str
    status: str
    amount: int


def refund_changes(ledger: ObjectStore, intent_id: str) -> list[StatusChange]:
    """All status changes of the refunds of an intent, oldest first."""
    return list(_status_changes(ledger, intent_id, "refund."))


def dispute_changes(ledger: ObjectStore, intent_id: str) -> list[StatusChange]:
    """All status changes of the disputes of an intent, oldest first."""
    return list(_status_changes(ledger, intent_id, "charge.dispute."))


def amount_in_refunds(changes: Iterable[StatusChange], at: datetime) -> int:
    """The sum of the refunds that were succeeded or under way at that time, in minor units."""
    latest = {change.id: change for change in changes if change.at <= at}
    return sum(change.amount for change in latest.values() if change.status not in UNSUCCESSFUL_REFUND_STATUSES)


def refund_requests(ledger: ObjectStore, refund_id: str) -> list[RequestRecord]:
    """The executed requests for a refund of ours, without responses replayed by key."""
    sent = [r for r in ledger.requests if r.method == "POST" and r.path == REFUNDS]
    return [r for r in sent if r.params.get("metadata", {}).get("kvit_refund") == refund_id and _was_executed(r)]


def intent_requests(ledger: ObjectStore, intent_id: str, action: str) -> list[RequestRecord]:
    """The executed requests to confirm, capture or cancel an intent, without responses replayed by key."""
    path = f"{ROOT}/{intent_id}/{action}"
    return [r for r in ledger.requests if r.method == "POST" and r.path == path and _was_executed(r)]


def successful_charges(ledger: ObjectStore, intent_ids: list[str]) -> list[str]:
    """The charges that took or hold money."""
    charges = ledger.charges.values()
    return [c["id"] for c in charges if c["status"] == "succeeded" and c["payment_intent"] in intent_ids]


def confirm_requests(ledger: ObjectStore, intent_id: str) -> list[RequestRecord]:
    """The executed confirms after the first attempt, rejected ones included, without responses replayed by key."""
    return intent_requests(ledger, intent_id, "confirm")


def open_attempt_at(ledger: ObjectStore, intent_id: str, at: datetime) -> Attempt | None:
    """The attempt that the customer could authorize at that time."""
    for attempt in ledger.attempts.get(intent_id, []):
        if attempt.started_at < at and (attempt.ended_at is None or attempt.ended_at > at):
            return attempt
    return None


def _attempt_changes(ledger: ObjectStore, intent_id: str) -> Iterator[PaymentChange]:
    for attempt in ledger.attempts.get(intent_id, []):
        yield PaymentChange(attempt.started_at, "open", attempt.number, attempt)
        if attempt.ended_at is not None and attempt.outcome in STATE_AFTER_ATTEMPT:
            yield PaymentChange(attempt.ended_at, STATE_AFTER_ATTEMPT[attempt.outcome], attempt.number)


def _event_changes(ledger: ObjectStore, intent_id: str) -> Iterator[PaymentChange]:
    for key, event in ledger.events.items():
        if event["type"] in STATE_AFTER_EVENT and event["data"]["object"]["id"] == intent_id:
            yield PaymentChange(ledger.event_times[key], STATE_AFTER_EVENT[event["type"]])


def _amount_refunded_changes(ledger: ObjectStore, intent_id: str) -> Iterator[PaymentChange]:
    """One for each change of the sum of succeeded refunds."""
    received, before = ledger.intents[intent_id]["amount_received"], 0
    succeeded: dict[str, int] = {}
    for change in refund_changes(ledger, intent_id):
        succeeded[change.id] = change.amount if change.status == "succeeded" else 0
        if (refunded := sum(succeeded.values())) != before:
            state = "refunded" if refunded >= received else "partly_refunded" if refunded else "paid_again"
            yield PaymentChange(change.at, state, amount_refunded=refunded)
            before = refunded


def _status_changes(ledger: ObjectStore, intent_id: str, event_prefix: str) -> Iterator[StatusChange]:
    status_of: dict[str, str] = {}
    for key, event in ledger.events.items():
        stripe_object = event["data"]["object"]
        if not event["type"].startswith(event_prefix) or stripe_object["payment_intent"] != intent_id:
            continue
        if status_of.get(stripe_object["id"]) != stripe_object["status"]:
            status_of[stripe_object["id"]] = stripe_object["status"]
            amount = stripe_object["amount"]
            yield StatusChange(ledger.event_times[key], stripe_object["id"], stripe_object["status"], amount)


def _was_executed(request: RequestRecord) -> bool:
    return not (request.replayed or (request.fault or "").endswith("before") or request.status in NOT_EXECUTED_STATUSES)
