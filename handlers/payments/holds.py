"""Pure decisions about holds, payments whose money is reserved first: capture, release and expiry."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from handlers.stripe.retry import may_still_arrive
from storage.models.payment import AttemptStatus, Payment, PaymentStatus

HOLD_TTL = timedelta(days=6, hours=12)
"""How long a hold is relied on. MobilePay states no figure, cards give 7 days; half a day is kept in reserve."""

STRIPES_OWN = frozenset({"automatic", "expired"})
"""Values of an intent's `cancellation_reason` that only Stripe itself sets."""

REMINDERS = (timedelta(days=1), timedelta(hours=1))
"""How long before a hold expires the chat is reminded."""


def mark_authorized(payment: Payment, now: datetime) -> Payment:
    """Mark the payment as reserved, at the earliest when the attempt began, so that the deadline is not set too late.

    A pending request to end the open payment is dropped: it was not made about money that is reserved.
    """
    if payment.status is not PaymentStatus.AUTHORIZED:
        payment = replace(payment, cancel_requested=None, cancel_requested_by=None, request_sent_at=None)
    won = replace(payment.attempt, status=AttemptStatus.SUCCEEDED)
    since = payment.authorized_at or payment.attempt.started_at or now
    return replace(
        payment,
        status=PaymentStatus.AUTHORIZED,
        attempt=won,
        authorized_at=since,
        capture_before=since + HOLD_TTL,
    )


def has_expired(payment: Payment, reason: str | None, now: datetime) -> bool:
    """Whether a hold canceled at Stripe expired: Stripe says so, or gives no reason at the time when it is due."""
    if payment.status is not PaymentStatus.AUTHORIZED:
        return False
    due = payment.capture_before is not None and now >= payment.capture_before
    return reason in STRIPES_OWN or (reason is None and due)


def is_awaiting_decision(payment: Payment) -> bool:
    """Whether money is reserved and neither capture nor release is requested."""
    wanted = payment.capture_requested_by is not None or payment.cancel_requested is not None
    return payment.status is PaymentStatus.AUTHORIZED and not wanted


def request_capture(payment: Payment, *, by: int) -> Payment:
    """Request a capture; of a capture and a release the first request stands."""
    return replace(payment, capture_requested_by=by) if is_awaiting_decision(payment) else payment


def reject_capture(payment: Payment) -> Payment:
    """Drop the capture request that Stripe rejected; the next one uses another idempotency key."""
    if payment.is_terminal or payment.capture_requested_by is None:
        return payment
    return replace(
        payment, capture_requested_by=None, request_sent_at=None, capture_key_version=payment.capture_key_version + 1
    )


def withdraw_request(payment: Payment, *, now: datetime) -> Payment:
    """Drop the request of a person who lost the right to it, unless its last call may still reach Stripe."""
    if payment.is_terminal or may_still_arrive(payment.request_sent_at, now):
        return payment
    if payment.capture_requested_by is not None:
        return replace(payment, capture_requested_by=None, request_sent_at=None)
    if payment.cancel_requested_by is not None:
        return replace(payment, cancel_requested=None, cancel_requested_by=None, request_sent_at=None)
    return payment


def advance_reminders(payment: Payment, *, now: datetime) -> Payment:
    """How many reminders of the hold's end are due by now; missed ones are skipped."""
    if payment.status is not PaymentStatus.AUTHORIZED or payment.capture_before is None:
        return payment
    due = sum(now >= payment.capture_before - before for before in REMINDERS)
    return replace(payment, reminders_sent=max(payment.reminders_sent, due))


def reminder_times(payment: Payment) -> list[datetime]:
    """When the chat is reminded that the hold ends."""
    until = payment.capture_before
    return [] if until is None else [until - before for before in REMINDERS]
