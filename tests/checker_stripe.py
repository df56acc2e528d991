"""What Stripe's ledger says of one intent: what came to hold of it, and when, one thing after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from bot.sandbox.fake_stripe import Attempt, Ledger, Request

ROOT = "/v1/payment_intents"
AFTER_AN_ATTEMPT = {"declined": "failed", "lapsed": "lapsed"}
EVENTS = {
    "payment_intent.succeeded": "paid",
    "payment_intent.amount_capturable_updated": "reserved",
    "payment_intent.canceled": "canceled",
}
NEVER_DONE = {409, 429}


@dataclass(frozen=True)
class Turn:
    """`state` is open, failed, lapsed, reserved, paid or canceled; an open one has its `attempt`."""

    at: datetime
    state: str
    number: int = 0
    attempt: Attempt | None = None

    @property
    def fresh_until(self) -> datetime:
        """Until when the link of an open attempt may be handed out: the first four fifths of its life."""
        assert self.attempt is not None
        return self.attempt.began + (self.attempt.ends - self.attempt.began) * 4 / 5


def intents_of(ledger: Ledger, payment_id: str) -> list[str]:
    """Every intent that names the payment."""
    return [key for key, intent in ledger.intents.items() if intent["metadata"].get("kvit_payment") == payment_id]


def turns(ledger: Ledger, intent_id: str) -> list[Turn]:
    """All that came to hold of an intent, oldest first."""
    return sorted([*_by_attempts(ledger, intent_id), *_by_events(ledger, intent_id)], key=lambda turn: turn.at)


def charges(ledger: Ledger, intent_ids: list[str]) -> list[str]:
    """The charges that took or hold money."""
    found = ledger.charges.values()
    return [c["id"] for c in found if c["status"] == "succeeded" and c["payment_intent"] in intent_ids]


def confirms(ledger: Ledger, intent_id: str) -> list[Request]:
    """The further confirms that Stripe looked at, refused ones too; a repeat that its key answered is none."""
    asked = [r for r in ledger.requests if r.method == "POST" and r.path == f"{ROOT}/{intent_id}/confirm"]
    return [r for r in asked if not (r.replayed or (r.fault or "").endswith("before") or r.status in NEVER_DONE)]


def open_at(ledger: Ledger, intent_id: str, at: datetime) -> Attempt | None:
    """The attempt that the customer could authorise at that time."""
    for attempt in ledger.attempts.get(intent_id, []):
        if attempt.began < at and (attempt.ended is None or attempt.ended > at):
            return attempt
    return None


def _by_attempts(ledger: Ledger, intent_id: str) -> Iterator[Turn]:
    for attempt in ledger.attempts.get(intent_id, []):
        yield Turn(attempt.began, "open", attempt.number, attempt)
        if attempt.ended is not None and attempt.outcome in AFTER_AN_ATTEMPT:
            yield Turn(attempt.ended, AFTER_AN_ATTEMPT[attempt.outcome], attempt.number)


def _by_events(ledger: Ledger, intent_id: str) -> Iterator[Turn]:
    for key, event in ledger.events.items():
        if event["type"] in EVENTS and event["data"]["object"]["id"] == intent_id:
            yield Turn(ledger.happened[key], EVENTS[event["type"]])
