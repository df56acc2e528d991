"""Stripe's balance transactions and payouts, as Stripe reports them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from storage.models.money import ForeignMoney, Money
from storage.models.movement import MovementKind

FEE_TYPES = frozenset({"stripe_fee", "stripe_fx_fee", "tax_fee"})
"""The types of balance transactions that are a fee by themselves, such as MobilePay's daily and monthly fees."""

PAYOUT = "payout"
PAYOUT_TYPES = frozenset({PAYOUT, "payout_cancel", "payout_failure"})
"""The types that move money to the bank account, or back from it if a payout failed."""

TAX = frozenset({"tax", "withheld_tax"})
"""The types of fee details that are tax."""

PAID = "paid"
"""Stripe's status of a payout that arrived; it may still turn into `failed` within five business days."""

ENDED_UNPAID = frozenset({"failed", "canceled"})


@dataclass(frozen=True)
class FeeDetail:
    """A part of a fee, in minor units of the transaction's currency. `type` is Stripe's open string."""

    type: str
    amount: int


@dataclass(frozen=True)
class BalanceTransaction:
    """A change of Stripe's balance, in minor units of the settlement `currency` (upper case); money out is negative.

    `net` is `amount` less `fee`. `source` is the id of the charge, refund, dispute or payout it is about, None for some
    fees. `exchange_rate` is from the payment's currency, as Stripe writes it, None without conversion. `type` is an
    open string. Times are Stripe's, in aware UTC.
    """

    stripe_id: str
    type: str
    source: str | None
    amount: int
    fee: int
    net: int
    currency: str
    fee_details: tuple[FeeDetail, ...]
    exchange_rate: str | None
    created_at: datetime
    available_on: datetime

    @property
    def direction(self) -> int:
        """1 for money in, -1 for money out."""
        return -1 if (self.amount or self.net) < 0 else 1

    @property
    def tax(self) -> int:
        """The part of the fee that is tax."""
        return sum(detail.amount for detail in self.fee_details if detail.type in TAX)


@dataclass(frozen=True)
class Payout:
    """A payout to the bank account, in minor units of `currency` (upper case).

    `status` and `reconciliation` are Stripe's open strings. Stripe can tell what a payout consists of only if it is
    `automatic` and its `reconciliation` is `completed`. `arrival_on` is when it arrives (aware UTC).
    """

    stripe_id: str
    amount: int
    currency: str
    status: str
    automatic: bool
    reconciliation: str
    created_at: datetime
    arrival_on: datetime

    @property
    def can_be_itemized(self) -> bool:
        """Whether Stripe can list its transactions now."""
        return self.automatic and self.reconciliation == "completed"


@dataclass(frozen=True)
class Settlement:
    """How a movement was settled: its balance transaction, and the payout that paid it out, if known.

    `paid_out_on` is the day on which that payout arrived (aware UTC), None unless it did.
    """

    transaction: BalanceTransaction
    payout_id: str | None = None
    paid_out_on: datetime | None = None


@dataclass(frozen=True)
class Fees:
    """Stripe's fees in a period, and what remains after them, in one settlement currency. `tax` is a part of `fees`."""

    fees: Money | ForeignMoney
    tax: Money | ForeignMoney
    net: Money | ForeignMoney


def kind_of(transaction_type: str) -> MovementKind:
    """The kind of a balance transaction that belongs to no movement of Kvit's."""
    if transaction_type in FEE_TYPES:
        return MovementKind.STRIPE_FEE
    return MovementKind.PAYOUT if transaction_type in PAYOUT_TYPES else MovementKind.OTHER
