"""Export files: what a spreadsheet and a program read in them."""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import UTC, datetime, time
from io import BytesIO, StringIO

import openpyxl
import pytest

from handlers.reports.files import COLUMNS, ExportRow, FileFormat, file_name, make_table
from storage.models.money import Money

ROW = ExportRow(
    entry=7,
    at=datetime(2026, 11, 30, 23, 30, 5, 123456, tzinfo=UTC),
    kind="payment",
    ref="K7F3",
    receipt_no="12",
    text="Bolle; æøå",
    note="table 5",
    gross=Money(123450, "DKK"),
    vat_rate=2500,
    vat=Money(24690, "DKK"),
    method="mobilepay",
    stripe_id="pi_1",
    by="Ada",
)
REFUND = replace(ROW, entry=8, kind="refund", gross=Money(-5, "DKK"), vat=Money(-1, "DKK"), text="")
ZONE = "Europe/Copenhagen"
HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "＝1+1", "|calc", "%0A=1", '=HYPERLINK("x")']


def test_csv_is_what_a_nordic_spreadsheet_opens() -> None:
    lines = make_table(FileFormat.CSV, [ROW, REFUND], "da", ZONE).decode("utf-8").split("\r\n")
    assert lines == [
        "\ufeff" + ";".join(COLUMNS),
        '7;2026-12-01;00:30:05;payment;K7F3;12;"Bolle; æøå";table 5;DKK;1234,50;25,00;246,90;mobilepay;pi_1;Ada',
        "8;2026-12-01;00:30:05;refund;K7F3;12;;table 5;DKK;-0,05;25,00;-0,01;mobilepay;pi_1;Ada",
        "",
    ]


def test_csv_in_english_has_decimal_points() -> None:
    assert b";1234.50;25.00;246.90;" in make_table(FileFormat.CSV, [ROW], "en", ZONE)


def test_plain_csv_is_for_programs() -> None:
    written = make_table(FileFormat.PLAIN, [ROW], "da", ZONE).decode()
    [row] = csv.DictReader(StringIO(written))
    assert (row["gross"], row["text"], row["date"]) == ("1234.50", "Bolle; æøå", "2026-12-01")
    assert not written.startswith("\ufeff")


def test_row_without_vat_has_empty_fields() -> None:
    assert b";DKK;1234,50;;;mobilepay" in make_table(
        FileFormat.CSV, [replace(ROW, vat_rate=None, vat=None)], "sv", ZONE
    )


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("field", ["text", "note", "by"])
def test_no_text_becomes_a_formula(field: str, text: str) -> None:
    row = replace(ROW, **{field: text})  # type: ignore[arg-type]
    for file_format, delimiter in ((FileFormat.CSV, ";"), (FileFormat.PLAIN, ",")):
        written = make_table(file_format, [row], "da", ZONE).decode("utf-8-sig")
        [read] = csv.DictReader(StringIO(written, newline=""), delimiter=delimiter)
        assert read[field] == f"'{text}"
    sheet = openpyxl.load_workbook(BytesIO(make_table(FileFormat.XLSX, [row], "da", ZONE))).active
    assert sheet is not None
    cell = sheet.cell(2, COLUMNS.index(field) + 1)
    assert (cell.data_type, cell.hyperlink) == ("s", None)


def test_xlsx_has_real_numbers_dates_and_times() -> None:
    sheet = openpyxl.load_workbook(BytesIO(make_table(FileFormat.XLSX, [ROW, REFUND], "da", ZONE))).active
    assert sheet is not None
    first, second = ({name: sheet.cell(n, i + 1).value for i, name in enumerate(COLUMNS)} for n in (2, 3))
    assert (first["entry"], first["gross"], first["vat"], first["vat_rate"]) == (7, 1234.5, 246.9, 25)
    assert (first["date"], first["time"]) == (datetime(2026, 12, 1), time(0, 30, 5))  # noqa: DTZ001
    assert (second["gross"], second["text"], second["receipt_no"]) == (-0.05, "", "12")
    assert sheet.freeze_panes == "A2"


def test_file_name_is_plain_ascii() -> None:
    assert file_name("Café Åse/../x", "2026-11-01..2026-11-30", FileFormat.XLSX) == (
        "Cafe-Ase----x-2026-11-01_2026-11-30.xlsx"
    )
    assert file_name("寿司", "2026-11-30", FileFormat.PLAIN) == "kvit-2026-11-30.csv"
