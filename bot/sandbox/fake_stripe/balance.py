"""The balance refunds are paid from, and how the coming refunds shall come out, as a test or the demo orders."""

from __future__ import annotations

from dataclasses import dataclass, field

PENDING_REASONS = ("processing", "insufficient_funds", "charge_pending")


@dataclass
class Purse:
    """What is available in minor units, one sum for all currencies; None: always enough.

    A refund beyond it waits as pending `insufficient_funds`, or is refused when `refuses`.
    """

    available: int | None = None
    refuses: bool = False

    def covers(self, amount: int) -> bool:
        return self.available is None or amount <= self.available

    def move(self, amount: int) -> None:
        """Put `amount` in, or take it out when it is negative; a dispute may leave less than nothing."""
        if self.available is not None:
            self.available += amount


@dataclass(frozen=True)
class Fate:
    """How one refund comes out: a status of Stripe's, or refused with `code`."""

    status: str = "succeeded"
    pending_reason: str = "processing"
    failure_reason: str = "unknown"
    code: str = "charge_not_refundable"


USUAL = Fate()


@dataclass
class Fates:
    """The fates of the next refunds, first come first served; after them refunds succeed again."""

    coming: list[Fate] = field(default_factory=list)

    def next(self) -> Fate:
        return self.coming.pop(0) if self.coming else USUAL
