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

from storage.models.money import Money
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

    `vat_rate` is in hundredths of a percent, `at` is aware UTC, `by` is who requested the payment or the refund.
    """

    entry: int
    at: datetime
    kind: str
    ref: str
    receipt_no: str
    text: str
    note: str
    gross: Money
    vat_rate: int | None
    vat: Money | None
    method: str
    stripe_id: str
    by: str


COLUMNS = (
    *("entry", "date", "time", "kind", "ref", "receipt_no", "text", "note"),
    *("currency", "gross", "vat_rate", "vat", "method", "stripe_id", "by"),
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
        numbers: dict[str, int | None] = {
            "gross": row.gross.minor,
            "vat_rate": row.vat_rate,
            "vat": row.vat.minor if row.vat else None,
        }
        written = {name: _decimal(number, decimal) for name, number in numbers.items()}
        moment = {"entry": str(row.entry), "date": f"{at:%Y-%m-%d}", "time": f"{at:%H:%M:%S}"}
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
                sheet.write_string(number, COLUMNS.index(name), text)
            sheet.write_number(number, COLUMNS.index("entry"), row.entry)
            sheet.write_datetime(number, COLUMNS.index("date"), at.replace(hour=0, minute=0, second=0), day)
            sheet.write_datetime(number, COLUMNS.index("time"), at.time(), clock)
            sheet.write_number(number, COLUMNS.index("gross"), row.gross.decimal, amount)
            if row.vat_rate is not None and row.vat is not None:
                sheet.write_number(number, COLUMNS.index("vat_rate"), Decimal(row.vat_rate).scaleb(-2))
                sheet.write_number(number, COLUMNS.index("vat"), row.vat.decimal, amount)
    return file.getvalue()


def _texts(row: ExportRow) -> dict[str, str]:
    return {
        "kind": row.kind,
        "ref": row.ref,
        "receipt_no": row.receipt_no,
        "text": harmless(row.text),
        "note": harmless(row.note),
        "currency": row.gross.currency,
        "method": row.method,
        "stripe_id": row.stripe_id,
        "by": harmless(row.by),
    }


def _decimal(hundredths: int | None, sign: str) -> str:
    if hundredths is None:
        return ""
    whole, part = divmod(abs(hundredths), 100)
    return f"{'-' if hundredths < 0 else ''}{whole}{sign}{part:02}"
