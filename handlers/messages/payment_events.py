"""Which jobs a change of a payment causes: the payment message is edited, and each event is notified once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

from handlers.messages.outbox_message import chat_ordering_key
from storage.models.job import Job, NewJob
from storage.models.payment import AttemptStatus, CancellationReason, Origin, Payment, PaymentStatus

SHOWN_BY_MESSAGE_ONLY = frozenset(
    {CancellationReason.REQUESTED, CancellationReason.RELEASED, CancellationReason.REJECTED}
)
"""Reasons that the chat has just been told by an answer or sees in the payment message."""


@dataclass(frozen=True)
class PaymentEvent:
    """An event worth a notification. `name` is unique for the payment; `number` is the attempt it concerns (0: none).

    `about` is the refund, dispute or fraud warning it concerns, if any.
    """

    name: str
    number: int = 0
    about: str = ""

    @property
    def key(self) -> str:
        """The name within the payment, such as `attempt:2:failed` or `refund_failed:REFUND`."""
        if self.about:
            return f"{self.name}:{self.about}"
        return f"attempt:{self.number}:{self.name}" if self.number else self.name


def jobs_for_change(before: Payment, after: Payment) -> tuple[NewJob, ...]:
    """One job to edit the payment message if it looks different, then one for each event."""
    jobs = [message_update_job(after)] if _looks_different(before, after) else []
    return (*jobs, *(notification_job(after, event) for event in events_of_change(before, after)))


def notification_job(payment: Payment, event: PaymentEvent) -> NewJob:
    """The job of a notification, sent as a reply to the payment message."""
    body = {"payment": payment.id, "name": event.name, "number": event.number, "about": event.about}
    lane = chat_ordering_key(payment.chat.chat_id)
    return NewJob(f"{payment.id}:{event.key}", lane, "notification", json.dumps(body).encode())


def message_update_job(payment: Payment) -> NewJob:
    """The job that shows the payment message in this version or a newer one."""
    key = f"{payment.id}:message:{payment.version}"
    return NewJob(
        key, chat_ordering_key(payment.chat.chat_id), "payment_message", json.dumps({"payment": payment.id}).encode()
    )


def events_of_change(before: Payment, after: Payment) -> Iterator[PaymentEvent]:
    """What has become true by the change."""
    if after.status is not before.status:
        match after.status:
            case PaymentStatus.SUCCEEDED:
                yield PaymentEvent("succeeded")
            case PaymentStatus.AUTHORIZED:
                yield PaymentEvent("authorized")
            case PaymentStatus.CANCELED if after.cancellation_reason not in SHOWN_BY_MESSAGE_ONLY:
                yield PaymentEvent("canceled")
    if after.status is PaymentStatus.AUTHORIZED and after.reminders_sent > before.reminders_sent:
        yield PaymentEvent(f"hold_expiring_{after.reminders_sent}")
    if after.capture_key_version > before.capture_key_version and not after.is_terminal:
        yield PaymentEvent("capture_rejected", about=str(before.capture_key_version))
    elif _wish_was_dropped(before, after):
        yield PaymentEvent("request_withdrawn", about=str(after.version))
    attempt, earlier = after.attempt, before.attempt
    changed = (attempt.number, attempt.status) != (earlier.number, earlier.status)
    if changed and attempt.status is AttemptStatus.FAILED:
        yield PaymentEvent("failed", attempt.number)
    if changed and attempt.status is AttemptStatus.EXPIRED and attempt.origin is Origin.CHAT:
        yield PaymentEvent("expired", attempt.number)


def _wish_was_dropped(before: Payment, after: Payment) -> bool:
    """Whether a capture, release or cancel request was withdrawn and nothing else came of it."""
    dropped = before.capture_requested_by is not None and after.capture_requested_by is None
    if after.status is not before.status:  # that change is notified instead
        return False
    return dropped or (before.cancel_requested_by is not None and after.cancel_requested_by is None)


def event_of_job(job: Job) -> tuple[str, PaymentEvent]:
    """The payment's id and the event of a notification job."""
    said = json.loads(job.payload)
    return said["payment"], PaymentEvent(said["name"], said["number"], said.get("about", ""))


def is_still_true(payment: Payment, event: PaymentEvent) -> bool:
    """Whether a notification is still true: news of an attempt, hold or request is stale once the payment moved on.

    That money was received, or that the request is closed, stays true.
    """
    if event.name.startswith("hold_expiring") or event.name == "authorized":
        return payment.status is PaymentStatus.AUTHORIZED
    if event.name in {"capture_rejected", "request_withdrawn"}:
        return not payment.is_terminal and payment.capture_requested_by is None and payment.cancel_requested is None
    if not event.number:
        return True
    outcome = {"failed": AttemptStatus.FAILED, "expired": AttemptStatus.EXPIRED}[event.name]
    return payment.is_payable and payment.attempt.number == event.number and payment.attempt.status is outcome


def _looks_different(before: Payment, after: Payment) -> bool:
    """Whether the payment message looks different; a version that rose alone asks for it to be shown again.

    A call to Stripe that has just begun is not worth an edit: its response, or an error, follows in a moment.
    """
    if after.attempt.status is AttemptStatus.REQUESTED and not (after.last_error or after.cancel_requested):
        return False
    return _shown(before) != _shown(after) or replace(after, version=before.version) == before


def _shown(payment: Payment) -> tuple[object, ...]:
    attempt = payment.attempt
    error = payment.last_error if payment.awaits_stripe else None
    return (payment.status, attempt.number, attempt.status, attempt.redirect_url, attempt.failure_code, error)
