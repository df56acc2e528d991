"""Pure decisions about refunds: who may approve, what Stripe's state makes of a refund, and the next step."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from enum import Enum
from itertools import takewhile

from handlers.stripe.retry import IDEMPOTENCY_KEY_TTL, SEARCH_AFTER, may_still_arrive, retry_delay
from storage.errors import (
    BlockedByDispute,
    HoldNotRefundable,
    NothingPaid,
    NothingRefundable,
    RefundableAmountChanged,
    RefundAlreadyDecided,
    RefundAlreadyRequested,
    RefundExceedsBalance,
    RefundExpired,
    RefundLimitExceeded,
    SecondApproverInvited,
    SecondApproverRequired,
    TakenByDispute,
    TooManyRefundRequests,
)
from storage.models.money import Money
from storage.models.payment import Payment, PaymentStatus
from storage.models.refund import (
    APPROVAL_TTL,
    BALANCE_RETRY_TTL,
    LIMIT_WINDOW,
    RECOVERED_PREFIX,
    RESERVING_STATUSES,
    Refund,
    RefundStatus,
    StripeRefund,
)
from storage.refunds import RefundLimits

NO_BALANCE = frozenset({"balance_insufficient", "insufficient_funds"})
"""Stripe's codes for a refund that the account's balance does not cover."""

AFTER_SUCCESS = tuple(timedelta(days=days) for days in (1, 3, 7, 14, 30, 35))
"""When a succeeded refund is checked again: it may fail for 30 days, and events get lost."""

MAX_REQUESTS_PER_PAYMENT = 5
MAX_REQUESTS_PER_PERSON = 30
"""Refunds that one person may ask the admins for within 24 hours: of one payment, and of all payments of the shop."""

PENDING_LOOK = timedelta(hours=1)


class RefundStep(Enum):
    """The next step of a refund."""

    NOTHING = "nothing"
    EXPIRE = "expire"
    ABANDON = "abandon"
    CREATE = "create"
    RETRIEVE = "retrieve"
    SEARCH = "search"


def next_step(refund: Refund, now: datetime) -> RefundStep:
    """The next step that advances the refund; the same after a crash."""
    if refund.is_pending_decision:
        return RefundStep.EXPIRE if refund.is_expired(now) else RefundStep.NOTHING
    if refund.status is RefundStatus.APPROVED:
        if refund.retry_until is not None:
            return RefundStep.ABANDON if now >= refund.retry_until else RefundStep.NOTHING
        if refund.first_sent_at is not None and (age := now - refund.first_sent_at) >= IDEMPOTENCY_KEY_TTL:
            return RefundStep.SEARCH if age >= SEARCH_AFTER else RefundStep.RETRIEVE
        return RefundStep.CREATE
    unseen = refund.status is RefundStatus.EXPIRED and refund.last_error is not None
    if refund.status in RESERVING_STATUSES or refund.status is RefundStatus.SUCCEEDED or unseen:
        return RefundStep.RETRIEVE
    return RefundStep.NOTHING


def next_look(refund: Refund, now: datetime) -> datetime | None:
    """When the reconciler checks the refund next (UTC); None if nothing can change any more."""
    match refund.status:
        case RefundStatus.DRAFT | RefundStatus.AWAITING_APPROVAL:
            return refund.expires_at
        case RefundStatus.APPROVED:
            return refund.retry_until or now + retry_delay(refund.id, refund.error_count)
        case RefundStatus.PENDING | RefundStatus.REQUIRES_ACTION:
            return now + PENDING_LOOK
        case RefundStatus.EXPIRED if refund.last_error:
            return now + PENDING_LOOK
        case RefundStatus.SUCCEEDED if refund.last_error:
            return now + retry_delay(refund.id, refund.error_count)
        case RefundStatus.SUCCEEDED:
            since = refund.settled_at or now
            return next((since + after for after in AFTER_SUCCESS if since + after > now), None)
        case _:
            return None


def check_refundable(refund: Refund, limits: RefundLimits) -> Refund:
    """The refund, if that much can be refunded.

    Raises:
        HoldNotRefundable, NothingPaid, BlockedByDispute, TakenByDispute, NothingRefundable, RefundExceedsBalance.
    """
    payment, left = limits.payment, limits.refundable
    if payment.status is PaymentStatus.AUTHORIZED:
        raise HoldNotRefundable(ref=payment.reference)
    if not payment.amount_received:
        raise NothingPaid
    if limits.blocked_by_dispute:
        raise BlockedByDispute(ref=payment.reference)
    if left <= 0 and limits.lost_to_disputes:
        raise TakenByDispute(ref=payment.reference, lost=Money(limits.lost_to_disputes, payment.amount.currency))
    if left <= 0:
        raise NothingRefundable(ref=payment.reference)
    if refund.amount.minor > left:
        raise RefundExceedsBalance(ref=payment.reference, left=Money(left, payment.amount.currency))
    return refund


def create_draft(refund: Refund, limits: RefundLimits, *, above: int | None) -> Refund:
    """A draft with the refundable amount of this moment, which is what people are shown.

    If more than `above` of the payment would be refunded on single approvals, all parts together, two are needed.

    Raises:
        RefundAlreadyRequested, TooManyRefundRequests, and those of `check_refundable`.
    """
    if refund.status is RefundStatus.AWAITING_APPROVAL:
        _check_requests(refund, limits)
    check_refundable(refund, limits)
    two = above is not None and limits.single_approval_total + refund.amount.minor > above
    return replace(refund, refundable_at_request=limits.refundable, approvals_needed=2 if two else 1)


def _check_requests(refund: Refund, limits: RefundLimits) -> None:
    """Allow one pending request of a person per payment, and a few a day: each is a message to every admin."""
    now, ref = refund.requested_at, limits.payment.reference
    own = [one for one in limits.of_payment if one.requested_by == refund.requested_by]
    for other in own:
        if other.status is RefundStatus.AWAITING_APPROVAL and not other.is_expired(now):
            raise RefundAlreadyRequested(ref=ref, amount=other.amount)
    recent = [one for one in own if one.requested_at > now - LIMIT_WINDOW]
    if len(recent) >= MAX_REQUESTS_PER_PAYMENT or limits.requests_by_author >= MAX_REQUESTS_PER_PERSON:
        raise TooManyRefundRequests(ref=ref)


def is_second_person(
    first: int, second: int, invited_through: Mapping[int, tuple[int, ...]], owners: frozenset[int]
) -> bool:
    """Whether these two count as two people: one is an owner, or no invitations of admins connect them.

    An admin could invite their own second account, directly, through a third one, or two of them. A role that an owner
    gave connects no two people.
    """
    if first == second:
        return False
    if not owners.isdisjoint({first, second}):
        return True
    one, other = (
        set(takewhile(lambda user_id: user_id not in owners, invited_through.get(person, (person,))))
        for person in (first, second)
    )
    return one.isdisjoint(other)


def approve(
    refund: Refund,
    limits: RefundLimits,
    *,
    person: int,
    owners: frozenset[int] = frozenset(),
    limit: int,
    params: str,
    now: datetime,
) -> Refund:
    """Record one more approval; with the last that is needed the money is reserved for the refund.

    Raises:
        RefundAlreadyDecided, RefundExpired, SecondApproverRequired, SecondApproverInvited, RefundableAmountChanged,
        RefundLimitExceeded, and those of `check_refundable`.
    """
    if refund.status is RefundStatus.EXPIRED or (refund.is_pending_decision and refund.is_expired(now)):
        raise RefundExpired
    if not refund.is_pending_decision:
        raise RefundAlreadyDecided
    own_wish = refund.status is RefundStatus.AWAITING_APPROVAL and refund.requested_by == person
    if own_wish or person in refund.approvers:
        raise SecondApproverRequired
    if not all(is_second_person(first, person, limits.invited_through, owners) for first in refund.approvers):
        raise SecondApproverInvited
    check_refundable(refund, limits)
    if limits.refundable != refund.refundable_at_request:
        raise RefundableAmountChanged(left=Money(limits.refundable, refund.amount.currency))
    for one in {person, *refund.approvers}:
        if limits.approved_by_person.get(one, 0) + refund.amount.minor > limit:
            raise RefundLimitExceeded(limit=Money(limit, refund.amount.currency))
    if refund.approved_by is None:
        refund = replace(refund, approved_by=person, approved_at=now)
    else:
        refund = replace(refund, second_approved_by=person, second_approved_at=now)
    if len(refund.approvers) < refund.approvals_needed:
        return replace(refund, status=RefundStatus.AWAITING_APPROVAL, expires_at=now + APPROVAL_TTL)
    return replace(refund, status=RefundStatus.APPROVED, reserved_at=now, params=params)


def decline(refund: Refund, _: RefundLimits, *, person: int, now: datetime) -> Refund:
    """Record that this person declined the refund, or withdrew their own request.

    Raises:
        RefundAlreadyDecided, RefundExpired: it is too late.
    """
    if refund.status is RefundStatus.EXPIRED:
        raise RefundExpired
    if not refund.is_pending_decision:
        raise RefundAlreadyDecided
    return replace(refund, status=RefundStatus.DECLINED, declined_by=person, declined_at=now)


def expire(refund: Refund, _: RefundLimits, *, now: datetime, unseen: str | None = None) -> Refund:
    """End a refund that was not approved in time. `unseen` is the error that kept Stripe from being searched for it."""
    if not refund.is_pending_decision or not refund.is_expired(now):
        return refund
    return replace(refund, status=RefundStatus.EXPIRED, last_error=unseen)


def record_sync(refund: Refund, _: RefundLimits, *, unseen: str | None) -> Refund:
    """Record that a refund that is over was searched for at Stripe and not found, or could not be searched for."""
    return replace(refund, last_error=unseen) if refund.status is RefundStatus.EXPIRED else refund


def mark_sent(refund: Refund, _: RefundLimits, *, now: datetime) -> Refund:
    """Record that the request is about to be sent, for the first time or again; from now on it may have happened."""
    if refund.status is not RefundStatus.APPROVED:
        return refund
    return replace(refund, first_sent_at=refund.first_sent_at or now, last_sent_at=now)


def rotate_key(refund: Refund, _: RefundLimits, *, number: int) -> Refund:
    """Move to the next key: request `number` came to nothing.

    Another process may have moved to the next key since; then nothing changes.
    """
    if refund.status is not RefundStatus.APPROVED or refund.key_version != number:
        return refund
    rotated = replace(refund, key_version=refund.key_version + 1, first_sent_at=None, last_sent_at=None)
    return replace(rotated, retry_until=None, expires_at=None, last_error=None)


def mark_insufficient_balance(refund: Refund, _: RefundLimits, *, number: int, code: str, now: datetime) -> Refund:
    """Record that Stripe rejected request `number` for insufficient balance: it stays approved for a while."""
    if refund.status is not RefundStatus.APPROVED or refund.key_version != number:
        return refund
    until = refund.retry_until or now + BALANCE_RETRY_TTL
    if refund.key_version > 1 and refund.expires_at is not None:
        until = min(until, refund.expires_at)
    return replace(refund, last_error=code, retry_until=until)


def retry(refund: Refund, limits: RefundLimits, *, now: datetime) -> Refund:
    """Try again now.

    Raises:
        RefundAlreadyDecided: there is nothing to try.
        RefundExpired: its time is over.
    """
    if refund.status is not RefundStatus.APPROVED or refund.retry_until is None:
        raise RefundAlreadyDecided
    if now >= refund.retry_until:
        raise RefundExpired
    rotated = rotate_key(refund, limits, number=refund.key_version)
    return replace(rotated, expires_at=refund.retry_until)  # ten minutes in all, however many tries


def reject(refund: Refund, _: RefundLimits, *, number: int, code: str, now: datetime) -> Refund:
    """Record that the refund will not be made, unless request `number` was not the last: its reservation ends."""
    if refund.status is not RefundStatus.APPROVED or refund.key_version != number:
        return refund
    return replace(
        refund, status=RefundStatus.REJECTED, failure_reason=code, retry_until=None, last_error=None, settled_at=now
    )


def withdraw(refund: Refund, limits: RefundLimits, *, number: int, code: str, now: datetime) -> Refund:
    """Withdraw an approved refund, unless its last request may still reach Stripe."""
    if may_still_arrive(refund.last_sent_at, now):
        return refund
    return reject(refund, limits, number=number, code=code, now=now)


def record_error(refund: Refund, _: RefundLimits, *, code: str) -> Refund:
    """Record that Stripe did not answer; the next try comes later each time."""
    return replace(refund, last_error=code, error_count=refund.error_count + 1)


def apply_stripe_refund(refund: Refund, report: StripeRefund, *, now: datetime) -> Refund:
    """Apply Stripe's state of a refund that we know; it never returns to an earlier step."""
    if refund.status is RefundStatus.SUCCEEDED and report.status in RESERVING_STATUSES:
        return replace(refund, last_error=None, error_count=0)
    if refund.status in {RefundStatus.FAILED, RefundStatus.CANCELED}:
        return refund
    settled = now if report.status not in RESERVING_STATUSES else None
    if report.status is refund.status:
        settled = refund.settled_at
    return replace(
        refund,
        status=report.status,
        stripe_id=report.stripe_id,
        amount=Money(report.amount, report.currency),
        pending_reason=report.pending_reason if report.status is RefundStatus.PENDING else None,
        failure_reason=report.failure_reason,
        last_error=None,
        error_count=0,
        retry_until=None,
        reserved_at=refund.reserved_at,
        settled_at=settled,
        refunded_at=report.created_at or refund.refunded_at or now,
    )


def matches_payment(payment: Payment, report: StripeRefund) -> bool:
    """Whether a refund can belong to this payment."""
    return report.currency == payment.amount.currency and 0 < report.amount <= payment.amount_received


def import_stripe_refund(payment: Payment, report: StripeRefund, *, now: datetime) -> Refund:
    """A refund that was not requested here: it was made in Stripe's Dashboard, or our database was restored."""
    bare = Refund(
        id=secrets.token_urlsafe(12),
        payment_id=payment.id,
        shop_id=payment.shop_id,
        request_key=f"{RECOVERED_PREFIX if report.refund_id else 'stripe:'}{report.stripe_id}",
        amount=Money(report.amount, report.currency),
        status=RefundStatus.PENDING,
        requested_at=report.created_at or now,
        refundable_at_request=payment.refundable,
        approvals_needed=0,
        reserved_at=now,
    )
    return apply_stripe_refund(bare, report, now=now)


def is_superseded(refund: Refund, limits: RefundLimits, others: Iterable[Refund], now: datetime) -> bool:
    """Whether a refund at Stripe or a dispute took from the amount that the approvers were shown.

    What was approved here since then was approved knowingly and does not count. What failed since then makes limits
    again, but does not undo a refund that was made elsewhere.
    """
    others = [one for one in others if one.reserves_money and one.id != refund.id]
    if any(_came_since(one, refund, now) for one in others):
        return True
    since = [one for one in others if _approved_since(one, refund)]
    left = limits.payment.refundable - limits.lost_to_disputes + refund.amount.minor
    return left + sum(one.amount.minor for one in since) < refund.refundable_at_request


def _approved_since(one: Refund, refund: Refund) -> bool:
    if not one.params or one.reserved_at is None or refund.reserved_at is None:
        return False
    return one.reserved_at >= refund.reserved_at


def _came_since(one: Refund, refund: Refund, now: datetime) -> bool:
    """Whether it was found at Stripe since then although it was not approved here, as far as the database knows.

    What is dated after `now` was found under a wrong clock and is ignored.
    """
    if one.params or refund.reserved_at is None:
        return False
    # Nothing is reserved for a found refund, nor for a request that a restored database holds as undecided.
    counted_at = one.reserved_at or (one.requested_at if one.requested_by is None else one.settled_at)
    return counted_at is not None and refund.reserved_at < counted_at <= now
