"""Which jobs refunds, disputes and fraud warnings cause: an edit, a notification, messages to admins."""

from __future__ import annotations

import json

from handlers.messages.payment_change_jobs import PaymentEvent, message_update_job, notification_job
from handlers.messages.question_jobs import jobs_for_refund_decision
from storage.models.dispute import Dispute, FraudWarning
from storage.models.job import NewJob
from storage.models.payment import Payment
from storage.models.refund import Refund, RefundStatus

R = RefundStatus
VISIBLE_STATUSES = frozenset({R.APPROVED, R.PENDING, R.REQUIRES_ACTION, R.SUCCEEDED, R.FAILED, R.CANCELED, R.REJECTED})
"""Refunds that a payment message lists: those that were approved, whatever became of them."""

NOTIFIED_STATUSES = frozenset({R.PENDING, R.REQUIRES_ACTION, R.SUCCEEDED, R.FAILED, R.CANCELED, R.REJECTED})
VALID_WHILE = {
    "refund_pending": R.PENDING,
    "refund_requires_action": R.REQUIRES_ACTION,
    "refund_insufficient_balance": R.APPROVED,
    "refund_succeeded": R.SUCCEEDED,
    "refund_rejected": R.REJECTED,
}
"""Notifications that are dropped once the refund has another status."""

NOTIFY_ADMINS = "notify_admins"
"""The kind of job that sends a message to each admin of a shop in private."""


def jobs_for_refund(payment: Payment, before: Refund | None, after: Refund) -> tuple[NewJob, ...]:
    """One job to edit the payment message, and one for each event of the refund.

    A call to Stripe that has just begun is not worth an edit: its response, or an error, follows in a moment.
    """
    only_asked = after.status is R.APPROVED and after.last_error is None
    is_visible = after.status in VISIBLE_STATUSES and not only_asked and _looks_different(before, after)
    jobs = [message_update_job(payment)] if is_visible else []
    jobs += jobs_for_refund_decision(before, after)
    was = None if before is None else before.status
    if after.status is not was:
        if after.status in NOTIFIED_STATUSES:
            jobs.append(notification_job(payment, PaymentEvent(f"refund_{after.status}", about=after.id)))
        elif after.status is R.EXPIRED and was is R.AWAITING_APPROVAL:
            jobs.append(notification_job(payment, PaymentEvent("refund_expired", about=after.id)))
    if after.retry_until is not None and (before is None or before.retry_until is None):
        jobs.append(
            notification_job(
                payment, PaymentEvent("refund_insufficient_balance", about=f"{after.id}:{after.key_version}")
            )
        )
    return tuple(jobs)


def _looks_different(before: Refund | None, after: Refund) -> bool:
    """Whether the payment message shows the refund differently; Stripe's errors are not shown there."""
    return before is None or _shown(before) != _shown(after)


def _shown(refund: Refund) -> tuple[object, ...]:
    waits = refund.last_error is None, refund.retry_until is None
    return refund.status, refund.amount, refund.pending_reason, refund.failure_reason, waits


def jobs_for_dispute(payment: Payment, dispute: Dispute) -> tuple[NewJob, ...]:
    """A new or changed dispute: a short notification in the chat, reason and deadline to the admins."""
    event = PaymentEvent("dispute", about=f"{dispute.id}:{dispute.status}")
    return message_update_job(payment), notification_job(payment, event), admin_notification_job(payment, event)


def jobs_for_fraud_warning(payment: Payment, warning: FraudWarning) -> tuple[NewJob, ...]:
    """A fraud warning: to the admins alone."""
    return (admin_notification_job(payment, PaymentEvent("fraud_warning", about=warning.id)),)


def admin_notification_job(payment: Payment, event: PaymentEvent) -> NewJob:
    """The job that becomes a message to each admin of the shop."""
    body = {"payment": payment.id, "name": event.name, "number": 0, "about": event.about}
    return NewJob(
        f"{payment.id}:{NOTIFY_ADMINS}:{event.key}",
        f"{NOTIFY_ADMINS}:{payment.shop_id}",
        NOTIFY_ADMINS,
        json.dumps(body).encode(),
    )
