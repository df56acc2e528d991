"""The numbers of a report, and the rows of an export; both are views of the movements of money."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from handlers.balance.sync import DENIED
from handlers.reports.chart import BarChart
from handlers.reports.files import ExportRow, SettledRow
from handlers.reports.periods import NamedPeriod
from handlers.shops.receipts import credit_note_number, number_text, refunded_vat, shop_at, vat_within
from storage import balance, installation, report_queries, shops
from storage.balance import PeriodFees
from storage.database.database import Database
from storage.models.balance import BalanceTransaction, Payout, Settlement, kind_of
from storage.models.money import CURRENCIES, Money, any_money
from storage.models.movement import Totals
from storage.models.shop import Shop
from storage.models.time_zones import zone_or_utc
from storage.movements import totals
from storage.report_queries import MovementRow, ReceivedSum

PAGE = 1000
"""Movements that one read returns at most, so that an export of a year holds up no other read."""

MAX_PAYOUTS = 5
"""Payouts that a report lists; the others are in the export."""

LONGEST_BY_DAY = 62
"""Days of a period whose bars are days; those of a longer one are months."""


@dataclass(frozen=True)
class Report:
    """What moved in a period, by currency, and the bars of what was received; Stripe's fees, and what it paid out.

    `lacking` names the rights without which fees or payouts are not known, if the API key lacks them. `payouts` holds
    at most one more than `MAX_PAYOUTS`.
    """

    totals: Sequence[Totals]
    charts: Sequence[BarChart]
    fees: PeriodFees
    payouts: Sequence[Payout]
    lacking: str


class ReportService:
    """Reads reports and exports. Test and live payments are never mixed."""

    def __init__(self, db: Database, *, livemode: bool) -> None:
        self._db = db
        self._livemode = livemode

    async def report(self, shop: Shop, period: NamedPeriod) -> Report:
        """The report of a period."""
        within, livemode = period.period, self._livemode
        found, received, fees, paid_out, lacking = await self._db.read(
            lambda tx: (
                totals(tx, shop.id, within, livemode=livemode),
                report_queries.received_by_quarter(tx, shop.id, within, livemode=livemode),
                balance.fees_of_period(tx, shop.id, within, livemode=livemode),
                balance.paid_out(tx, shop.id, within, livemode=livemode, limit=MAX_PAYOUTS + 1),
                installation.get_setting(tx, DENIED),
            )
        )
        return Report(found, make_charts(received, period), fees, paid_out, lacking or "")

    async def export_rows(self, shop: Shop, period: NamedPeriod) -> list[ExportRow]:
        """Every movement of a period, by Stripe's time, with those of the Stripe account if it is this shop's alone."""
        rows = [*await self._movements(shop, period), *await self._account_transactions(shop, period)]
        return sorted(rows, key=lambda row: row.at)

    async def _movements(self, shop: Shop, period: NamedPeriod) -> list[ExportRow]:
        members = await self._db.read(shops.list_members, shop.id)
        sellers = await self._db.read(shops.list_sellers, shop.id)
        names = {member.user_id: member.name for member in members}
        rows: list[ExportRow] = []
        after: tuple[datetime, int] | None = None
        while True:
            page = await self._db.read(
                report_queries.list_movements,
                shop.id,
                period.period,
                livemode=self._livemode,
                after=after,
                limit=PAGE,
            )
            rows += [
                _to_row(shop_at(shop, sellers, each.paid_at or each.at), each, names, self._livemode) for each in page
            ]
            if len(page) < PAGE:
                return rows
            after = (page[-1].at, page[-1].id)

    async def _account_transactions(self, shop: Shop, period: NamedPeriod) -> list[ExportRow]:
        rows: list[ExportRow] = []
        after: tuple[datetime, int] | None = None
        while True:
            page = await self._db.read(
                balance.list_account_transactions,
                shop.id,
                period.period,
                livemode=self._livemode,
                after=after,
                limit=PAGE,
            )
            settled = await self._db.read(balance.settlements, [each for _, each in page])
            rows += [_to_account_row(number, each, settled[each.stripe_id]) for number, each in page]
            if len(page) < PAGE:
                return rows
            after = (page[-1][1].created_at, page[-1][0])


def make_charts(received: Sequence[ReceivedSum], period: NamedPeriod) -> list[BarChart]:
    """A chart for each currency in which money came: by hour for a day, by day for two months, else by month."""
    labels = _labels(period)
    bars: dict[str, dict[str, int]] = {}
    for one in received:
        bar = _bar(one.since, period)
        bars.setdefault(one.currency, dict.fromkeys(labels, 0))[bar] += one.amount
    return [
        BarChart(
            currency,
            tuple(_short(label) for label in bars[currency]),
            tuple(str(Money(minor, currency).decimal) for minor in bars[currency].values()),
        )
        for currency in CURRENCIES
        if currency in bars
    ]


def _bar(since: datetime, period: NamedPeriod) -> str:
    local = since.astimezone(zone_or_utc(period.zone))
    if period.is_one_day:
        return f"{local:%H}"
    return f"{local:%Y-%m-%d}" if _is_by_day(period) else f"{local:%Y-%m}"


def _labels(period: NamedPeriod) -> list[str]:
    if period.is_one_day:
        return [f"{hour:02}" for hour in range(24)]
    days = (period.last - period.first).days + 1
    each = [period.first + timedelta(days=number) for number in range(days)]
    return list(dict.fromkeys(f"{day:%Y-%m-%d}" if _is_by_day(period) else f"{day:%Y-%m}" for day in each))


def _is_by_day(period: NamedPeriod) -> bool:
    return (period.last - period.first).days < LONGEST_BY_DAY


def _short(label: str) -> str:
    """Without the year where a day is named: it would not fit below its bar."""
    return label[5:] if label.count("-") == 2 else label


def _vat(moved: MovementRow, rate: int) -> Money:
    """The tax in a movement, of a refund as its credit note has it."""
    if moved.refunded_before is None:
        return Money(vat_within(moved.amount, rate), moved.currency)
    part = refunded_vat(moved.received, moved.refunded_before, abs(moved.amount), rate)
    return Money(-part if moved.amount < 0 else part, moved.currency)


def _to_row(shop: Shop, moved: MovementRow, names: dict[int, str], livemode: bool) -> ExportRow:
    """`shop` as it was when the payment was made; what its receipt has frozen comes first."""
    rate = shop.vat_rate if moved.vat_rate is None else moved.vat_rate
    gross, by = Money(moved.amount, moved.currency), moved.requested_by
    number, note = moved.receipt_number, moved.credit_note_number
    return ExportRow(
        entry=str(moved.id),
        at=moved.at,
        kind=moved.kind.value,
        ref=moved.ref,
        receipt_no="" if number is None else number_text(shop.id, number, livemode=livemode),
        credit_note_no="" if note is None else credit_note_number(shop.id, note, livemode=livemode),
        text=moved.text,
        note=moved.note,
        gross=gross,
        vat_rate=rate or None,
        vat=_vat(moved, rate) if rate else None,
        method="mobilepay",
        stripe_id=moved.stripe_id,
        by="Stripe" if by is None else names.get(by) or str(by),
        settled=None if moved.settlement is None else _to_settled(moved.settlement),
    )


def _to_account_row(number: int, moved: BalanceTransaction, settlement: Settlement) -> ExportRow:
    """A transaction of the Stripe account that belongs to no payment of Kvit's: a fee, a payout, or another program's.

    `text` is Stripe's own type, and `stripe_id` what it is about.
    """
    return ExportRow(
        entry=f"B{number}",
        at=moved.created_at,
        kind=kind_of(moved.type).value,
        ref="",
        receipt_no="",
        credit_note_no="",
        text=moved.type,
        note="",
        gross=any_money(moved.amount, moved.currency),
        vat_rate=None,
        vat=None,
        method="",
        stripe_id=moved.source or "",
        by="Stripe",
        settled=_to_settled(settlement),
    )


def _to_settled(settlement: Settlement) -> SettledRow:
    moved = settlement.transaction
    return SettledRow(
        gross=any_money(moved.amount, moved.currency),
        fee=any_money(moved.fee, moved.currency),
        net=any_money(moved.net, moved.currency),
        exchange_rate=moved.exchange_rate or "",
        available_on=moved.available_on,
        payout_id=settlement.payout_id or "",
        paid_out_on=settlement.paid_out_on,
        balance_transaction=moved.stripe_id,
    )
