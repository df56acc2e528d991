"""Read-only questions: one payment by one of its names, what is due, and how a shop stands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from storage import payment_rows
from storage.database.database import Database
from storage.models.hashing import sha256_hex
from storage.models.money import Money
from storage.models.payment import Payment, PaymentStatus
from storage.models.refund import RESERVING_STATUSES
from storage.payments import AuditEntry
from storage.schema.audit_log import audit_log
from storage.schema.payments import attempts, payment_messages, payments
from storage.schema.refunds import refunds


@dataclass(frozen=True)
class ShopSummary:
    """How a shop stands: requests that have not ended, and what was paid since a time, by currency: count and sum."""

    open: int
    paid: tuple[tuple[int, Money], ...]


class PaymentQueries:
    """Questions to the book that change nothing; each has its index."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def payment(self, payment_id: str) -> Payment | None:
        """By our id."""
        return await self._by("id", payment_id)

    async def by_intent(self, intent_id: str) -> Payment | None:
        """By the id of its PaymentIntent."""
        return await self._by("intent_id", intent_id)

    async def by_source(self, source: str) -> Payment | None:
        """By what asked for it: there is one payment for one message, however often that comes."""
        return await self._by("request_key", source)

    async def by_reference(self, shop_id: int, ref: str) -> Payment | None:
        """By the reference within a shop; a reference says nothing to another shop."""
        return await self._payment((payments.c.shop_id == shop_id) & (payments.c.reference == ref))

    async def by_token(self, token: str) -> Payment | None:
        """By the secret part of its page's address."""
        return await self._by("token_hash", sha256_hex(token))

    async def by_message(self, shop_id: int, chat_id: int, message_id: int) -> Payment | None:
        """By the message that is its card, if that is one of this shop's."""
        where = (payment_messages.c.chat_id == chat_id) & (payment_messages.c.message_id == message_id)
        card = sa.select(payment_messages.c.payment_id).where(where).scalar_subquery()
        return await self._payment((payments.c.id == card) & (payments.c.shop_id == shop_id))

    async def open_payments(
        self, shop_id: int, *, limit: int, before: tuple[datetime, str] | None = None
    ) -> Sequence[Payment]:
        """A shop's requests that have not ended, newest first; `before` is where the page above ended."""
        query = payment_rows.PAYMENTS.where(payments.c.shop_id == shop_id, payments.c.closed_at.is_(None))
        if before is not None:
            place = sa.tuple_(payments.c.created_at, payments.c.id)
            query = query.where(place < sa.tuple_(*before, types=[payments.c.created_at.type, payments.c.id.type]))
        query = query.order_by(payments.c.created_at.desc(), payments.c.id.desc()).limit(limit)
        async with self._db.reading() as tx:
            return await payment_rows.payments_by(tx, query)

    async def count_open_in_chat(self, shop_id: int, chat_id: int) -> int:
        """How many of a shop's requests in a chat have not ended, and refunds not been decided."""
        count = sa.select(sa.func.count())
        open_ = payments.c.closed_at.is_(None)
        requests = count.where(payments.c.shop_id == shop_id, payments.c.chat_id == chat_id, open_)
        ends = refunds.c.next_check_at.is_not(None)  # as each wish does: so none is read that is over
        wishes = count.where(
            ends, refunds.c.shop_id == shop_id, refunds.c.chat_id == chat_id, refunds.c.status == "awaiting_approval"
        )
        async with self._db.reading() as tx:
            found: int = (await tx.execute(requests)).scalar_one() + (await tx.execute(wishes)).scalar_one()
        return found

    async def create_params(self, payment_id: str) -> str:
        """The frozen parameters of the request that makes the intent, as JSON."""
        async with self._db.glance() as tx:
            params: str = (await tx.execute(_PARAMS, {"key": payment_id})).scalar_one()
        return params

    async def attempt_params(self, payment_id: str, number: int) -> str:
        """The frozen parameters of one attempt, as JSON."""
        which = (attempts.c.payment_id == payment_id) & (attempts.c.number == number)
        async with self._db.glance() as tx:
            params: str = (await tx.execute(sa.select(attempts.c.params).where(which))).scalar_one()
        return params

    async def attempt_exists_for(self, cause: str) -> bool:
        """Whether a tap has begun an attempt before."""
        query = sa.select(attempts.c.number).where(attempts.c.trigger_key == cause)
        async with self._db.glance() as tx:
            return (await tx.execute(query)).first() is not None

    async def due(self, until: datetime, *, limit: int = 100) -> Sequence[str]:
        """The ids of payments that are to be attended to by then, the longest waiting first."""
        async with self._db.glance() as tx:
            return list((await tx.execute(_DUE, {"until": until, "most": limit})).scalars())

    async def next_due_at(self) -> datetime | None:
        """When the next payment is to be attended to."""
        async with self._db.glance() as tx:
            found: datetime | None = (await tx.execute(_NEXT_DUE)).scalar()
        return found

    async def count_unfinished(self, *, livemode: bool) -> int:
        """How many payments of this mode have not ended, and how many refunds are under way."""
        still_open = sa.select(sa.func.count()).select_from(payments)
        still_open = still_open.where(payments.c.closed_at.is_(None), payments.c.livemode == livemode)
        on_the_way = sa.select(sa.func.count()).select_from(refunds.join(payments))
        on_the_way = on_the_way.where(refunds.c.next_check_at.is_not(None), payments.c.livemode == livemode)
        on_the_way = on_the_way.where(refunds.c.status.in_([status.value for status in RESERVING_STATUSES]))
        async with self._db.reading() as tx:
            return sum([(await tx.execute(query)).scalar_one() for query in (still_open, on_the_way)])

    async def audit_entries(self, payment_id: str) -> Sequence[AuditEntry]:
        """What happened to a payment, oldest first."""
        query = sa.select(audit_log).where(audit_log.c.payment_id == payment_id).order_by(audit_log.c.id)
        async with self._db.reading() as tx:
            found = (await tx.execute(query)).mappings().all()
        return [AuditEntry(row["at"], row["actor"], row["action"], json.loads(row["detail"])) for row in found]

    async def shop_summary(self, shop_id: int, since: datetime) -> ShopSummary:
        """Open requests of a shop and what it was paid since then."""
        still_open = sa.select(sa.func.count()).select_from(payments)
        still_open = still_open.where((payments.c.shop_id == shop_id) & payments.c.closed_at.is_(None))
        paid = sa.select(payments.c.currency, sa.func.count(), sa.func.sum(payments.c.amount_received))
        paid = paid.where(payments.c.shop_id == shop_id, payments.c.status == PaymentStatus.SUCCEEDED.value)
        paid = paid.where(payments.c.succeeded_at >= since).group_by(payments.c.currency)
        async with self._db.reading() as tx:
            number = (await tx.execute(still_open)).scalar_one()
            by_currency = [(row[1], Money(int(row[2]), row[0])) for row in await tx.execute(paid)]
        return ShopSummary(number, tuple(sorted(by_currency, key=lambda pair: pair[1].currency)))

    async def _by(self, column: str, key: str) -> Payment | None:
        async with self._db.glance() as tx:
            return await payment_rows.get_payment_by(tx, column, key)

    async def _payment(self, condition: sa.ColumnElement[bool]) -> Payment | None:
        async with self._db.glance() as tx:
            return await payment_rows.payment_where(tx, condition)


_SCHEDULED = payments.c.next_check_at.is_not(None)
_DUE = (
    sa.select(payments.c.id)
    .where(_SCHEDULED & (payments.c.next_check_at <= sa.bindparam("until", type_=payments.c.next_check_at.type)))
    .order_by(payments.c.next_check_at)
    .limit(sa.bindparam("most"))
)
_NEXT_DUE = sa.select(payments.c.next_check_at).where(_SCHEDULED).order_by(payments.c.next_check_at).limit(1)
_PARAMS = sa.select(payments.c.create_params).where(payments.c.id == sa.bindparam("key"))
