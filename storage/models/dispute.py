"""What a dispute is: a customer contests a payment at his bank, and Stripe says how that goes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from storage.models.money import Money

CLOSED_STATUSES = frozenset({"won", "lost", "warning_closed", "prevented"})
"""Stripe's words for a dispute that is over; all others (an open list) are not."""


@dataclass(frozen=True)
class Dispute:
    """One dispute as Stripe has it. `status` and `reason` are Stripe's words, `due_by` when evidence has to be in.

    `refundable` says whether the charge may still be refunded beside it.
    """

    id: str
    amount: Money
    status: str
    reason: str
    due_by: datetime | None = None
    refundable: bool = False

    @property
    def is_closed(self) -> bool:
        """Whether nothing more comes of it."""
        return self.status in CLOSED_STATUSES


@dataclass(frozen=True)
class FraudWarning:
    """A card network says that a payment may be fraud, before anybody disputes it; `fraud_type` is Stripe's word."""

    id: str
    fraud_type: str


def overall_status(disputes: Iterable[Dispute]) -> str | None:
    """One word for all disputes of a payment: open, lost, won, or None where there was none."""
    found = list(disputes)
    if any(not dispute.is_closed for dispute in found):
        return "open"
    if any(dispute.status == "lost" for dispute in found):
        return "lost"
    return "won" if found else None
