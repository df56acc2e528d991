"""Pure decisions: what a look at Stripe, an answer or a wish makes of a payment. No input, no output, no clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from handlers.payments import holds
from handlers.stripe.gateway import Intent, IntentStatus
from handlers.stripe.retry import KEY_LIFE, SEARCHED_AFTER, patience
from storage.models.payment import (
    MAX_ATTEMPTS,
    Attempt,
    AttemptOutcome,
    CancelReason,
    Origin,
    Payment,
    PaymentStatus,
    attempt_ends,
)

LAPSE_CODES = frozenset({"payment_intent_payment_attempt_expired", "payment_method_provider_timeout"})
"""Stripe's codes for an attempt that nobody used in time; every other code is a failure."""


SELDOM = timedelta(hours=1)
"""How often a payment is looked at in which nothing should happen: a Dashboard may cancel it, and events get lost."""


@dataclass(frozen=True)
class Times:
    """The times of this installation, in seconds: how long an attempt lives, how often a live one is looked at."""

    attempt_seconds: int = 300
    look_seconds: float = 60


class Step(Enum):
    """What has to be said to Stripe next."""

    NOTHING = "nothing"
    MAKE = "make"
    FIND = "find"
    CONFIRM = "confirm"
    CANCEL = "cancel"
    LOOK = "look"
    CAPTURE = "capture"


def next_step(payment: Payment, now: datetime) -> Step:
    """The one call that brings the payment forward; whoever was cut short goes on by the same question.

    A request is sent again only while Stripe surely knows its key, and searched for once the last one has arrived.
    """
    if payment.is_final:
        return Step.NOTHING
    age = now - payment.attempt.asked_at
    fresh_key = age < KEY_LIFE
    if payment.intent_id is None and age >= SEARCHED_AFTER:
        return Step.FIND
    if payment.intent_id is None:
        return Step.MAKE if fresh_key else Step.LOOK
    if payment.capture_by is not None and payment.status is PaymentStatus.AUTHORIZED:
        return Step.CAPTURE
    if payment.cancel_asked and payment.status is not PaymentStatus.PROCESSING:
        return Step.CANCEL
    if payment.attempt.outcome is AttemptOutcome.ASKED and payment.attempt.number > 1 and fresh_key:
        return Step.CONFIRM
    return Step.LOOK


def observe(payment: Payment, *, intent: Intent, now: datetime, times: Times) -> Payment:
    """What a look at Stripe makes of the payment: Stripe's status decides, final states stay."""
    if payment.is_final:
        return payment
    payment = replace(payment, intent_id=intent.id, trouble=None, trouble_count=0)
    match intent.status:
        case IntentStatus.SUCCEEDED:
            return _succeeded(payment, intent, now)
        case IntentStatus.CANCELED:
            return _canceled(payment, intent, now)
        case IntentStatus.REQUIRES_CAPTURE:
            return holds.authorized(payment, now)
        case IntentStatus.PROCESSING:
            return replace(payment, status=PaymentStatus.PROCESSING)
        case IntentStatus.REQUIRES_ACTION:
            live = _live(payment.attempt, intent, times)
            return replace(payment, status=PaymentStatus.OPEN, attempt=live)
        case _:
            return replace(payment, status=PaymentStatus.OPEN, attempt=_over(payment.attempt, intent, now))


def attempt_answered(payment: Payment, *, number: int, intent: Intent, now: datetime, times: Times) -> Payment:
    """What Stripe's answer to attempt `number` makes of the payment; an answer that is overtaken is a plain look."""
    if not payment.is_final and payment.attempt.number == number and payment.attempt.outcome is AttemptOutcome.ASKED:
        attempt = _begun(replace(payment.attempt, outcome=AttemptOutcome.LIVE, link=intent.link), intent, times)
        payment = replace(payment, attempt=attempt)
    return observe(payment, intent=intent, now=now, times=times)


def _succeeded(payment: Payment, intent: Intent, now: datetime) -> Payment:
    won = replace(payment.attempt, outcome=AttemptOutcome.SUCCEEDED, code=None)
    return replace(
        payment,
        status=PaymentStatus.SUCCEEDED,
        attempt=won,
        received=intent.received,
        succeeded_at=now,
        ended_at=now,
    )


def _canceled(payment: Payment, intent: Intent, now: datetime) -> Payment:
    attempt = payment.attempt
    if not attempt.is_over:
        attempt = replace(attempt, outcome=AttemptOutcome.CANCELED)
    lapsed = holds.has_lapsed(payment, intent.cancellation_reason, now)
    by_itself = CancelReason.HOLD_LAPSED if lapsed else CancelReason.BY_STRIPE
    return replace(
        payment,
        status=PaymentStatus.CANCELED,
        attempt=attempt,
        canceled_because=payment.cancel_asked or by_itself,
        ended_at=now,
    )


def _live(attempt: Attempt, intent: Intent, times: Times) -> Attempt:
    """The attempt while Stripe waits for the customer; one whose answer we never heard begins when it was asked."""
    if attempt.outcome is AttemptOutcome.LIVE and attempt.link == intent.link:
        return attempt
    return _begun(replace(attempt, outcome=AttemptOutcome.LIVE, link=intent.link, code=None), intent, times)


def _begun(attempt: Attempt, intent: Intent, times: Times) -> Attempt:
    """The attempt with its times. The first began with the intent; a later one not before it was asked for."""
    began = intent.created_at if attempt.number == 1 and intent.created_at else attempt.asked_at
    started_at = attempt.started_at or began
    return replace(attempt, started_at=started_at, ends_at=attempt_ends(started_at, times.attempt_seconds))


def _over(attempt: Attempt, intent: Intent, now: datetime) -> Attempt:
    """The attempt once Stripe wants another payment method.

    A later attempt that is only asked for may not have reached Stripe yet, so a look cannot end it before its last
    request has arrived; then it is over with no word, for nobody had its link, and the error may be of the one before.
    The first was made in the same call as the intent, so it is over.
    """
    unheard = attempt.outcome is AttemptOutcome.ASKED and attempt.number > 1
    if attempt.is_over or (unheard and now - attempt.asked_at < SEARCHED_AFTER):
        return attempt
    if unheard:
        return replace(attempt, outcome=AttemptOutcome.CANCELED)
    if intent.error_code is None or intent.error_code in LAPSE_CODES:
        return replace(attempt, outcome=AttemptOutcome.LAPSED, code=intent.error_code)
    return replace(attempt, outcome=AttemptOutcome.FAILED, code=intent.decline_code or intent.error_code)


def troubled(payment: Payment, *, code: str) -> Payment:
    """Stripe did not answer or passed us by; remember it for the card and wait longer each time."""
    return replace(payment, trouble=code, trouble_count=payment.trouble_count + 1)


def waiting(payment: Payment, *, code: str) -> Payment:
    """Stripe takes its time; nothing is known to be wrong where no answer is owed."""
    return troubled(payment, code=code) if payment.waits_for_stripe else payment


def key_refused(payment: Payment, *, code: str) -> Payment:
    """Stripe refused our key before it looked at the request, but an earlier try may have got through unheard.

    So the request counts as too old to be sent again: Stripe is searched first, once it lets us in.
    """
    if payment.status is not PaymentStatus.CREATED or payment.intent_id is not None:
        return payment
    too_old = replace(payment.attempt, asked_at=payment.attempt.asked_at - SEARCHED_AFTER)
    return replace(troubled(payment, code=code), attempt=too_old)


def refused(payment: Payment, *, code: str, now: datetime) -> Payment:
    """Stripe refused to make the intent: it never existed, so no money can come."""
    if payment.status is not PaymentStatus.CREATED or payment.intent_id is not None:
        return payment
    return replace(_never_existed(payment, CancelReason.REFUSED, now), trouble=code)


def _never_existed(payment: Payment, reason: CancelReason, now: datetime) -> Payment:
    return replace(
        payment,
        status=PaymentStatus.CANCELED,
        attempt=replace(payment.attempt, outcome=AttemptOutcome.CANCELED),
        canceled_because=payment.cancel_asked or reason,
        ended_at=now,
    )


def not_found(payment: Payment, *, number: int, now: datetime) -> Payment:
    """A look by list found no intent of ours: end the payment if that is wanted, else ask again with a new key.

    `number` is that of the key that was looked for: another process may have gone on to the next one meanwhile, and
    what that key makes was not there to be found.
    """
    if payment.status is not PaymentStatus.CREATED or payment.intent_id is not None:
        return payment
    if payment.create_number != number:
        return payment
    if payment.cancel_asked:
        return _never_existed(payment, payment.cancel_asked, now)
    asked_again = replace(payment.attempt, asked_at=now)
    return replace(payment, create_number=payment.create_number + 1, attempt=asked_again)


def next_attempt(payment: Payment, *, origin: Origin, now: datetime, cause: str | None = None) -> Payment:
    """The intention of one more attempt, where Stripe is known to want one; otherwise the payment as it is."""
    if payment.status is not PaymentStatus.OPEN or not payment.attempt.is_over or payment.cancel_asked:
        return payment
    if payment.attempt.number >= MAX_ATTEMPTS:
        return payment
    attempt = Attempt(payment.attempt.number + 1, AttemptOutcome.ASKED, origin, asked_at=now, cause=cause)
    return replace(payment, attempt=attempt)


def attempt_refused(payment: Payment, *, number: int, code: str) -> Payment:
    """Stripe finally refused the confirm of attempt `number`: it is over and nothing was opened."""
    attempt = payment.attempt
    if payment.is_final or attempt.number != number or attempt.outcome is not AttemptOutcome.ASKED:
        return payment
    return replace(payment, attempt=replace(attempt, outcome=AttemptOutcome.FAILED, code=code))


def cancel_asked(payment: Payment, *, reason: CancelReason, by: int | None = None) -> Payment:
    """The wish to end the request, true only once Stripe says so: the first one stays, and a hold takes a release."""
    held = payment.status is PaymentStatus.AUTHORIZED and reason is not CancelReason.RELEASED
    if payment.is_final or payment.cancel_asked or payment.capture_by is not None or held:
        return payment
    return replace(payment, cancel_asked=reason, cancel_by=by)


def cancel_again(payment: Payment) -> Payment:
    """A stored refusal sits on the cancel's key: the next one needs another."""
    return replace(payment, cancel_number=payment.cancel_number + 1)


def is_past_its_time(payment: Payment, now: datetime) -> bool:
    """Whether the request's own time is over, or its last attempt is, so that it must be canceled at Stripe."""
    if not payment.is_payable or payment.cancel_asked:
        return False
    return now >= payment.expires_at or (payment.attempt.number >= MAX_ATTEMPTS and payment.attempt.is_over)


def next_look(payment: Payment, *, now: datetime, times: Times) -> datetime | None:
    """When the sweep should attend to the payment next; None where nothing can change any more."""
    if payment.is_final:
        return None
    soonest = now + timedelta(seconds=1)
    if is_past_its_time(payment, now):
        return soonest
    attempt = payment.attempt
    ahead = [at for at in (attempt.fresh_until, attempt.ends_at, payment.expires_at) if at and at > now]
    if attempt.outcome is not AttemptOutcome.LIVE:
        ahead = [at for at in (payment.expires_at, now + SELDOM) if at > now]
    asked = payment.cancel_asked and payment.status is not PaymentStatus.PROCESSING
    asked = asked or payment.capture_by is not None
    if payment.trouble or asked or attempt.outcome is AttemptOutcome.ASKED:
        ahead.append(now + patience(payment.id, payment.trouble_count))
    elif payment.status is PaymentStatus.AUTHORIZED:
        ahead = [now + SELDOM, *(at for at in holds.reminders(payment) if at > now)]
    elif attempt.outcome is AttemptOutcome.LIVE or payment.status is PaymentStatus.PROCESSING:
        ahead.append(now + timedelta(seconds=times.look_seconds))
    return max(min(ahead, default=now), soonest)


class Mismatch(Exception):  # a fact for a human
    """Stripe's intent is not the one this payment asked for; nothing is written."""


def faithful(payment: Payment, intent: Intent) -> None:
    """Refuse an intent whose amount, currency, mode or name is not ours.

    Raises:
        Mismatch: with the fields that differ, without their values.
    """
    ours = (payment.amount.minor, payment.amount.currency, payment.livemode, payment.id)
    theirs = (intent.amount, intent.currency, intent.livemode, intent.metadata.get("kvit_payment"))
    names = ("amount", "currency", "livemode", "kvit_payment")
    wrong = [name for name, mine, said in zip(names, ours, theirs, strict=True) if mine != said]
    if not payment.may_be(intent.id):
        wrong.append("id")
    if intent.received > payment.amount.minor:
        wrong.append("received")
    if wrong:
        raise Mismatch(f"payment {payment.ref}: Stripe's intent differs in {', '.join(wrong)}")


def unless_older(decide: Callable[[Payment], Payment], began: datetime, now: datetime, payment: Payment) -> Payment:
    """What a look makes of the payment, unless one that began later, in whatever process, has changed it before.

    A look that lies ahead of `now` was dated by a clock that was wrong, and says nothing.
    """
    if payment.looked_at is not None and began < payment.looked_at <= now:
        return payment
    after = decide(payment)
    return after if after == payment else replace(after, looked_at=began)
