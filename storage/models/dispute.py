"""Disputes and early fraud warnings, as Stripe reports them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from storage.models.money import ForeignMoney, Money
from storage.models.payment import Payment

CLOSED_STATUSES = frozenset({"won", "lost", "warning_closed", "prevented"})
"""The statuses of a closed dispute. Stripe may add statuses; those not listed count as open."""


@dataclass(frozen=True)
class Dispute:
    """A dispute of a payment.

    `amount` need not be in the payment's currency. `status` and `reason` are Stripe's open strings, `due_by` is the
    deadline for evidence, `created_at` Stripe's time of the dispute (aware UTC). `refundable`: the charge can still be
    refunded. `withdrawn_at` and `reinstated_at` are Stripe's times at which the amount left the balance and came back;
    an inquiry withdraws nothing.
    """

    id: str
    amount: Money | ForeignMoney
    status: str
    reason: str
    due_by: datetime | None = None
    refundable: bool = False
    withdrawn_at: datetime | None = None
    reinstated_at: datetime | None = None
    created_at: datetime | None = None

    def amount_of(self, payment: Payment) -> int:
        """What it takes of the payment, in minor units of the payment's currency; all where the currencies differ."""
        is_same = self.amount.currency == payment.amount.currency
        return self.amount.minor if is_same else payment.amount_received

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
