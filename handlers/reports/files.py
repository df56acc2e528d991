"""Export files: CSV for spreadsheets, CSV for programs, XLSX. One line per movement of money."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from io import BytesIO, StringIO

import xlsxwriter

from storage.models.money import ForeignMoney, Money
from storage.models.time_zones import zone_or_utc

FORMULA = frozenset("=+-@\t\r\n|%")
"""Characters at the beginning of a text that a spreadsheet may take for a formula or a command."""

COMMA_LANGUAGES = frozenset({"da", "sv", "nb", "fi"})


class FileFormat(StrEnum):
    """The format of an export."""

    CSV = "csv"
    PLAIN = "plain"
    """CSV for programs: commas between fields, a point in numbers, no BOM."""
    XLSX = "xlsx"
    SIE = "sie"
    """Vouchers for Swedish bookkeeping; see `sie.py`."""


@dataclass(frozen=True)
class ExportRow:
    """One movement. `gross` is negative for money out; `vat` is the part of it that is tax, None without a rate.

    `vat_rate` is in hundredths of a percent, `at` is aware UTC, `by` is the requester of the payment or refund.
    `entry` is the number of the row, with a B before it where it is of the Stripe account and of no payment.
    `settled` is None until Stripe has told its fee.
    """

    entry: str
    at: datetime
    kind: str
    ref: str
    receipt_no: str
    credit_note_no: str
    text: str
    note: str
    gross: Money | ForeignMoney
    vat_rate: int | None
    vat: Money | None
    method: str
    stripe_id: str
    by: str
    settled: SettledRow | None = None

    @property
    def is_same_currency(self) -> bool:
        """Whether Stripe settles in the currency of the payment, so that fee and net are amounts of it too."""
        return self.settled is not None and self.settled.gross.currency == self.gross.currency


@dataclass(frozen=True)
class SettledRow:
    """What Stripe booked for a movement, in the settlement currency; the days are aware UTC.

    `paid_out_on` is None unless the payout arrived.
    """

    gross: Money | ForeignMoney
    fee: Money | ForeignMoney
    net: Money | ForeignMoney
    exchange_rate: str
    available_on: datetime
    payout_id: str
    paid_out_on: datetime | None
    balance_transaction: str


COLUMNS = (
    *("entry", "date", "time", "kind", "ref", "receipt_no", "credit_note_no", "text", "note"),
    *("currency", "gross", "vat_rate", "vat", "fee", "net"),
    *("settlement_currency", "exchange_rate", "settled_gross", "settled_fee", "settled_net"),
    *("available_on", "payout_id", "payout_date", "method", "stripe_id", "balance_transaction", "by"),
)
"""The columns, in the order of every format; their names are the same in every language."""


_ENDINGS = {FileFormat.XLSX: "xlsx", FileFormat.SIE: "si"}


def file_name(shop: str, period: str, file_format: FileFormat) -> str:
    """The name of the file: ASCII letters, digits, points and hyphens."""
    ascii_name = unicodedata.normalize("NFKD", shop).encode("ascii", "ignore").decode()
    name = "".join(char if char.isalnum() else "-" for char in ascii_name).strip("-") or "kvit"
    return f"{name}-{period.replace('..', '_')}.{_ENDINGS.get(file_format, 'csv')}"


def make_table(file_format: FileFormat, rows: Iterable[ExportRow], language: str, zone: str) -> bytes:
    """A table as XLSX or CSV. Dates and times are those of `zone`; the decimal sign of CSV is the language's."""
    if file_format is FileFormat.XLSX:
        return _xlsx(rows, zone)
    plain = file_format is FileFormat.PLAIN
    comma = not plain and language in COMMA_LANGUAGES
    return _csv(rows, zone, delimiter="," if plain else ";", decimal="," if comma else ".", bom=not plain)


def harmless(text: str) -> str:
    """The text, with an apostrophe in front if a spreadsheet could run it, also in full-width characters."""
    first = unicodedata.normalize("NFKC", text.lstrip(" \u00a0")[:1])
    return f"'{text}" if first and first[0] in FORMULA else text


def _csv(rows: Iterable[ExportRow], zone: str, *, delimiter: str, decimal: str, bom: bool) -> bytes:
    text = StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in rows:
        at = row.at.astimezone(zone_or_utc(zone))
        written = {name: _decimal(number, decimal) for name, number in _numbers(row).items()}
        written |= {name: "" if day is None else f"{day:%Y-%m-%d}" for name, day in _days(row).items()}
        moment = {"date": f"{at:%Y-%m-%d}", "time": f"{at:%H:%M:%S}"}
        writer.writerow([(_texts(row) | written | moment)[name] for name in COLUMNS])
    return text.getvalue().encode("utf-8-sig" if bom else "utf-8", errors="replace")


def _xlsx(rows: Iterable[ExportRow], zone: str) -> bytes:
    file = BytesIO()
    options = {"constant_memory": True}
    with xlsxwriter.Workbook(file, options) as book:
        sheet = book.add_worksheet("Kvit")
        bold, day = book.add_format({"bold": True}), book.add_format({"num_format": "yyyy-mm-dd"})
        clock, amount = book.add_format({"num_format": "hh:mm:ss"}), book.add_format({"num_format": "#,##0.00"})
        sheet.freeze_panes(1, 0)
        sheet.set_column(0, len(COLUMNS) - 1, 14)
        for column, name in enumerate(COLUMNS):
            sheet.write_string(0, column, name, bold)
        for number, row in enumerate(rows, start=1):
            at = row.at.astimezone(zone_or_utc(zone)).replace(tzinfo=None, microsecond=0)
            for name, text in _texts(row).items():
                if name == "entry" and text.isdecimal():
                    sheet.write_number(number, COLUMNS.index(name), int(text))
                else:
                    sheet.write_string(number, COLUMNS.index(name), text)
            sheet.write_datetime(number, COLUMNS.index("date"), at.replace(hour=0, minute=0, second=0), day)
            sheet.write_datetime(number, COLUMNS.index("time"), at.time(), clock)
            for name, value in _numbers(row).items():
                if value is not None:
                    plain = name in {"vat_rate", "exchange_rate"}
                    sheet.write_number(number, COLUMNS.index(name), value, None if plain else amount)
            for name, date in _days(row).items():
                if date is not None:
                    sheet.write_datetime(number, COLUMNS.index(name), date.replace(tzinfo=None), day)
    return file.getvalue()


def _numbers(row: ExportRow) -> dict[str, Decimal | None]:
    """Fee and net in the row's own currency only where Stripe settles in it: no amount is converted here."""
    settled, same = row.settled, row.settled if row.is_same_currency else None
    return {
        "gross": row.gross.decimal,
        "vat_rate": None if row.vat_rate is None else Decimal(row.vat_rate).scaleb(-2),
        "vat": row.vat.decimal if row.vat else None,
        "fee": same.fee.decimal if same else None,
        "net": same.net.decimal if same else None,
        "exchange_rate": Decimal(settled.exchange_rate) if settled and settled.exchange_rate else None,
        "settled_gross": settled.gross.decimal if settled else None,
        "settled_fee": settled.fee.decimal if settled else None,
        "settled_net": settled.net.decimal if settled else None,
    }


def _days(row: ExportRow) -> dict[str, datetime | None]:
    """Stripe's days, which begin at midnight UTC."""
    settled = row.settled
    days = (None, None) if settled is None else (settled.available_on, settled.paid_out_on)
    midnights = [day and day.replace(hour=0, minute=0, second=0, microsecond=0) for day in days]
    return dict(zip(("available_on", "payout_date"), midnights, strict=True))


def _texts(row: ExportRow) -> dict[str, str]:
    settled = row.settled
    return {
        "entry": row.entry,
        "kind": row.kind,
        "ref": row.ref,
        "receipt_no": row.receipt_no,
        "credit_note_no": row.credit_note_no,
        "text": harmless(row.text),
        "note": harmless(row.note),
        "currency": row.gross.currency,
        "settlement_currency": settled.gross.currency if settled else "",
        "payout_id": settled.payout_id if settled else "",
        "balance_transaction": settled.balance_transaction if settled else "",
        "method": row.method,
        "stripe_id": row.stripe_id,
        "by": harmless(row.by),
    }


def _decimal(number: Decimal | None, sign: str) -> str:
    return "" if number is None else f"{number:f}".replace(".", sign)
