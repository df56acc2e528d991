"""The balance from which refunds are paid, and the outcomes that a test or the demo sets for the next refunds."""

from __future__ import annotations

from dataclasses import dataclass, field

PENDING_REASONS = ("processing", "insufficient_funds", "charge_pending")


@dataclass
class Balance:
    """The available amount in minor units, one sum for all currencies; None is unlimited.

    A refund above it is created as pending with `insufficient_funds`, or rejected if `rejects_refunds`.
    """

    available: int | None = None
    rejects_refunds: bool = False

    def covers(self, amount: int) -> bool:
        return self.available is None or amount <= self.available

    def add(self, amount: int) -> None:
        """Add `amount`, which may be negative. A dispute can make the balance negative."""
        if self.available is not None:
            self.available += amount


@dataclass(frozen=True)
class ForcedOutcome:
    """The outcome of one refund: one of Stripe's statuses, or `refused` with the error `code`."""

    status: str = "succeeded"
    pending_reason: str = "processing"
    failure_reason: str = "unknown"
    code: str = "charge_not_refundable"


DEFAULT_OUTCOME = ForcedOutcome()


@dataclass
class OutcomeQueue:
    """The outcomes of the next refunds, in order; after them refunds succeed."""

    pending: list[ForcedOutcome] = field(default_factory=list)

    def next(self) -> ForcedOutcome:
        return self.pending.pop(0) if self.pending else DEFAULT_OUTCOME
