"""Which questions several people can decide, and the jobs that edit their messages once they are decided."""

from __future__ import annotations

import json

from storage.models.job import NewJob
from storage.models.payment import Payment, PaymentStatus
from storage.models.refund import Refund

CLOSE = "close_question"
"""The kind of job that edits all messages of a decided question."""

REFUND, HOLD = "refund", "hold"


def refund_subject(refund_id: str, approvals: int) -> str:
    """The question whether to approve a refund that has so many approvals."""
    return f"{REFUND}:{refund_id}:{approvals}"


def hold_subject(payment_id: str) -> str:
    """The question what becomes of a hold."""
    return f"{HOLD}:{payment_id}"


def close_job(subject: str, *, key: str = "") -> NewJob:
    """The job that closes a question; `key` makes another job than the one that the decision enqueued."""
    body = json.dumps({"subject": subject}).encode()
    return NewJob(f"{CLOSE}:{subject}:{key}", f"{CLOSE}:{subject}", CLOSE, body)


def jobs_for_refund_decision(before: Refund | None, after: Refund) -> tuple[NewJob, ...]:
    """The job that closes the question that this change decided, if it did."""
    if before is None or not before.is_pending_decision or not is_refund_decided(after, len(before.approvers)):
        return ()
    return (close_job(refund_subject(after.id, len(before.approvers))),)


def jobs_for_hold_decision(before: Payment, after: Payment) -> tuple[NewJob, ...]:
    """The same for a hold. One whose decision was withdrawn may be decided again, so the version is part of the key."""
    if before.status is not PaymentStatus.AUTHORIZED or is_hold_decided(before) or not is_hold_decided(after):
        return ()
    return (close_job(hold_subject(after.id), key=str(after.version)),)


def is_refund_decided(refund: Refund, approvals: int) -> bool:
    """Whether the question that was asked after so many approvals is decided."""
    return not refund.is_pending_decision or len(refund.approvers) > approvals


def is_hold_decided(payment: Payment) -> bool:
    """Whether it is decided, or over, what becomes of a hold."""
    undecided = payment.capture_requested_by is None and payment.cancel_requested is None
    return payment.status is not PaymentStatus.AUTHORIZED or not undecided
