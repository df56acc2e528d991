"""Refunds: those requested in a chat, and those made in Stripe's Dashboard."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from storage.models.money import Money
from storage.models.payment import ChatTarget


class RefundStatus(StrEnum):
    """The status of a refund. From `pending` to `canceled` they are Stripe's, the others are ours."""

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


STRIPE_STATUSES = frozenset(
    {
        RefundStatus.PENDING,
        RefundStatus.REQUIRES_ACTION,
        RefundStatus.SUCCEEDED,
        RefundStatus.FAILED,
        RefundStatus.CANCELED,
    }
)
RESERVING_STATUSES = frozenset({RefundStatus.APPROVED, RefundStatus.PENDING, RefundStatus.REQUIRES_ACTION})
"""Statuses in which a refund reserves its amount, so that no other refund can use it."""

REFUND_TRANSITIONS: dict[RefundStatus, frozenset[RefundStatus]] = {
    RefundStatus.DRAFT: STRIPE_STATUSES
    | {RefundStatus.AWAITING_APPROVAL, RefundStatus.APPROVED, RefundStatus.DECLINED, RefundStatus.EXPIRED},
    RefundStatus.AWAITING_APPROVAL: STRIPE_STATUSES
    | {RefundStatus.APPROVED, RefundStatus.DECLINED, RefundStatus.EXPIRED},
    RefundStatus.APPROVED: STRIPE_STATUSES | {RefundStatus.REJECTED},
    RefundStatus.PENDING: STRIPE_STATUSES - {RefundStatus.PENDING},
    RefundStatus.REQUIRES_ACTION: STRIPE_STATUSES - {RefundStatus.REQUIRES_ACTION},
    RefundStatus.SUCCEEDED: frozenset({RefundStatus.FAILED, RefundStatus.CANCELED}),
    RefundStatus.FAILED: frozenset(),
    RefundStatus.CANCELED: frozenset(),
    RefundStatus.REJECTED: STRIPE_STATUSES,
    RefundStatus.DECLINED: STRIPE_STATUSES,
    RefundStatus.EXPIRED: STRIPE_STATUSES,
}
"""From each status, the statuses that may follow.

A refund that succeeded can still fail for 30 days. Rejected, declined and expired refunds, and those not approved yet,
can turn out to exist at Stripe after the database was restored from a backup.
"""

DRAFT_TTL = timedelta(minutes=10)
APPROVAL_TTL = timedelta(hours=24)
BALANCE_RETRY_TTL = timedelta(minutes=10)
"""How long a refund that Stripe rejected for insufficient balance stays approved."""

LIMIT_WINDOW = timedelta(hours=24)
"""The sliding window over which the amounts that one person approves are summed."""

RECOVERED_PREFIX = "lost:"
"""Prefix of the `request_key` of a refund found at Stripe with our metadata but missing in the database."""


@dataclass(frozen=True)
class Refund:
    """One refund, from the request to its final status. `amount` is in the payment's currency; times are aware UTC.

    `refundable_at_request` is what could be refunded when it was requested (minor units), as the approver saw it.
    `key_version` is part of the idempotency key; `first_sent_at` and `last_sent_at` are when the request with this
    version was sent. `refunded_at` is Stripe's time of the refund, `settled_at` when its final status was learned.
    `failure_reason` is Stripe's, or the code of the error that rejected the refund.
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
    declined_by: int | None = None
    declined_at: datetime | None = None
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
    refunded_at: datetime | None = None

    @property
    def is_pending_decision(self) -> bool:
        """Whether an admin still has to approve or decline it."""
        return self.status in {RefundStatus.DRAFT, RefundStatus.AWAITING_APPROVAL}

    def is_expired(self, now: datetime) -> bool:
        """Whether the time for a decision is over."""
        return self.expires_at is not None and now >= self.expires_at

    @property
    def reserves_money(self) -> bool:
        """Whether its amount was refunded, or is reserved for it."""
        return self.status in RESERVING_STATUSES or self.status is RefundStatus.SUCCEEDED

    @property
    def made_in_dashboard(self) -> bool:
        """Whether it was made in Stripe's Dashboard."""
        return self.requested_by is None and not self.is_recovered

    @property
    def is_recovered(self) -> bool:
        """Whether Kvit made it, as its metadata says, before the database was restored from an older backup."""
        return self.request_key.startswith(RECOVERED_PREFIX)

    @property
    def approvers(self) -> tuple[int, ...]:
        """The ids of the approvers, in order of approval."""
        return tuple(user_id for user_id in (self.approved_by, self.second_approved_by) if user_id is not None)


@dataclass(frozen=True)
class StripeRefund:
    """A refund as Stripe returned it. `amount` is in minor units; `refund_id` is our id from its metadata, if any.

    `created_at` and `failed_at` are Stripe's times (aware UTC); of a failure it tells for 30 days when it was.
    """

    stripe_id: str
    status: RefundStatus
    amount: int
    currency: str
    refund_id: str | None = None
    pending_reason: str | None = None
    failure_reason: str | None = None
    created_at: datetime | None = None
    failed_at: datetime | None = None
