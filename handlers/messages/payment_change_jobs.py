"""Which jobs a change of a payment causes: the payment message is edited, and each event is notified once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from handlers.messages.question_jobs import jobs_for_hold_decision
from storage.messages import chat_ordering_key
from storage.models.job import Job, NewJob
from storage.models.payment import AttemptStatus, CancellationReason, Payment, PaymentStatus

SHOWN_BY_MESSAGE_ONLY = frozenset(
    {
        CancellationReason.REQUESTED,
        CancellationReason.RELEASED,
        CancellationReason.REJECTED,
        CancellationReason.SETTLED,
    }
)
"""Reasons that an answer or the payment message has just shown in the chat."""


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


def jobs_for_change(before: Payment, after: Payment, *, has_pages: bool = False) -> tuple[NewJob, ...]:
    """One job to edit the payment message if it looks different, then one for each event.

    `has_pages`: the messages carry the link of the pay page, which outlives an attempt.
    """
    lapsed_unseen = has_pages and _has_expired(before, after) and not after.attempt.seen_by_customer
    since = after.attempt.link_usable_until if lapsed_unseen else None
    jobs = [message_update_job(after, unless_shown_since=since)] if _looks_different(before, after) else []
    jobs += jobs_for_hold_decision(before, after)
    return (*jobs, *(notification_job(after, event) for event in events_of_change(before, after, has_pages=has_pages)))


def notification_job(payment: Payment, event: PaymentEvent) -> NewJob:
    """The job of a notification, sent as a reply to the payment message."""
    body = {"payment": payment.id, "name": event.name, "number": event.number, "about": event.about}
    lane = chat_ordering_key(payment.chat.chat_id)
    return NewJob(f"{payment.id}:{event.key}", lane, "notification", json.dumps(body).encode())


def message_update_job(payment: Payment, *, unless_shown_since: datetime | None = None) -> NewJob:
    """The job that shows the payment message in this version or a newer one.

    With `unless_shown_since` a message that was shown at that time or later looks the same already.
    """
    key = f"{payment.id}:message:{payment.version}"
    body = {"payment": payment.id}
    if unless_shown_since is not None:
        body["unless_shown_since"] = unless_shown_since.isoformat()
    return NewJob(key, chat_ordering_key(payment.chat.chat_id), "payment_message", json.dumps(body).encode())


def events_of_change(before: Payment, after: Payment, *, has_pages: bool = False) -> Iterator[PaymentEvent]:
    """What has become true by the change.

    An attempt that expired without a sign of the customer is no event where the link of the page still works.
    """
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
    elif _request_was_dropped(before, after):
        yield PaymentEvent("request_withdrawn", about=str(after.version))
    attempt, earlier = after.attempt, before.attempt
    changed = (attempt.number, attempt.status) != (earlier.number, earlier.status)
    if changed and attempt.status is AttemptStatus.FAILED:
        yield PaymentEvent("failed", attempt.number)
    if _has_expired(before, after) and (attempt.seen_by_customer or not has_pages):
        yield PaymentEvent("expired", attempt.number)


def _has_expired(before: Payment, after: Payment) -> bool:
    """Whether the attempt expired by this change, or it turned out that a customer had seen the one that did."""
    if after.attempt.status is not AttemptStatus.EXPIRED:
        return False
    same = (after.attempt.number, after.attempt.status) == (before.attempt.number, before.attempt.status)
    return not same or after.attempt.seen_by_customer > before.attempt.seen_by_customer


def _request_was_dropped(before: Payment, after: Payment) -> bool:
    """Whether a capture, release or cancel request was withdrawn and nothing else came of it."""
    dropped = before.capture_requested_by is not None and after.capture_requested_by is None
    if after.status is not before.status:  # that change is notified instead
        return False
    return dropped or (before.cancel_requested_by is not None and after.cancel_requested_by is None)


def event_of_job(job: Job) -> tuple[str, PaymentEvent]:
    """The payment's id and the event of a notification job."""
    said = json.loads(job.payload)
    return said["payment"], PaymentEvent(said["name"], said["number"], said.get("about", ""))


def is_still_true(payment: Payment, event: PaymentEvent, now: datetime) -> bool:
    """Whether a notification is still true: one about an attempt, hold or request is stale once the payment changed.

    That money was received, or that the request is closed, stays true. An expired link is not
    announced once the request itself is over: the notification of its end follows.
    """
    if event.name.startswith("hold_expiring") or event.name == "authorized":
        return payment.status is PaymentStatus.AUTHORIZED
    if event.name in {"capture_rejected", "request_withdrawn"}:
        return not payment.is_terminal and payment.capture_requested_by is None and payment.cancel_requested is None
    if not event.number:
        return True
    if event.name == "expired" and now >= payment.expires_at:
        return False
    outcome = {"failed": AttemptStatus.FAILED, "expired": AttemptStatus.EXPIRED}[event.name]
    return payment.is_payable and payment.attempt.number == event.number and payment.attempt.status is outcome


def _looks_different(before: Payment, after: Payment) -> bool:
    """Whether the payment message looks different, or is to be shown again because only the version changed.

    A call to Stripe that has just begun is not worth an edit: its response, or an error, follows in a moment.
    """
    if after.attempt.status is AttemptStatus.REQUESTED and not (after.last_error or after.cancel_requested):
        return False
    return _shown(before) != _shown(after) or replace(after, version=before.version) == before


def _shown(payment: Payment) -> tuple[object, ...]:
    attempt = payment.attempt
    error = payment.last_error if payment.awaits_stripe else None
    seen = attempt.status is AttemptStatus.EXPIRED and attempt.seen_by_customer
    return (payment.status, attempt.number, attempt.status, attempt.redirect_url, attempt.failure_code, seen, error)
