"""Pure decisions: what Stripe's state, a response or a request makes of a payment. No I/O and no clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from handlers.payments import holds
from handlers.stripe.gateway import Intent, IntentStatus
from handlers.stripe.retry import IDEMPOTENCY_KEY_TTL, SEARCH_AFTER, retry_delay
from storage.models.payment import (
    MAX_ATTEMPTS,
    Attempt,
    AttemptStatus,
    CancellationReason,
    Origin,
    Payment,
    PaymentStatus,
    attempt_expires_at,
)

EXPIRY_CODES = frozenset({"payment_intent_payment_attempt_expired", "payment_method_provider_timeout"})
"""Stripe's codes for an attempt that timed out unused; every other code is a failure."""

CLOCK_TOLERANCE = timedelta(seconds=10)
"""A difference to Stripe's clock that does not matter to an attempt; a response takes some seconds itself."""

NO_TIME = timedelta(0)

IDLE_CHECK_INTERVAL = timedelta(hours=1)
"""How often a payment is checked when no change is due: it may be canceled in the Dashboard, and events get lost."""


@dataclass(frozen=True)
class Timing:
    """Durations of this installation, in seconds: the life of an attempt, and how often an active one is checked."""

    attempt_seconds: int = 300
    check_interval: float = 60


class Step(Enum):
    """The next call to Stripe."""

    NOTHING = "nothing"
    CREATE = "create"
    SEARCH = "search"
    CONFIRM = "confirm"
    CANCEL = "cancel"
    RETRIEVE = "retrieve"
    CAPTURE = "capture"


def next_step(payment: Payment, now: datetime) -> Step:
    """The next call that advances the payment; the same after a crash.

    A call is repeated only while Stripe surely knows its idempotency key; after that Stripe is searched first.
    """
    if payment.is_terminal:
        return Step.NOTHING
    age = now - payment.attempt.requested_at
    fresh_key = age < IDEMPOTENCY_KEY_TTL
    if payment.intent_id is None and age >= SEARCH_AFTER:
        return Step.SEARCH
    if payment.intent_id is None:
        return Step.CREATE if fresh_key else Step.RETRIEVE
    if payment.capture_requested_by is not None and payment.status is PaymentStatus.AUTHORIZED:
        return Step.CAPTURE
    if payment.cancel_requested and payment.status is not PaymentStatus.PROCESSING:
        return Step.CANCEL
    if payment.attempt.status is AttemptStatus.REQUESTED and payment.attempt.number > 1 and fresh_key:
        return Step.CONFIRM
    return Step.RETRIEVE


def clock_ahead(server_time: datetime, began: datetime, now: datetime) -> timedelta:
    """How far our clock is ahead of Stripe's at least; negative if it is behind.

    Stripe made its response at `server_time`, between the request at `began` and `now`, which may be much later.
    """
    if server_time < began:
        return began - server_time
    return min(now - server_time, NO_TIME)


def apply_intent(
    payment: Payment, *, intent: Intent, now: datetime, timing: Timing, ahead: timedelta = NO_TIME
) -> Payment:
    """Apply a retrieved intent: Stripe's status decides, terminal statuses stay.

    `ahead` is how far our clock, which gave `now`, is ahead of Stripe's.
    """
    if payment.is_terminal:
        return payment
    payment = replace(payment, intent_id=intent.id, last_error=None, error_count=0)
    match intent.status:
        case IntentStatus.SUCCEEDED:
            return _succeeded(payment, intent, now)
        case IntentStatus.CANCELED:
            return _canceled(payment, intent, now)
        case IntentStatus.REQUIRES_CAPTURE:
            return holds.mark_authorized(payment, now)
        case IntentStatus.PROCESSING:
            return replace(payment, status=PaymentStatus.PROCESSING)
        case IntentStatus.REQUIRES_ACTION:
            live = _active_attempt(payment.attempt, intent, ahead, timing)
            return replace(payment, status=PaymentStatus.OPEN, attempt=live)
        case _:
            return replace(payment, status=PaymentStatus.OPEN, attempt=_ended_attempt(payment.attempt, intent, now))


def apply_attempt_response(
    payment: Payment, *, number: int, intent: Intent, now: datetime, timing: Timing, ahead: timedelta = NO_TIME
) -> Payment:
    """Apply Stripe's response to attempt `number`; if a newer attempt exists it is treated as a plain retrieve."""
    if (
        not payment.is_terminal
        and payment.attempt.number == number
        and payment.attempt.status is AttemptStatus.REQUESTED
    ):
        attempt = _started_attempt(
            replace(payment.attempt, status=AttemptStatus.ACTIVE, redirect_url=intent.redirect_url),
            intent,
            ahead,
            timing,
        )
        payment = replace(payment, attempt=attempt)
    return apply_intent(payment, intent=intent, now=now, timing=timing, ahead=ahead)


def _succeeded(payment: Payment, intent: Intent, now: datetime) -> Payment:
    won = replace(payment.attempt, status=AttemptStatus.SUCCEEDED, failure_code=None)
    return replace(
        payment,
        status=PaymentStatus.SUCCEEDED,
        attempt=won,
        amount_received=intent.amount_received,
        charge_id=intent.charge_id,
        succeeded_at=intent.succeeded_at or intent.server_time or now,
        closed_at=now,
    )


def _canceled(payment: Payment, intent: Intent, now: datetime) -> Payment:
    attempt = payment.attempt
    if not attempt.is_finished:
        attempt = replace(attempt, status=AttemptStatus.CANCELED)
    lapsed = holds.has_expired(payment, intent.cancellation_reason, now)
    by_itself = CancellationReason.HOLD_EXPIRED if lapsed else CancellationReason.BY_STRIPE
    return replace(
        payment,
        status=PaymentStatus.CANCELED,
        attempt=attempt,
        cancellation_reason=payment.cancel_requested or by_itself,
        closed_at=now,
    )


def _active_attempt(attempt: Attempt, intent: Intent, ahead: timedelta, timing: Timing) -> Attempt:
    """The attempt while Stripe waits for the customer; one without a known response starts when it was requested."""
    if attempt.status is AttemptStatus.ACTIVE and attempt.redirect_url == intent.redirect_url:
        return attempt
    return _started_attempt(
        replace(attempt, status=AttemptStatus.ACTIVE, redirect_url=intent.redirect_url, failure_code=None),
        intent,
        ahead,
        timing,
    )


def _started_attempt(attempt: Attempt, intent: Intent, ahead: timedelta, timing: Timing) -> Attempt:
    """The attempt with its times. The first started with the intent, a later one not before it was requested.

    They are times of our clock, like those they are compared with, also where it differs from Stripe's.
    """
    began = attempt.requested_at
    if attempt.number == 1 and intent.created_at:
        began = intent.created_at + (ahead if abs(ahead) > CLOCK_TOLERANCE else NO_TIME)
    started_at = attempt.started_at or began
    return replace(attempt, started_at=started_at, expires_at=attempt_expires_at(started_at, timing.attempt_seconds))


def _ended_attempt(attempt: Attempt, intent: Intent, now: datetime) -> Attempt:
    """The attempt once Stripe needs another payment method.

    A later attempt whose confirm may still reach Stripe is not ended by a retrieve. Once the confirm must have arrived,
    the attempt ends as canceled, without a message: its link was never shown, and Stripe's error may be of the attempt
    before. The first attempt was made by the call that created the intent, so it is over.
    """
    outcome_unknown = attempt.status is AttemptStatus.REQUESTED and attempt.number > 1
    if attempt.is_finished or (outcome_unknown and now - attempt.requested_at < SEARCH_AFTER):
        return attempt
    if outcome_unknown:
        return replace(attempt, status=AttemptStatus.CANCELED)
    if intent.error_code is None or intent.error_code in EXPIRY_CODES:
        return replace(attempt, status=AttemptStatus.EXPIRED, failure_code=intent.error_code)
    return replace(attempt, status=AttemptStatus.FAILED, failure_code=intent.decline_code or intent.error_code)


def record_error(payment: Payment, *, code: str) -> Payment:
    """Record that Stripe did not answer or refused for now; the wait before the next try grows."""
    return replace(payment, last_error=code, error_count=payment.error_count + 1)


def mark_waiting(payment: Payment, *, code: str) -> Payment:
    """Record that Stripe is slow; no error is recorded where no response is due."""
    return record_error(payment, code=code) if payment.awaits_stripe else payment


def invalidate_key(payment: Payment, *, code: str) -> Payment:
    """Record that Stripe rejected the API key; an earlier call may have got through without a known response.

    The request counts as too old to repeat: Stripe is searched first, once it accepts the key again.
    """
    if payment.status is not PaymentStatus.CREATED or payment.intent_id is not None:
        return payment
    too_old = replace(payment.attempt, requested_at=payment.attempt.requested_at - SEARCH_AFTER)
    return replace(record_error(payment, code=code), attempt=too_old)


def reject(payment: Payment, *, code: str, now: datetime) -> Payment:
    """Record that Stripe rejected the request for the intent: it does not exist, so no money can arrive."""
    if payment.status is not PaymentStatus.CREATED or payment.intent_id is not None:
        return payment
    return replace(_never_existed(payment, CancellationReason.REJECTED, now), last_error=code)


def _never_existed(payment: Payment, reason: CancellationReason, now: datetime) -> Payment:
    return replace(
        payment,
        status=PaymentStatus.CANCELED,
        attempt=replace(payment.attempt, status=AttemptStatus.CANCELED),
        cancellation_reason=payment.cancel_requested or reason,
        closed_at=now,
    )


def handle_not_found(payment: Payment, *, number: int, now: datetime) -> Payment:
    """Record that no intent of ours was found: close the payment if that is requested, else use a new key.

    `number` is the version of the key that was searched for: another process may have moved to the next one since,
    whose intent could not be found.
    """
    if payment.status is not PaymentStatus.CREATED or payment.intent_id is not None:
        return payment
    if payment.create_key_version != number:
        return payment
    if payment.cancel_requested:
        return _never_existed(payment, payment.cancel_requested, now)
    asked_again = replace(payment.attempt, requested_at=now)
    return replace(payment, create_key_version=payment.create_key_version + 1, attempt=asked_again)


def start_attempt(payment: Payment, *, origin: Origin, now: datetime, cause: str | None = None) -> Payment:
    """The payment with one more attempt, if Stripe needs one; otherwise unchanged."""
    if payment.status is not PaymentStatus.OPEN or not payment.attempt.is_finished or payment.cancel_requested:
        return payment
    if payment.attempt.number >= MAX_ATTEMPTS:
        return payment
    attempt = Attempt(payment.attempt.number + 1, AttemptStatus.REQUESTED, origin, requested_at=now, trigger_key=cause)
    return replace(payment, attempt=attempt)


def mark_opened(payment: Payment, *, number: int, now: datetime) -> Payment:
    """Record that a customer opened attempt `number` on the page."""
    attempt = payment.attempt
    if not _may_be_seen(payment, number) or attempt.opened_at is not None:
        return payment
    return replace(payment, attempt=replace(attempt, opened_at=now))


def mark_returned(payment: Payment, *, number: int, now: datetime) -> Payment:
    """Record that a customer came back from attempt `number`, also if it expired meanwhile."""
    attempt = payment.attempt
    if not _may_be_seen(payment, number) or attempt.returned_at is not None:
        return payment
    return replace(payment, attempt=replace(attempt, returned_at=now))


def _may_be_seen(payment: Payment, number: int) -> bool:
    attempt = payment.attempt
    is_current = payment.is_payable and attempt.number == number
    return is_current and attempt.status in {AttemptStatus.ACTIVE, AttemptStatus.EXPIRED}


def reject_attempt(payment: Payment, *, number: int, code: str) -> Payment:
    """Record that Stripe rejected the confirm of attempt `number`: it failed and nothing was opened."""
    attempt = payment.attempt
    if payment.is_terminal or attempt.number != number or attempt.status is not AttemptStatus.REQUESTED:
        return payment
    return replace(payment, attempt=replace(attempt, status=AttemptStatus.FAILED, failure_code=code))


def request_cancel(payment: Payment, *, reason: CancellationReason, by: int | None = None) -> Payment:
    """Request cancellation, which is true once Stripe confirms it. The first request stays; a hold is released."""
    held = payment.status is PaymentStatus.AUTHORIZED and reason is not CancellationReason.RELEASED
    if payment.is_terminal or payment.cancel_requested or payment.capture_requested_by is not None or held:
        return payment
    return replace(payment, cancel_requested=reason, cancel_requested_by=by)


def request_settlement(payment: Payment, *, how: str, by: int) -> Payment:
    """Request cancellation because the shop was paid otherwise; unchanged where a cancellation cannot be requested."""
    settled = request_cancel(payment, reason=CancellationReason.SETTLED, by=by)
    return settled if settled == payment else replace(settled, settled_as=how)


def rotate_cancel_key(payment: Payment) -> Payment:
    """Move to the next cancel key: Stripe stored a rejection under this one."""
    return replace(payment, cancel_key_version=payment.cancel_key_version + 1)


def is_expired(payment: Payment, now: datetime) -> bool:
    """Whether the request's time or its attempts are used up, so that it must be canceled at Stripe."""
    if not payment.is_payable or payment.cancel_requested:
        return False
    return now >= payment.expires_at or (payment.attempt.number >= MAX_ATTEMPTS and payment.attempt.is_finished)


def next_check_at(payment: Payment, *, now: datetime, timing: Timing) -> datetime | None:
    """When the reconciler checks the payment next (UTC); None if nothing can change any more."""
    if payment.is_terminal:
        return None
    soonest = now + timedelta(seconds=1)
    if is_expired(payment, now):
        return now + retry_delay(payment.id, payment.error_count) if payment.last_error else soonest
    attempt = payment.attempt
    ahead = [at for at in (attempt.link_usable_until, attempt.expires_at, payment.expires_at) if at and at > now]
    if attempt.status is not AttemptStatus.ACTIVE:
        ahead = [at for at in (payment.expires_at, now + IDLE_CHECK_INTERVAL) if at > now]
    asked = payment.cancel_requested and payment.status is not PaymentStatus.PROCESSING
    asked = asked or payment.capture_requested_by is not None
    if payment.last_error or asked or attempt.status is AttemptStatus.REQUESTED:
        ahead.append(now + retry_delay(payment.id, payment.error_count))
    elif payment.status is PaymentStatus.AUTHORIZED:
        ahead = [now + IDLE_CHECK_INTERVAL, *(at for at in holds.reminder_times(payment) if at > now)]
    elif attempt.status is AttemptStatus.ACTIVE or payment.status is PaymentStatus.PROCESSING:
        ahead.append(now + timedelta(seconds=timing.check_interval))
    return max(min(ahead, default=now), soonest)


class IntentMismatch(Exception):
    """Stripe's intent is not the one this payment requested; nothing is written, and an operator has to look."""


def verify_intent(payment: Payment, intent: Intent) -> None:
    """Check that amount, currency, mode and metadata of an intent are the payment's.

    Raises:
        IntentMismatch: with the names of the fields that differ, not their values.
    """
    ours = (payment.amount.minor, payment.amount.currency, payment.livemode, payment.id)
    theirs = (intent.amount, intent.currency, intent.livemode, intent.metadata.get("kvit_payment"))
    names = ("amount", "currency", "livemode", "kvit_payment")
    wrong = [name for name, mine, said in zip(names, ours, theirs, strict=True) if mine != said]
    if not payment.matches_intent(intent.id):
        wrong.append("id")
    if intent.amount_received > payment.amount.minor:
        wrong.append("received")
    if wrong:
        raise IntentMismatch(f"payment {payment.reference}: Stripe's intent differs in {', '.join(wrong)}")


def ignore_if_stale(decide: Callable[[Payment], Payment], began: datetime, now: datetime, payment: Payment) -> Payment:
    """Apply a retrieve, unless one that began later, in any process, was applied before.

    A retrieve dated after `now` was made under a wrong clock and is ignored.
    """
    if payment.synced_at is not None and began < payment.synced_at <= now:
        return payment
    after = decide(payment)
    return after if after == payment else replace(after, synced_at=began)
