"""Pure decisions: what a look at Stripe, an answer or a wish makes of a payment. No input, no output, no clock."""

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
"""Stripe's codes for an attempt that nobody used in time; every other code is a failure."""


IDLE_CHECK_INTERVAL = timedelta(hours=1)
"""How often a payment is looked at in which nothing should happen: a Dashboard may cancel it, and events get lost."""


@dataclass(frozen=True)
class Timing:
    """The times of this installation, in seconds: how long an attempt lives, how often a live one is looked at."""

    attempt_seconds: int = 300
    check_interval: float = 60


class Step(Enum):
    """What has to be said to Stripe next."""

    NOTHING = "nothing"
    CREATE = "make"
    SEARCH = "find"
    CONFIRM = "confirm"
    CANCEL = "cancel"
    RETRIEVE = "look"
    CAPTURE = "capture"


def next_step(payment: Payment, now: datetime) -> Step:
    """The one call that brings the payment forward; whoever was cut short goes on by the same question.

    A request is sent again only while Stripe surely knows its key, and searched for once the last one has arrived.
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


def apply_intent(payment: Payment, *, intent: Intent, now: datetime, timing: Timing) -> Payment:
    """What a look at Stripe makes of the payment: Stripe's status decides, final states stay."""
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
            live = _live(payment.attempt, intent, timing)
            return replace(payment, status=PaymentStatus.OPEN, attempt=live)
        case _:
            return replace(payment, status=PaymentStatus.OPEN, attempt=_over(payment.attempt, intent, now))


def apply_attempt_response(payment: Payment, *, number: int, intent: Intent, now: datetime, timing: Timing) -> Payment:
    """What Stripe's answer to attempt `number` makes of the payment; an answer that is overtaken is a plain look."""
    if (
        not payment.is_terminal
        and payment.attempt.number == number
        and payment.attempt.status is AttemptStatus.REQUESTED
    ):
        attempt = _begun(
            replace(payment.attempt, status=AttemptStatus.ACTIVE, redirect_url=intent.redirect_url), intent, timing
        )
        payment = replace(payment, attempt=attempt)
    return apply_intent(payment, intent=intent, now=now, timing=timing)


def _succeeded(payment: Payment, intent: Intent, now: datetime) -> Payment:
    won = replace(payment.attempt, status=AttemptStatus.SUCCEEDED, failure_code=None)
    return replace(
        payment,
        status=PaymentStatus.SUCCEEDED,
        attempt=won,
        amount_received=intent.amount_received,
        succeeded_at=now,
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


def _live(attempt: Attempt, intent: Intent, timing: Timing) -> Attempt:
    """The attempt while Stripe waits for the customer; one whose answer we never heard begins when it was asked."""
    if attempt.status is AttemptStatus.ACTIVE and attempt.redirect_url == intent.redirect_url:
        return attempt
    return _begun(
        replace(attempt, status=AttemptStatus.ACTIVE, redirect_url=intent.redirect_url, failure_code=None),
        intent,
        timing,
    )


def _begun(attempt: Attempt, intent: Intent, timing: Timing) -> Attempt:
    """The attempt with its times. The first began with the intent; a later one not before it was asked for."""
    began = intent.created_at if attempt.number == 1 and intent.created_at else attempt.requested_at
    started_at = attempt.started_at or began
    return replace(attempt, started_at=started_at, expires_at=attempt_expires_at(started_at, timing.attempt_seconds))


def _over(attempt: Attempt, intent: Intent, now: datetime) -> Attempt:
    """The attempt once Stripe wants another payment method.

    A later attempt that is only asked for may not have reached Stripe yet, so a look cannot end it before its last
    request has arrived; then it is over with no word, for nobody had its link, and the error may be of the one before.
    The first was made in the same call as the intent, so it is over.
    """
    unheard = attempt.status is AttemptStatus.REQUESTED and attempt.number > 1
    if attempt.is_finished or (unheard and now - attempt.requested_at < SEARCH_AFTER):
        return attempt
    if unheard:
        return replace(attempt, status=AttemptStatus.CANCELED)
    if intent.error_code is None or intent.error_code in EXPIRY_CODES:
        return replace(attempt, status=AttemptStatus.EXPIRED, failure_code=intent.error_code)
    return replace(attempt, status=AttemptStatus.FAILED, failure_code=intent.decline_code or intent.error_code)


def record_error(payment: Payment, *, code: str) -> Payment:
    """Stripe did not answer or passed us by; remember it for the card and wait longer each time."""
    return replace(payment, last_error=code, error_count=payment.error_count + 1)


def mark_waiting(payment: Payment, *, code: str) -> Payment:
    """Stripe takes its time; nothing is known to be wrong where no answer is owed."""
    return record_error(payment, code=code) if payment.awaits_stripe else payment


def invalidate_key(payment: Payment, *, code: str) -> Payment:
    """Stripe refused our key before it looked at the request, but an earlier try may have got through unheard.

    So the request counts as too old to be sent again: Stripe is searched first, once it lets us in.
    """
    if payment.status is not PaymentStatus.CREATED or payment.intent_id is not None:
        return payment
    too_old = replace(payment.attempt, requested_at=payment.attempt.requested_at - SEARCH_AFTER)
    return replace(record_error(payment, code=code), attempt=too_old)


def reject(payment: Payment, *, code: str, now: datetime) -> Payment:
    """Stripe refused to make the intent: it never existed, so no money can come."""
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
    """A look by list found no intent of ours: end the payment if that is wanted, else ask again with a new key.

    `number` is that of the key that was looked for: another process may have gone on to the next one meanwhile, and
    what that key makes was not there to be found.
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
    """The intention of one more attempt, where Stripe is known to want one; otherwise the payment as it is."""
    if payment.status is not PaymentStatus.OPEN or not payment.attempt.is_finished or payment.cancel_requested:
        return payment
    if payment.attempt.number >= MAX_ATTEMPTS:
        return payment
    attempt = Attempt(payment.attempt.number + 1, AttemptStatus.REQUESTED, origin, requested_at=now, trigger_key=cause)
    return replace(payment, attempt=attempt)


def reject_attempt(payment: Payment, *, number: int, code: str) -> Payment:
    """Stripe finally refused the confirm of attempt `number`: it is over and nothing was opened."""
    attempt = payment.attempt
    if payment.is_terminal or attempt.number != number or attempt.status is not AttemptStatus.REQUESTED:
        return payment
    return replace(payment, attempt=replace(attempt, status=AttemptStatus.FAILED, failure_code=code))


def request_cancel(payment: Payment, *, reason: CancellationReason, by: int | None = None) -> Payment:
    """The wish to end the request, true only once Stripe says so: the first one stays, and a hold takes a release."""
    held = payment.status is PaymentStatus.AUTHORIZED and reason is not CancellationReason.RELEASED
    if payment.is_terminal or payment.cancel_requested or payment.capture_requested_by is not None or held:
        return payment
    return replace(payment, cancel_requested=reason, cancel_requested_by=by)


def rotate_cancel_key(payment: Payment) -> Payment:
    """A stored refusal sits on the cancel's key: the next one needs another."""
    return replace(payment, cancel_key_version=payment.cancel_key_version + 1)


def is_expired(payment: Payment, now: datetime) -> bool:
    """Whether the request's own time is over, or its last attempt is, so that it must be canceled at Stripe."""
    if not payment.is_payable or payment.cancel_requested:
        return False
    return now >= payment.expires_at or (payment.attempt.number >= MAX_ATTEMPTS and payment.attempt.is_finished)


def next_check_at(payment: Payment, *, now: datetime, timing: Timing) -> datetime | None:
    """When the sweep should attend to the payment next; None where nothing can change any more."""
    if payment.is_terminal:
        return None
    soonest = now + timedelta(seconds=1)
    if is_expired(payment, now):
        return soonest
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


class IntentMismatch(Exception):  # a fact for a human
    """Stripe's intent is not the one this payment asked for; nothing is written."""


def verify_intent(payment: Payment, intent: Intent) -> None:
    """Refuse an intent whose amount, currency, mode or name is not ours.

    Raises:
        Mismatch: with the fields that differ, without their values.
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
    """What a look makes of the payment, unless one that began later, in whatever process, has changed it before.

    A look that lies ahead of `now` was dated by a clock that was wrong, and says nothing.
    """
    if payment.synced_at is not None and began < payment.synced_at <= now:
        return payment
    after = decide(payment)
    return after if after == payment else replace(after, synced_at=began)
