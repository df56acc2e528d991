"""Summaries that are due: each shop has one row with its next time, claimed when the messages are enqueued."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from storage import movements, payment_queries
from storage.job_queue import JobQueue
from storage.models.job import NewJob
from storage.models.money import Money
from storage.models.movement import Totals
from storage.models.shop import Shop
from storage.movements import Period
from storage.payment_queries import Outstanding
from storage.schema.shops import shops
from storage.shops import row_to_shop


@dataclass(frozen=True)
class Sums:
    """What moved in a period, what is outstanding now, and number and sum of what was paid otherwise, by currency."""

    totals: Sequence[Totals]
    outstanding: Sequence[Outstanding]
    settled: Mapping[str, tuple[int, Money]]


def read_sums(tx: sa.Connection, shop_id: int, period: Period, *, livemode: bool) -> Sums:
    """The sums of a shop's period in one of Stripe's modes."""
    return Sums(
        movements.totals(tx, shop_id, period, livemode=livemode),
        payment_queries.outstanding(tx, shop_id, livemode=livemode),
        payment_queries.settled_otherwise(tx, shop_id, period, livemode=livemode),
    )


def due(tx: sa.Connection, until: datetime) -> list[tuple[Shop, datetime]]:
    """The shops whose summary is due by then, and since when."""
    query = sa.select(shops).where(shops.c.next_report_at <= until).order_by(shops.c.next_report_at)
    return [(row_to_shop(row), row["next_report_at"]) for row in tx.execute(query).mappings()]


def next_due_at(tx: sa.Connection) -> datetime | None:
    """When the next summary is due (UTC)."""
    found: datetime | None = tx.execute(sa.select(sa.func.min(shops.c.next_report_at))).scalar()
    return found


def claim(
    tx: sa.Connection, outbox: JobQueue, shop: Shop, due_at: datetime, jobs: Sequence[NewJob], *, now: datetime
) -> bool:
    """Enqueue a summary and set the time of the next one; False if another process has done it, or it was changed."""
    mine = shops.update().where(shops.c.id == shop.id, shops.c.next_report_at == due_at)
    if not tx.execute(mine.values(next_report_at=shop.next_report_at(now))).rowcount:
        return False
    outbox.enqueue_in(tx, *jobs, now=now)
    return True
