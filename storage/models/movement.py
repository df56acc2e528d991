"""Movements of money: each is a fact at Stripe with its time, and never changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from storage.models.money import Money


class MovementKind(StrEnum):
    """Why money moved. A capture is the payment of a hold; a refund that failed brings its money back.

    The last three are of the Stripe account and of no payment of Kvit's; they are read from its balance transactions.
    """

    PAYMENT = "payment"
    CAPTURE = "capture"
    REFUND = "refund"
    REFUND_FAILED = "refund_failed"
    DISPUTE = "dispute"
    DISPUTE_WON = "dispute_won"
    STRIPE_FEE = "stripe_fee"
    PAYOUT = "payout"
    OTHER = "other"


RECEIVED = frozenset({MovementKind.PAYMENT, MovementKind.CAPTURE})
REFUNDED = frozenset({MovementKind.REFUND, MovementKind.REFUND_FAILED})
DISPUTED = frozenset({MovementKind.DISPUTE, MovementKind.DISPUTE_WON})


@dataclass(frozen=True)
class Movement:
    """One movement. `amount` is in minor units, negative for money out; `at` is Stripe's time in aware UTC.

    `about` is our id of the payment or refund, or Stripe's of the dispute; `stripe_id` its id at Stripe.
    """

    kind: MovementKind
    about: str
    stripe_id: str
    amount: int
    at: datetime

    @property
    def key(self) -> str:
        """What identifies it: money moves once for each kind and object."""
        return f"{self.kind}:{self.about}"


@dataclass(frozen=True)
class CreditNote:
    """The document of a refund that succeeded, or the one that cancels it because the refund failed after all.

    `number` counts without a gap within the shop and its mode (test or live); cancellations are numbered with the
    credit notes. `at` is Stripe's time of the refund or of the failure (aware UTC). `refunded_before` is how much of
    the payment was refunded before the refund, in minor units.
    """

    refund_id: str
    number: int
    amount: Money
    refunded_before: int
    at: datetime
    is_cancellation: bool = False


@dataclass(frozen=True)
class Totals:
    """What a shop received, refunded and lost to disputes in a period, in one currency.

    `refunded` and `disputed` are what went out less what came back; negative if more came back than went out.
    """

    received: Money
    payments: int
    refunded: Money
    refunds: int
    disputed: Money

    @property
    def net(self) -> Money:
        """What remains."""
        return Money(self.received.minor - self.refunded.minor - self.disputed.minor, self.received.currency)
