"""Pure decisions about refunds: who may let one pass, what Stripe's word makes of it, and what comes next."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from enum import Enum

from handlers.stripe.retry import KEY_LIFE, SEARCHED_AFTER, is_on_its_way, patience
from storage.errors import (
    DisputeForbids,
    LostToDispute,
    NothingLeft,
    NothingPaid,
    OverRefundLimit,
    RefundChanged,
    RefundDecided,
    RefundExceedsBalance,
    RefundExpired,
    RefundOfHold,
    SecondPersonNeeded,
)
from storage.models.money import Money
from storage.models.payment import Payment, PaymentStatus
from storage.models.refund import ASKED_LIFE, LOST, ON_ITS_WAY, RETRY_LIFE, Refund, RefundReport, RefundStatus
from storage.refunds import Room

NO_BALANCE = frozenset({"balance_insufficient", "insufficient_funds"})
"""Stripe's codes for a refund that the seller's balance does not cover."""

AFTER_SUCCESS = tuple(timedelta(days=days) for days in (1, 3, 7, 14, 30, 35))
"""When a refund that succeeded is looked at again: it may fail for 30 days, and events get lost."""

PENDING_LOOK = timedelta(hours=1)


class RefundStep(Enum):
    """What has to be done about a refund next."""

    NOTHING = "nothing"
    EXPIRE = "expire"
    GIVE_UP = "give up"
    ASK = "ask"
    LOOK = "look"
    FIND = "find"


def next_step(refund: Refund, now: datetime) -> RefundStep:
    """The one thing that brings the refund forward; whoever was cut short goes on by the same question."""
    if refund.is_open:
        return RefundStep.EXPIRE if refund.is_late(now) else RefundStep.NOTHING
    if refund.status is RefundStatus.APPROVED:
        if refund.retry_until is not None:
            return RefundStep.GIVE_UP if now >= refund.retry_until else RefundStep.NOTHING
        if refund.sent_at is not None and (age := now - refund.sent_at) >= KEY_LIFE:
            return RefundStep.FIND if age >= SEARCHED_AFTER else RefundStep.LOOK
        return RefundStep.ASK
    unseen = refund.status is RefundStatus.EXPIRED and refund.trouble is not None
    if refund.status in ON_ITS_WAY or refund.status is RefundStatus.SUCCEEDED or unseen:
        return RefundStep.LOOK
    return RefundStep.NOTHING


def next_look(refund: Refund, now: datetime) -> datetime | None:
    """When the sweep should attend to the refund next; None where nothing can change any more."""
    match refund.status:
        case RefundStatus.DRAFT | RefundStatus.ASKED:
            return refund.expires_at
        case RefundStatus.APPROVED:
            return refund.retry_until or now + patience(refund.id, refund.trouble_count)
        case RefundStatus.PENDING | RefundStatus.REQUIRES_ACTION:
            return now + PENDING_LOOK
        case RefundStatus.EXPIRED if refund.trouble:
            return now + PENDING_LOOK
        case RefundStatus.SUCCEEDED if refund.trouble:
            return now + patience(refund.id, refund.trouble_count)
        case RefundStatus.SUCCEEDED:
            since = refund.settled_at or now
            return next((since + after for after in AFTER_SUCCESS if since + after > now), None)
        case _:
            return None


def fitting(refund: Refund, room: Room) -> Refund:
    """The refund, if that much can go back at all.

    Raises:
        RefundOfHold, NothingPaid, DisputeForbids, LostToDispute, NothingLeft, RefundExceedsBalance.
    """
    payment, left = room.payment, room.left
    if payment.status is PaymentStatus.AUTHORIZED:
        raise RefundOfHold(ref=payment.ref)
    if not payment.received:
        raise NothingPaid
    if room.contested:
        raise DisputeForbids(ref=payment.ref)
    if left <= 0 and room.lost:
        raise LostToDispute(ref=payment.ref, lost=Money(room.lost, payment.amount.currency))
    if left <= 0:
        raise NothingLeft(ref=payment.ref)
    if refund.amount.minor > left:
        raise RefundExceedsBalance(ref=payment.ref, left=Money(left, payment.amount.currency))
    return refund


def drafted(refund: Refund, room: Room, *, above: int | None) -> Refund:
    """A wish as it is written down: with what could go back at that moment, which is what people are shown.

    If more than `above` of the payment would go back on one person's word, slices and all, a second one is needed.
    """
    fitting(refund, room)
    two = above is not None and room.alone + refund.amount.minor > above
    return replace(refund, refundable_then=room.left, approvals_needed=2 if two else 1)


def approved(refund: Refund, room: Room, *, person: int, limit: int, params: str, now: datetime) -> Refund:
    """One more person's yes; with the last one that is needed the money is kept for the refund.

    Raises:
        RefundDecided, RefundExpired, SecondPersonNeeded, RefundChanged, OverRefundLimit, and those of `fitting`.
    """
    if refund.status is RefundStatus.EXPIRED or (refund.is_open and refund.is_late(now)):
        raise RefundExpired
    if not refund.is_open:
        raise RefundDecided
    own_wish = refund.status is RefundStatus.ASKED and refund.asked_by == person
    if own_wish or person in refund.approvers:
        raise SecondPersonNeeded
    fitting(refund, room)
    if room.left != refund.refundable_then:
        raise RefundChanged(left=Money(room.left, refund.amount.currency))
    for one in {person, *refund.approvers}:
        if room.spent.get(one, 0) + refund.amount.minor > limit:
            raise OverRefundLimit(limit=Money(limit, refund.amount.currency))
    if refund.approved_by is None:
        refund = replace(refund, approved_by=person, approved_at=now)
    else:
        refund = replace(refund, second_by=person, second_at=now)
    if len(refund.approvers) < refund.approvals_needed:
        return replace(refund, status=RefundStatus.ASKED, expires_at=now + ASKED_LIFE)
    return replace(refund, status=RefundStatus.APPROVED, reserved_at=now, params=params)


def declined(refund: Refund, _: Room) -> Refund:
    """Somebody said no.

    Raises:
        RefundDecided, RefundExpired: it is too late.
    """
    if refund.status is RefundStatus.EXPIRED:
        raise RefundExpired
    if not refund.is_open:
        raise RefundDecided
    return replace(refund, status=RefundStatus.DECLINED)


def expired(refund: Refund, _: Room, *, now: datetime, unseen: str | None = None) -> Refund:
    """Nobody said yes in time. `unseen` is the code for why Stripe could not be asked whether it was made anyhow."""
    if not refund.is_open or not refund.is_late(now):
        return refund
    return replace(refund, status=RefundStatus.EXPIRED, trouble=unseen)


def looked(refund: Refund, _: Room, *, unseen: str | None) -> Refund:
    """A wish that is over was looked for at Stripe once more, and was not there; or it could not be seen again."""
    return replace(refund, trouble=unseen) if refund.status is RefundStatus.EXPIRED else refund


def sent(refund: Refund, _: Room, *, now: datetime) -> Refund:
    """The request goes out in a moment, for the first time or again; from now on it may have happened."""
    if refund.status is not RefundStatus.APPROVED:
        return refund
    return replace(refund, sent_at=refund.sent_at or now, last_sent_at=now)


def asked_anew(refund: Refund, _: Room, *, number: int) -> Refund:
    """What was sent came to nothing, so the next request needs another key.

    `number` is that of the key that came to nothing: another process may have gone on to the next one meanwhile.
    """
    if refund.status is not RefundStatus.APPROVED or refund.number != number:
        return refund
    anew = replace(refund, number=refund.number + 1, sent_at=None, last_sent_at=None)
    return replace(anew, retry_until=None, expires_at=None, trouble=None)


def short_of_balance(refund: Refund, _: Room, *, number: int, code: str, now: datetime) -> Refund:
    """Stripe refused request `number` for want of balance: it stays approved for a while, to be tried again."""
    if refund.status is not RefundStatus.APPROVED or refund.number != number:
        return refund
    until = refund.retry_until or now + RETRY_LIFE
    if refund.number > 1 and refund.expires_at is not None:
        until = min(until, refund.expires_at)
    return replace(refund, trouble=code, retry_until=until)


def retried(refund: Refund, room: Room, *, now: datetime) -> Refund:
    """Somebody wants it tried once more.

    Raises:
        RefundDecided: there is nothing to be tried.
        RefundExpired: its time is over.
    """
    if refund.status is not RefundStatus.APPROVED or refund.retry_until is None:
        raise RefundDecided
    if now >= refund.retry_until:
        raise RefundExpired
    anew = asked_anew(refund, room, number=refund.number)
    return replace(anew, expires_at=refund.retry_until)  # ten minutes in all, however often


def refused(refund: Refund, _: Room, *, number: int, code: str, now: datetime) -> Refund:
    """It will not be made, unless request `number` was not the last: nothing went back, what was kept is free again."""
    if refund.status is not RefundStatus.APPROVED or refund.number != number:
        return refund
    return replace(refund, status=RefundStatus.REFUSED, failure=code, retry_until=None, trouble=None, settled_at=now)


def dropped(refund: Refund, room: Room, *, number: int, code: str, now: datetime) -> Refund:
    """What was approved holds no more; it stays as it is as long as its last request may still reach Stripe."""
    if is_on_its_way(refund.last_sent_at, now):
        return refund
    return refused(refund, room, number=number, code=code, now=now)


def troubled(refund: Refund, _: Room, *, code: str) -> Refund:
    """Stripe did not answer, or not to us; it is tried again later, and later each time."""
    return replace(refund, trouble=code, trouble_count=refund.trouble_count + 1)


def seen(refund: Refund, report: RefundReport, *, now: datetime) -> Refund:
    """What Stripe says of a refund that we know; it never falls back to an earlier step."""
    if refund.status is RefundStatus.SUCCEEDED and report.status in ON_ITS_WAY:
        return replace(refund, trouble=None, trouble_count=0)
    if refund.status in {RefundStatus.FAILED, RefundStatus.CANCELED}:
        return refund
    settled = now if report.status not in ON_ITS_WAY else None
    if report.status is refund.status:
        settled = refund.settled_at
    return replace(
        refund,
        status=report.status,
        stripe_id=report.stripe_id,
        amount=Money(report.amount, report.currency),
        pending_reason=report.pending_reason if report.status is RefundStatus.PENDING else None,
        failure=report.failure,
        trouble=None,
        trouble_count=0,
        retry_until=None,
        reserved_at=refund.reserved_at,
        settled_at=settled,
    )


def fits(payment: Payment, report: RefundReport) -> bool:
    """Whether a refund can be one of this payment's at all."""
    return report.currency == payment.amount.currency and 0 < report.amount <= payment.received


def found(payment: Payment, report: RefundReport, *, now: datetime) -> Refund:
    """A refund that we did not ask for: somebody made it in Stripe's Dashboard, or our book was restored."""
    bare = Refund(
        id=secrets.token_urlsafe(12),
        payment_id=payment.id,
        shop_id=payment.shop_id,
        source=f"{LOST if report.refund_id else 'stripe:'}{report.stripe_id}",
        amount=Money(report.amount, report.currency),
        status=RefundStatus.PENDING,
        asked_at=report.created_at or now,
        refundable_then=payment.refundable,
        approvals_needed=0,
        reserved_at=now,
    )
    return seen(bare, report, now=now)


def overtaken(refund: Refund, room: Room, others: Iterable[Refund], now: datetime) -> bool:
    """Whether somebody's hand at Stripe or a dispute has taken of what whoever approved it was shown.

    What was approved here since then took its share knowingly, and is no reason. What came to nothing since then makes
    room again, but does not undo that somebody helped himself.
    """
    others = [one for one in others if one.is_alive and one.id != refund.id]
    if any(_came_since(one, refund, now) for one in others):
        return True
    since = [one for one in others if _approved_since(one, refund)]
    left = room.payment.refundable - room.lost + refund.amount.minor
    return left + sum(one.amount.minor for one in since) < refund.refundable_then


def _approved_since(one: Refund, refund: Refund) -> bool:
    if not one.params or one.reserved_at is None or refund.reserved_at is None:
        return False
    return one.reserved_at >= refund.reserved_at


def _came_since(one: Refund, refund: Refund, now: datetime) -> bool:
    """Whether it was seen at Stripe since then, though nobody here had approved it by what the book says.

    What lies ahead of `now` was dated by a clock that was wrong, and says nothing.
    """
    if one.params or refund.reserved_at is None:
        return False
    # Older versions reserved nothing for what they found; nor is it for a wish that a restored book knows as undecided.
    counted_at = one.reserved_at or (one.asked_at if one.asked_by is None else one.settled_at)
    return counted_at is not None and refund.reserved_at < counted_at <= now
