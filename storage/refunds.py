"""Writes refunds: each step is one transaction with the payment's sums, the audit log and the jobs that follow."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from storage import movements, payment_rows
from storage.audit_log import HAPPENED_AT, record_for_payment
from storage.database.database import Database
from storage.disputes import disputes_of_payment
from storage.errors import InvalidTransition
from storage.invitations import invited_through
from storage.job_queue import JobQueue
from storage.models.job import NewJob
from storage.models.money import Money
from storage.models.payment import ChatTarget, Payment
from storage.models.refund import (
    LIMIT_WINDOW,
    REFUND_TRANSITIONS,
    RESERVING_STATUSES,
    Refund,
    RefundStatus,
    StripeRefund,
)
from storage.payments import PAYMENTS_CHANGED
from storage.schema.payments import payments
from storage.schema.refunds import refunds
from storage.shops import lock_shop

AnnounceRefund = Callable[[Payment, Refund | None, Refund], tuple[NewJob, ...]]
ScheduleRefund = Callable[[Refund, datetime], datetime | None]


@dataclass(frozen=True)
class RefundLimits:
    """The bounds of a decision about a refund, read in its transaction; all amounts in minor units.

    `approved_by_person` is what each approver has approved within the sliding window, `lost_to_disputes` what disputes
    took, `single_approval_total` what was refunded on one approval. `blocked_by_dispute`: a dispute forbids refunds.
    `of_payment` are all refunds of the payment, oldest first, `requests_by_author` is how many refunds the author of a
    new one asked for in the shop within the sliding window. `invited_through` is, for each approver, the chain of
    inviters that begins with the approver.
    """

    payment: Payment
    approved_by_person: Mapping[int, int]
    lost_to_disputes: int
    blocked_by_dispute: bool
    single_approval_total: int = 0
    of_payment: Sequence[Refund] = ()
    requests_by_author: int = 0
    invited_through: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    @property
    def refundable(self) -> int:
        """What can still be refunded, in minor units."""
        return max(0, self.payment.refundable - self.lost_to_disputes)


Decide = Callable[[Refund, RefundLimits], Refund]


class RefundRepository:
    """Writes refunds. Its methods are units of work: pass them to `Database.read` or `write`.

    `announce` gives the jobs that follow from a step, `schedule` the time of the next check.
    """

    def __init__(self, db: Database, outbox: JobQueue, announce: AnnounceRefund, schedule: ScheduleRefund) -> None:
        self._db = db
        self._outbox = outbox
        self._announce = announce
        self._schedule = schedule

    def find(self, tx: sa.Connection, refund_id: str) -> Refund | None:
        """By our id."""
        return get_refund_by(tx, "id", refund_id)

    def for_payment(self, tx: sa.Connection, payment_id: str) -> Sequence[Refund]:
        """All refunds of a payment, oldest first, drafts too."""
        return refunds_of_payment(tx, payment_id)

    def due(self, tx: sa.Connection, until: datetime, *, limit: int) -> Sequence[str]:
        """The ids of refunds whose next check is due by then, the longest overdue first."""
        query = (
            sa.select(refunds.c.id)
            .where(refunds.c.next_check_at <= until)
            .order_by(refunds.c.next_check_at)
            .limit(limit)
        )
        return tx.execute(query).scalars().all()

    def next_due_at(self, tx: sa.Connection) -> datetime | None:
        """When the next refund is due to be checked."""
        query = (
            sa.select(refunds.c.next_check_at)
            .where(refunds.c.next_check_at.is_not(None))
            .order_by(refunds.c.next_check_at)
            .limit(1)
        )
        found: datetime | None = tx.execute(query).scalar()
        return found

    def limits(self, tx: sa.Connection, payment_id: str) -> RefundLimits:
        """What can be refunded of a payment now; no person's limit is read.

        Raises:
            LookupError: there is no such payment.
        """
        payment = payment_rows.get_payment_by(tx, "id", payment_id)
        if payment is None:
            raise LookupError("no such payment")
        return _limits(tx, payment, (), None)

    def create_draft(self, tx: sa.Connection, refund: Refund, check: Decide, *, actor: str, now: datetime) -> Refund:
        """Store a draft that passes `check`; the same request key returns the stored one."""
        known = get_refund_by(tx, "request_key", refund.request_key)
        if known is not None:
            return known
        payment = _get_payment_for_update(tx, refund.payment_id)
        lock_shop(tx, payment.shop_id)  # what its author asked for elsewhere in the shop is counted
        limits = _limits(tx, payment, (), None)
        count = _count_requests(tx, payment.shop_id, refund.requested_by, now - LIMIT_WINDOW)
        refund = check(refund, replace(limits, requests_by_author=count))
        self._write(tx, payment, None, refund, actor=actor, action="refund_requested", now=now)
        return refund

    def update(
        self,
        tx: sa.Connection,
        refund_id: str,
        decide: Decide,
        *,
        actor: str,
        action: str,
        now: datetime,
        person: int | None = None,
    ) -> Refund:
        """Apply a decision to the newest state; one that changes nothing stores at most the time of the next check.

        `person` is the Telegram ID of the person who decides: what they approved before is part of the limits.
        """
        before = get_refund_by(tx, "id", refund_id)
        if before is None:
            raise LookupError("no such refund")
        payment = _get_payment_for_update(tx, before.payment_id)
        before = get_refund_by(tx, "id", refund_id) or before
        lock_shop(tx, payment.shop_id)  # what a person approved elsewhere in the shop is part of the limits
        people = {*before.approvers, *(() if person is None else (person,))}
        after = decide(before, _limits(tx, payment, people, now))
        return self._write(tx, payment, before, after, actor=actor, action=action, now=now)

    def postpone_check(self, tx: sa.Connection, refund_id: str, *, now: datetime) -> None:
        """Check the refund again in five minutes: nothing can be done about it now."""
        later = refunds.update().where(refunds.c.id == refund_id, refunds.c.next_check_at.is_not(None))
        tx.execute(later.values(next_check_at=now + timedelta(minutes=5)))

    def apply_stripe_refunds(
        self,
        tx: sa.Connection,
        payment_id: str,
        reports: Iterable[StripeRefund],
        *,
        known: Callable[[Refund, StripeRefund], Refund],
        unknown: Callable[[Payment, StripeRefund], Refund],
        now: datetime,
    ) -> None:
        """Store what Stripe lists as a payment's refunds: `known` updates ours, `unknown` imports the others."""
        payment = _get_payment_for_update(tx, payment_id)
        refunds = list(refunds_of_payment(tx, payment_id))
        for report in reports:
            before = _match(refunds, report)
            after = unknown(payment, report) if before is None else known(before, report)
            after = self._write(tx, payment, before, after, actor="stripe", action="refund_synced", now=now)
            movements.record_refund(tx, payment, before, after, report, now=now)
            refunds = [*(one for one in refunds if one is not before), after]
            payment = _get_payment_for_update(tx, payment_id)

    def _write(
        self,
        tx: sa.Connection,
        payment: Payment,
        before: Refund | None,
        after: Refund,
        *,
        actor: str,
        action: str,
        now: datetime,
    ) -> Refund:
        """Store the row, the payment's sums over all rows, the audit log entry and the jobs."""
        after = replace(after, next_check_at=self._schedule(after, now))
        if after == before:
            return after
        self._db.wake_up(tx, PAYMENTS_CHANGED)
        if before is None:
            insert_refund(tx, after)
        else:
            _check_transition(before, after)
            update_refund(tx, after)
            if replace(after, next_check_at=before.next_check_at, last_sent_at=before.last_sent_at) == before:
                return after
        payment = _with_sums(tx, payment)
        self._db.notify_payment_changed(tx, payment.id)
        detail = {"refund": after.id, "amount": after.amount.minor, "currency": after.amount.currency}
        detail |= {"refund_status": after.status.value, "code": after.last_error or after.failure_reason}
        if after.refunded_at is not None and after.reserves_money and before != after:
            detail[HAPPENED_AT] = after.refunded_at.isoformat()
        known = {name: value for name, value in detail.items() if value is not None}
        record_for_payment(tx, payment, actor, action, known, now)
        self._outbox.enqueue_in(tx, *self._announce(payment, before, after), now=now)
        return after


def _match(known: Sequence[Refund], report: StripeRefund) -> Refund | None:
    """Our row of a refund: by Stripe's id, or by ours where Stripe's answer never arrived."""
    for refund in known:
        if refund.stripe_id == report.stripe_id:
            return refund
    return next((refund for refund in known if refund.stripe_id is None and refund.id == report.refund_id), None)


def _check_transition(before: Refund, after: Refund) -> None:
    if after.status is not before.status and after.status not in REFUND_TRANSITIONS[before.status]:
        raise InvalidTransition(f"refund {before.status} to {after.status}")


def _get_payment_for_update(tx: sa.Connection, payment_id: str) -> Payment:
    payment = payment_rows.get_payment_for_update(tx, payment_id)
    if payment is None:
        raise LookupError("no such payment")
    return payment


def _with_sums(tx: sa.Connection, payment: Payment) -> Payment:
    """The payment with its sums computed from the rows, one version on."""
    back, going = sums(refunds_of_payment(tx, payment.id))
    payment = replace(payment, amount_refunded=back, amount_refund_pending=going, version=payment.version + 1)
    values = {"amount_refunded": back, "amount_refund_pending": going, "version": payment.version}
    tx.execute(payments.update().where(payments.c.id == payment.id).values(**values))
    return payment


def _limits(tx: sa.Connection, payment: Payment, people: Collection[int], now: datetime | None) -> RefundLimits:
    currency = payment.amount.currency
    since = None if now is None else now - LIMIT_WINDOW
    by_person = {
        person: approved_by_person(tx, payment.shop_id, person, currency, since)
        for person in people
        if since is not None
    }
    contests = disputes_of_payment(tx, payment.id)
    lost = sum(dispute.amount_of(payment) for dispute in contests if dispute.status == "lost")
    barred = any(not dispute.is_closed and not dispute.refundable for dispute in contests)
    of_payment = refunds_of_payment(tx, payment.id)
    alone = [one for one in of_payment if one.approvals_needed == 1]
    chains = invited_through(tx, payment.shop_id, people)
    return RefundLimits(
        payment, by_person, lost, barred, sum(sums(alone)), of_payment=of_payment, invited_through=chains
    )


def _count_requests(tx: sa.Connection, shop_id: int, user_id: int | None, since: datetime) -> int:
    query = sa.select(sa.func.count()).where(
        refunds.c.shop_id == shop_id, refunds.c.requested_by == user_id, refunds.c.requested_at > since
    )
    return int(tx.execute(query).scalar_one())


_ALL = sa.select(refunds)


_BY = {name: _ALL.where(refunds.c[name] == sa.bindparam("key")) for name in ("id", "request_key", "stripe_id")}


_OF_PAYMENT = _ALL.where(refunds.c.payment_id == sa.bindparam("key")).order_by(refunds.c.requested_at, refunds.c.id)


_NEW = refunds.insert()


_WRITE = refunds.update().where(refunds.c.id == sa.bindparam("key"))


_NOT_COUNTED = ("failed", "canceled", "rejected")


def get_refund_by(tx: sa.Connection, column: str, key: str) -> Refund | None:
    """The refund with this `key` in a unique column: id, request_key or stripe_id."""
    row = tx.execute(_BY[column], {"key": key}).mappings().first()
    return None if row is None else row_to_refund(row)


def refunds_of_payment(tx: sa.Connection, payment_id: str) -> Sequence[Refund]:
    """All refunds of a payment, oldest first, drafts too."""
    return [row_to_refund(row) for row in tx.execute(_OF_PAYMENT, {"key": payment_id}).mappings()]


def insert_refund(tx: sa.Connection, refund: Refund) -> None:
    """Store a new refund."""
    tx.execute(_NEW, refund_to_row(refund))


def update_refund(tx: sa.Connection, refund: Refund) -> None:
    """Store the refund's new state."""
    tx.execute(_WRITE, {**refund_to_row(refund), "key": refund.id})


def approved_by_person(tx: sa.Connection, shop_id: int, person: int, currency: str, since: datetime) -> int:
    """What a person approved in a shop since then, in minor units of a currency; refunds that failed do not count."""
    mine = (refunds.c.approved_by == person) | (refunds.c.second_approved_by == person)
    query = sa.select(sa.func.coalesce(sa.func.sum(refunds.c.amount), 0)).where(
        refunds.c.shop_id == shop_id,
        mine,
        refunds.c.currency == currency,
        refunds.c.reserved_at > since,
        refunds.c.status.not_in(_NOT_COUNTED),
    )
    return int(tx.execute(query).scalar_one())


def sums(found: Iterable[Refund]) -> tuple[int, int]:
    """The refunded amount and the amount under way, in minor units."""
    back = going = 0
    for refund in found:
        back += refund.amount.minor if refund.status is RefundStatus.SUCCEEDED else 0
        going += refund.amount.minor if refund.status in RESERVING_STATUSES else 0
    return back, going


def row_to_refund(row: sa.RowMapping) -> Refund:
    """A refund from a row of `refunds`."""
    known: dict[str, Any] = {name: value for name, value in row.items() if name not in _ELSEWHERE}
    chat = None if row["chat_id"] is None else ChatTarget(row["chat_id"], row["thread_id"])
    status, amount = RefundStatus(row["status"]), Money(row["amount"], row["currency"])
    return Refund(**known | {"amount": amount, "status": status, "chat": chat})


def refund_to_row(refund: Refund) -> dict[str, Any]:
    """The columns of `refunds`."""
    plain = {name: value for name, value in asdict(refund).items() if name not in {"chat", "amount"}}
    chat = refund.chat
    where = {"chat_id": chat and chat.chat_id, "thread_id": chat and chat.thread_id}
    money = {"amount": refund.amount.minor, "currency": refund.amount.currency}
    return {**plain, **where, **money, "status": refund.status.value}


_ELSEWHERE = frozenset({"chat_id", "thread_id", "amount", "currency", "status"})
