"""The book of refunds: each step is one transaction with the payment's sums, its history and its announcements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage import payment_rows
from storage.audit_log import remember
from storage.database.database import Database
from storage.disputes import disputes_of
from storage.errors import ImpossibleTransition
from storage.job_queue import Draft, Mailbox
from storage.models.money import Money
from storage.models.payment import Payment, Place
from storage.models.refund import LIMIT_SPAN, ON_ITS_WAY, REFUND_TRANSITIONS, Refund, RefundReport, RefundStatus
from storage.payments import BOOK
from storage.schema.payments import payments
from storage.schema.refunds import refunds

AnnounceRefund = Callable[[Payment, Refund | None, Refund], tuple[Draft, ...]]
ScheduleRefund = Callable[[Refund, datetime], datetime | None]


@dataclass(frozen=True)
class Room:
    """What a decision about a refund has to fit into, as it is within its transaction.

    `spent` is what each of those who approve has approved in the sliding span, `lost` what disputes took away, `alone`
    what goes or went back on one person's word, all in minor units; `contested` says that a dispute forbids a refund.
    """

    payment: Payment
    spent: Mapping[int, int]
    lost: int
    contested: bool
    alone: int = 0

    @property
    def left(self) -> int:
        """What can still go back, in minor units."""
        return max(0, self.payment.refundable - self.lost)


Decide = Callable[[Refund, Room], Refund]


class RefundBook:
    """Refunds of all shops; `announce` says what a step tells, `schedule` when the sweep looks next."""

    def __init__(self, db: Database, outbox: Mailbox, announce: AnnounceRefund, schedule: ScheduleRefund) -> None:
        self._db = db
        self._outbox = outbox
        self._announce = announce
        self._schedule = schedule
        self._bell = db.bell(BOOK)

    async def find(self, refund_id: str) -> Refund | None:
        """By our id."""
        async with self._db.reading() as tx:
            return await refund_by(tx, "id", refund_id)

    async def of_payment(self, payment_id: str) -> Sequence[Refund]:
        """All of a payment, oldest first, drafts too."""
        async with self._db.reading() as tx:
            return await refunds_of(tx, payment_id)

    async def due(self, until: datetime, *, limit: int) -> Sequence[str]:
        """The ids of those that are to be attended to by then, the longest waiting first."""
        query = sa.select(refunds.c.id).where(refunds.c.look_at <= until).order_by(refunds.c.look_at).limit(limit)
        async with self._db.reading() as tx:
            return (await tx.execute(query)).scalars().all()

    async def next_due(self) -> datetime | None:
        """When the next one is due."""
        query = sa.select(refunds.c.look_at).where(refunds.c.look_at.is_not(None)).order_by(refunds.c.look_at).limit(1)
        async with self._db.reading() as tx:
            found: datetime | None = (await tx.execute(query)).scalar()
        return found

    async def room(self, payment_id: str) -> Room:
        """What is left of a payment now; nobody's limit is looked at.

        Raises:
            LookupError: there is no such payment.
        """
        async with self._db.reading() as tx:
            payment = await payment_rows.payment_by(tx, "id", payment_id)
            if payment is None:
                raise LookupError("no such payment")
            return await _room(tx, payment, (), None)

    async def draft(self, refund: Refund, check: Decide, *, actor: str, now: datetime) -> Refund:
        """Write a wish down, if `check` lets it pass; the same `source` gives the same one."""
        async with self._db.transaction() as tx:
            known = await refund_by(tx, "source", refund.source)
            if known is not None:
                return known
            payment = await _locked(tx, refund.payment_id)
            refund = check(refund, await _room(tx, payment, (), None))
            await self._write(tx, payment, None, refund, actor=actor, action="refund asked", now=now)
        return refund

    async def change(
        self, refund_id: str, decide: Decide, *, actor: str, action: str, now: datetime, person: int | None = None
    ) -> Refund:
        """Run a decision on the newest state; one that changes nothing writes nothing but the time of the next look.

        `person` is whoever decides: what he approved before is in the room.
        """
        async with self._db.transaction() as tx:
            before = await refund_by(tx, "id", refund_id)
            if before is None:
                raise LookupError("no such refund")
            payment = await _locked(tx, before.payment_id)
            before = await refund_by(tx, "id", refund_id) or before
            people = {*before.approvers, *(() if person is None else (person,))}
            after = decide(before, await _room(tx, payment, people, now))
            return await self._write(tx, payment, before, after, actor=actor, action=action, now=now)

    async def put_off(self, refund_id: str, *, now: datetime) -> None:
        """Nothing can be made of it at the moment: have it looked at in a while."""
        async with self._db.transaction() as tx:
            later = refunds.update().where(refunds.c.id == refund_id, refunds.c.look_at.is_not(None))
            await tx.execute(later.values(look_at=now + timedelta(minutes=5)))

    async def believe(
        self,
        payment_id: str,
        reports: Iterable[RefundReport],
        *,
        seen: Callable[[Refund, RefundReport], Refund],
        found: Callable[[Payment, RefundReport], Refund],
        now: datetime,
    ) -> None:
        """Write what Stripe says of a payment's refunds; `seen` is for known ones, `found` for those that are not."""
        async with self._db.transaction() as tx:
            payment = await _locked(tx, payment_id)
            known = list(await refunds_of(tx, payment_id))
            for report in reports:
                before = _match(known, report)
                after = found(payment, report) if before is None else seen(before, report)
                after = await self._write(tx, payment, before, after, actor="stripe", action="refund looked", now=now)
                known = [*(one for one in known if one is not before), after]
                payment = await _locked(tx, payment_id)

    async def _write(
        self,
        tx: AsyncConnection,
        payment: Payment,
        before: Refund | None,
        after: Refund,
        *,
        actor: str,
        action: str,
        now: datetime,
    ) -> Refund:
        """The row, then the payment's sums from all rows, the history, and what is told."""
        after = replace(after, look_at=self._schedule(after, now))
        if after == before:
            return after
        self._db.after_commit(tx, self._bell.set)
        if before is None:
            await insert_refund(tx, after)
        else:
            _lawful(before, after)
            await write_refund(tx, after)
            if replace(after, look_at=before.look_at, last_sent_at=before.last_sent_at) == before:
                return after
        payment = await _summed(tx, payment)
        self._db.changed(tx, payment.id)
        detail = {"refund": after.id, "amount": after.amount.minor, "currency": after.amount.currency}
        detail |= {"refund_status": after.status.value, "code": after.trouble or after.failure}
        known = {name: value for name, value in detail.items() if value is not None}
        await remember(self._db, tx, payment, actor, action, known, now)
        await self._outbox.put_within(tx, *self._announce(payment, before, after), now=now)
        return after


def _match(known: Sequence[Refund], report: RefundReport) -> Refund | None:
    """Our row of a refund: by Stripe's id, or by ours where we never heard Stripe's answer."""
    for refund in known:
        if refund.stripe_id == report.stripe_id:
            return refund
    return next((refund for refund in known if refund.stripe_id is None and refund.id == report.refund_id), None)


def _lawful(before: Refund, after: Refund) -> None:
    if after.status is not before.status and after.status not in REFUND_TRANSITIONS[before.status]:
        raise ImpossibleTransition(f"refund {before.status} to {after.status}")


async def _locked(tx: AsyncConnection, payment_id: str) -> Payment:
    payment = await payment_rows.payment_locked(tx, payment_id)
    if payment is None:
        raise LookupError("no such payment")
    return payment


async def _summed(tx: AsyncConnection, payment: Payment) -> Payment:
    """The payment with its sums copied anew from the rows, and one version on."""
    back, going = sums(await refunds_of(tx, payment.id))
    payment = replace(payment, refunded=back, refunding=going, version=payment.version + 1)
    values = {"refunded": back, "refunding": going, "version": payment.version}
    await tx.execute(payments.update().where(payments.c.id == payment.id).values(**values))
    return payment


async def _room(tx: AsyncConnection, payment: Payment, people: Iterable[int], now: datetime | None) -> Room:
    currency = payment.amount.currency
    since = None if now is None else now - LIMIT_SPAN
    by_person = {
        person: await spent(tx, payment.shop_id, person, currency, since) for person in people if since is not None
    }
    contests = await disputes_of(tx, payment.id)
    lost = sum(dispute.amount.minor for dispute in contests if dispute.status == "lost")
    barred = any(not dispute.is_over and not dispute.refundable for dispute in contests)
    alone = [one for one in await refunds_of(tx, payment.id) if one.approvals_needed == 1]
    return Room(payment, by_person, lost, barred, sum(sums(alone)))


_ALL = sa.select(refunds)


_BY = {name: _ALL.where(refunds.c[name] == sa.bindparam("key")) for name in ("id", "source", "stripe_id")}


_OF_PAYMENT = _ALL.where(refunds.c.payment_id == sa.bindparam("key")).order_by(refunds.c.asked_at, refunds.c.id)


_NEW = refunds.insert()


_WRITE = refunds.update().where(refunds.c.id == sa.bindparam("key"))


_NOT_SPENT = ("failed", "canceled", "refused")


async def refund_by(tx: AsyncConnection, column: str, key: str) -> Refund | None:
    """The one refund that has `key` in a unique column: id, source or stripe_id."""
    row = (await tx.execute(_BY[column], {"key": key})).mappings().first()
    return None if row is None else to_refund(row)


async def refunds_of(tx: AsyncConnection, payment_id: str) -> Sequence[Refund]:
    """All refunds of a payment, oldest first, drafts too."""
    return [to_refund(row) for row in (await tx.execute(_OF_PAYMENT, {"key": payment_id})).mappings()]


async def insert_refund(tx: AsyncConnection, refund: Refund) -> None:
    """Write a new one."""
    await tx.execute(_NEW, of_refund(refund))


async def write_refund(tx: AsyncConnection, refund: Refund) -> None:
    """Write one over what it was."""
    await tx.execute(_WRITE, {**of_refund(refund), "key": refund.id})


async def spent(tx: AsyncConnection, shop_id: int, person: int, currency: str, since: datetime) -> int:
    """What a person approved in a shop since then, in minor units of a currency, but for what came to nothing."""
    mine = (refunds.c.approved_by == person) | (refunds.c.second_by == person)
    query = sa.select(sa.func.coalesce(sa.func.sum(refunds.c.amount), 0)).where(
        refunds.c.shop_id == shop_id,
        mine,
        refunds.c.currency == currency,
        refunds.c.reserved_at > since,
        refunds.c.status.not_in(_NOT_SPENT),
    )
    return int((await tx.execute(query)).scalar_one())


def sums(found: Iterable[Refund]) -> tuple[int, int]:
    """What went back and what is on its way, in minor units."""
    back = going = 0
    for refund in found:
        back += refund.amount.minor if refund.status is RefundStatus.SUCCEEDED else 0
        going += refund.amount.minor if refund.status in ON_ITS_WAY else 0
    return back, going


def to_refund(row: sa.RowMapping) -> Refund:
    """A refund from a row of `refunds`."""
    known: dict[str, Any] = {name: value for name, value in row.items() if name not in _ELSEWHERE}
    place = None if row["chat_id"] is None else Place(row["chat_id"], row["thread_id"])
    status, amount = RefundStatus(row["status"]), Money(row["amount"], row["currency"])
    return Refund(**known | {"amount": amount, "status": status, "place": place})


def of_refund(refund: Refund) -> dict[str, Any]:
    """The columns of `refunds`."""
    plain = {name: value for name, value in asdict(refund).items() if name not in {"place", "amount"}}
    place = refund.place
    where = {"chat_id": place and place.chat_id, "thread_id": place and place.thread_id}
    money = {"amount": refund.amount.minor, "currency": refund.amount.currency}
    return {**plain, **where, **money, "status": refund.status.value}


_ELSEWHERE = frozenset({"chat_id", "thread_id", "amount", "currency", "status"})
