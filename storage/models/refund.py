"""What a refund is: from the wish of a person, or of somebody in Stripe's Dashboard, to the money that went back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from storage.models.money import Money
from storage.models.payment import ChatTarget


class RefundStatus(StrEnum):
    """Where a refund stands: Stripe's words from *pending* on, ours before that."""

    DRAFT = "draft"
    AWAITING_APPROVAL = "awaiting_approval"
    APPROVED = "approved"
    PENDING = "pending"
    REQUIRES_ACTION = "requires_action"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    REJECTED = "rejected"
    DECLINED = "declined"
    EXPIRED = "expired"


R = RefundStatus
STRIPE_STATUSES = frozenset({R.PENDING, R.REQUIRES_ACTION, R.SUCCEEDED, R.FAILED, R.CANCELED})
RESERVING_STATUSES = frozenset({R.APPROVED, R.PENDING, R.REQUIRES_ACTION})
"""What is kept for a refund, so that no other one can have it."""

REFUND_TRANSITIONS: dict[RefundStatus, frozenset[RefundStatus]] = {
    R.DRAFT: STRIPE_STATUSES | {R.AWAITING_APPROVAL, R.APPROVED, R.DECLINED, R.EXPIRED},
    R.AWAITING_APPROVAL: STRIPE_STATUSES | {R.APPROVED, R.DECLINED, R.EXPIRED},
    R.APPROVED: STRIPE_STATUSES | {R.REJECTED},
    R.PENDING: STRIPE_STATUSES - {R.PENDING},
    R.REQUIRES_ACTION: STRIPE_STATUSES - {R.REQUIRES_ACTION},
    R.SUCCEEDED: frozenset({R.FAILED, R.CANCELED}),
    R.FAILED: frozenset(),
    R.CANCELED: frozenset(),
    R.REJECTED: STRIPE_STATUSES,
    R.DECLINED: STRIPE_STATUSES,
    R.EXPIRED: STRIPE_STATUSES,
}
"""A refund that succeeded can fail for 30 days.

What we hold for never made, or not approved yet (a book restored from a backup), is believed once Stripe shows it.
"""

DRAFT_TTL = timedelta(minutes=10)
APPROVAL_TTL = timedelta(hours=24)
BALANCE_RETRY_TTL = timedelta(minutes=10)
"""How long a refund stays approved that Stripe refused for want of balance."""

LIMIT_WINDOW = timedelta(hours=24)
"""The sliding span in which what one person approves is summed up."""


RECOVERED_PREFIX = "lost:"
"""How the `source` begins of a refund that is found at Stripe with our metadata, and is not in the book."""


@dataclass(frozen=True)
class Refund:
    """One wish to give money back and what became of it. `amount` is in the payment's own currency.

    `refundable_then` is what could go back when it was asked (minor units): the one who approves saw that figure.
    `number` is part of the idempotency key, `sent_at` when the request with that number went out first, `last_sent_at`
    when it did last. `failure` is Stripe's `failure_reason`, or the code of its refusal. All times are aware UTC.
    """

    id: str
    payment_id: str
    shop_id: int
    request_key: str
    amount: Money
    status: RefundStatus
    requested_at: datetime
    reason: str = ""
    chat: ChatTarget | None = None
    requested_by: int | None = None
    expires_at: datetime | None = None
    refundable_at_request: int = 0
    approvals_needed: int = 1
    approved_by: int | None = None
    approved_at: datetime | None = None
    second_approved_by: int | None = None
    second_approved_at: datetime | None = None
    reserved_at: datetime | None = None
    params: str = ""
    key_version: int = 1
    first_sent_at: datetime | None = None
    last_sent_at: datetime | None = None
    stripe_id: str | None = None
    pending_reason: str | None = None
    failure_reason: str | None = None
    last_error: str | None = None
    error_count: int = 0
    retry_until: datetime | None = None
    next_check_at: datetime | None = None
    settled_at: datetime | None = None

    @property
    def is_pending_decision(self) -> bool:
        """Whether somebody still has to decide."""
        return self.status in {R.DRAFT, R.AWAITING_APPROVAL}

    def is_expired(self, now: datetime) -> bool:
        """Whether the time within which somebody has to decide is over."""
        return self.expires_at is not None and now >= self.expires_at

    @property
    def reserves_money(self) -> bool:
        """Whether its money has gone back, or is kept for it."""
        return self.status in RESERVING_STATUSES or self.status is R.SUCCEEDED

    @property
    def made_in_dashboard(self) -> bool:
        """Whether it was made at Stripe and not by us."""
        return self.requested_by is None and not self.is_recovered

    @property
    def is_recovered(self) -> bool:
        """Whether we made it, as its metadata says, and the book has nothing of that: an older one was restored."""
        return self.request_key.startswith(RECOVERED_PREFIX)

    @property
    def approvers(self) -> tuple[int, ...]:
        """Who approved, the first first."""
        return tuple(person for person in (self.approved_by, self.second_approved_by) if person is not None)


@dataclass(frozen=True)
class StripeRefund:
    """What Stripe says of one refund. `amount` is in minor units, `refund_id` our id out of its metadata, if ours."""

    stripe_id: str
    status: RefundStatus
    amount: int
    currency: str
    refund_id: str | None = None
    pending_reason: str | None = None
    failure_reason: str | None = None
    created_at: datetime | None = None
