"""Pure decisions about money that is only reserved: taking it, who wanted that, and how long it can be counted on."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from handlers.stripe.retry import may_still_arrive
from storage.models.payment import AttemptStatus, Payment, PaymentStatus

HOLD_TTL = timedelta(days=6, hours=12)
"""How long a hold is counted on: MobilePay names no figure, cards give 7 days, and half a day is kept for surprises."""

STRIPES_OWN = frozenset({"automatic", "expired"})
"""Values of an intent's `cancellation_reason` that only Stripe itself gives."""

REMINDERS = (timedelta(days=1), timedelta(hours=1))
"""How long before a hold lapses the chat is reminded."""


def mark_authorized(payment: Payment, now: datetime) -> Payment:
    """Reserved, at the earliest when the attempt began: the deadline must not come too late.

    A wish to end the open request, or its time, is not meant for money that the customer has reserved meanwhile.
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
    """Whether a hold that is canceled at Stripe ran out of time: Stripe says so, or gives no reason when it is due."""
    if payment.status is not PaymentStatus.AUTHORIZED:
        return False
    due = payment.capture_before is not None and now >= payment.capture_before
    return reason in STRIPES_OWN or (reason is None and due)


def is_awaiting_decision(payment: Payment) -> bool:
    """Whether money is reserved, and nobody wants it taken or let go yet."""
    wanted = payment.capture_requested_by is not None or payment.cancel_requested is not None
    return payment.status is PaymentStatus.AUTHORIZED and not wanted


def request_capture(payment: Payment, *, by: int) -> Payment:
    """The wish to take what is reserved; of this and the wish to let it go the first counts."""
    return replace(payment, capture_requested_by=by) if is_awaiting_decision(payment) else payment


def reject_capture(payment: Payment) -> Payment:
    """Stripe will not take the money by that request: the wish is dropped, and the next one needs another key."""
    if payment.is_terminal or payment.capture_requested_by is None:
        return payment
    return replace(
        payment, capture_requested_by=None, request_sent_at=None, capture_key_version=payment.capture_key_version + 1
    )


def withdraw_request(payment: Payment, *, now: datetime) -> Payment:
    """Whoever wanted it may not want it any more; it stands as long as its last request may still reach Stripe."""
    if payment.is_terminal or may_still_arrive(payment.request_sent_at, now):
        return payment
    if payment.capture_requested_by is not None:
        return replace(payment, capture_requested_by=None, request_sent_at=None)
    if payment.cancel_requested_by is not None:
        return replace(payment, cancel_requested=None, cancel_requested_by=None, request_sent_at=None)
    return payment


def advance_reminders(payment: Payment, *, now: datetime) -> Payment:
    """How many reminders of a hold's end are due by now; those that were missed are passed over."""
    if payment.status is not PaymentStatus.AUTHORIZED or payment.capture_before is None:
        return payment
    due = sum(now >= payment.capture_before - before for before in REMINDERS)
    return replace(payment, reminders_sent=max(payment.reminders_sent, due))


def reminder_times(payment: Payment) -> list[datetime]:
    """When the chat is reminded that the hold ends."""
    until = payment.capture_before
    return [] if until is None else [until - before for before in REMINDERS]
