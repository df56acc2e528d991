"""Between rows of `refunds` and the values that the rest of the house speaks in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.models.money import Money
from storage.models.payment import Place
from storage.models.refund import ON_ITS_WAY, Refund, RefundStatus
from storage.schema.refunds import refunds

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
