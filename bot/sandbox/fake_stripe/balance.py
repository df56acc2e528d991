"""The balance refunds are paid from, and how the coming refunds shall come out, as a test or the demo orders."""

from __future__ import annotations

from dataclasses import dataclass, field

PENDING_REASONS = ("processing", "insufficient_funds", "charge_pending")


@dataclass
class Balance:
    """What is available in minor units, one sum for all currencies; None: always enough.

    A refund beyond it waits as pending `insufficient_funds`, or is refused when `refuses`.
    """

    available: int | None = None
    rejects_refunds: bool = False

    def covers(self, amount: int) -> bool:
        return self.available is None or amount <= self.available

    def add(self, amount: int) -> None:
        """Put `amount` in, or take it out when it is negative; a dispute may leave less than nothing."""
        if self.available is not None:
            self.available += amount


@dataclass(frozen=True)
class ForcedOutcome:
    """How one refund comes out: a status of Stripe's, or refused with `code`."""

    status: str = "succeeded"
    pending_reason: str = "processing"
    failure_reason: str = "unknown"
    code: str = "charge_not_refundable"


DEFAULT_OUTCOME = ForcedOutcome()


@dataclass
class OutcomeQueue:
    """The fates of the next refunds, first come first served; after them refunds succeed again."""

    pending: list[ForcedOutcome] = field(default_factory=list)

    def next(self) -> ForcedOutcome:
        return self.pending.pop(0) if self.pending else DEFAULT_OUTCOME
