"""Reports that are due: a shop's row has the time of each next one, claimed when the messages are enqueued."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from storage import audit_log, movements, payment_queries
from storage.exports import EXPORTED
from storage.job_queue import JobQueue
from storage.models.job import NewJob
from storage.models.money import Money
from storage.models.movement import Totals
from storage.models.shop import Shop
from storage.movements import Period
from storage.payment_queries import Outstanding
from storage.schema.shops import shops
from storage.shops import SYSTEM_ACTOR, row_to_shop

CATCH_UP = timedelta(days=92)
"""After an outage the reports of months whose time came within this long are sent, each by itself."""


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


@dataclass(frozen=True)
class DueReport:
    """A report that a shop is to get since `at` (aware UTC): the day's summary, or last month's report and export."""

    shop: Shop
    at: datetime
    is_monthly: bool


def due(tx: sa.Connection, until: datetime) -> list[DueReport]:
    """The reports that are due by then, the longest overdue of each kind first."""
    found: list[DueReport] = []
    for is_monthly, column in _DUE_AT.items():
        query = sa.select(shops).where(column <= until).order_by(column)
        rows = tx.execute(query).mappings()
        found += [DueReport(row_to_shop(row), row[column.name], is_monthly) for row in rows]
    return found


def next_due_at(tx: sa.Connection) -> datetime | None:
    """When the next report is due (UTC)."""
    times = [tx.execute(sa.select(sa.func.min(column))).scalar() for column in _DUE_AT.values()]
    return min((at for at in times if at is not None), default=None)


def claim(
    tx: sa.Connection,
    outbox: JobQueue,
    report: DueReport,
    jobs: Sequence[NewJob],
    *,
    exported: dict[str, str] | None = None,
    now: datetime,
) -> bool:
    """Enqueue a report and set the time of the next one; False if another process has done it, or it was changed.

    `exported` is what the audit log stores of files that are sent with it.
    """
    shop, column = report.shop, _DUE_AT[report.is_monthly]
    if report.is_monthly:
        following = shop.next_monthly_report_at(max(report.at, now - CATCH_UP))
    else:
        following = shop.next_report_at(now)
    mine = shops.update().where(shops.c.id == shop.id, column == report.at)
    if not tx.execute(mine.values({column: following})).rowcount:
        return False
    outbox.enqueue_in(tx, *jobs, now=now)
    if exported is not None:
        audit_log.record(tx, shop.id, SYSTEM_ACTOR, EXPORTED, exported, now)
    return True


_DUE_AT = {False: shops.c.next_report_at, True: shops.c.next_monthly_report_at}
"""The column with the time of the next report: the day's, and the month's."""
