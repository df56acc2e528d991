"""Disputes and early fraud warnings, as Stripe reports them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from storage.models.money import Money

CLOSED_STATUSES = frozenset({"won", "lost", "warning_closed", "prevented"})
"""The statuses of a closed dispute. Stripe may add statuses; those not listed count as open."""


@dataclass(frozen=True)
class Dispute:
    """A dispute of a payment.

    `status` and `reason` are Stripe's open strings, `due_by` is the deadline for evidence (aware UTC). `refundable`:
    the charge can still be refunded.
    """

    id: str
    amount: Money
    status: str
    reason: str
    due_by: datetime | None = None
    refundable: bool = False

    @property
    def is_closed(self) -> bool:
        """Whether the outcome is final."""
        return self.status in CLOSED_STATUSES


@dataclass(frozen=True)
class FraudWarning:
    """An early fraud warning of a card network. `fraud_type` is Stripe's open string."""

    id: str
    fraud_type: str


def overall_status(disputes: Iterable[Dispute]) -> str | None:
    """The status of all disputes of a payment together: `open`, `lost`, `won`, or None if there are none."""
    disputes = list(disputes)
    if any(not dispute.is_closed for dispute in disputes):
        return "open"
    if any(dispute.status == "lost" for dispute in disputes):
        return "lost"
    return "won" if disputes else None
