"""Export files: what a spreadsheet and a program read in them."""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import UTC, datetime, time
from io import BytesIO, StringIO

import openpyxl
import pytest

from handlers.reports.files import COLUMNS, ExportRow, FileFormat, SettledRow, file_name, make_table
from storage.models.money import ForeignMoney, Money

ROW = ExportRow(
    entry="7",
    at=datetime(2026, 11, 30, 23, 30, 5, 123456, tzinfo=UTC),
    kind="payment",
    ref="K7F3",
    receipt_no="12",
    credit_note_no="",
    text="Bolle; æøå",
    note="table 5",
    gross=Money(123450, "DKK"),
    vat_rate=2500,
    vat=Money(24690, "DKK"),
    method="mobilepay",
    stripe_id="pi_1",
    by="Ada",
)
REFUND = replace(
    ROW, entry="8", kind="refund", credit_note_no="1-C3", gross=Money(-5, "DKK"), vat=Money(-1, "DKK"), text=""
)
ZONE = "Europe/Copenhagen"
PAID_OUT = replace(
    ROW,
    settled=SettledRow(
        gross=Money(123450, "DKK"),
        fee=Money(1728, "DKK"),
        net=Money(121722, "DKK"),
        exchange_rate="",
        available_on=datetime(2026, 12, 3, 15, tzinfo=UTC),
        payout_id="po_1",
        paid_out_on=datetime(2026, 12, 4, tzinfo=UTC),
        balance_transaction="txn_1",
    ),
)
HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "＝1+1", "|calc", "%0A=1", '=HYPERLINK("x")']


def test_csv_is_what_a_nordic_spreadsheet_opens() -> None:
    lines = make_table(FileFormat.CSV, [ROW, REFUND], "da", ZONE).decode("utf-8").split("\r\n")
    assert lines == [
        "\ufeff" + ";".join(COLUMNS),
        '7;2026-12-01;00:30:05;payment;K7F3;12;;"Bolle; æøå";table 5;DKK;1234,50;25,00;246,90'
        f"{';' * 11}mobilepay;pi_1;;Ada",
        f"8;2026-12-01;00:30:05;refund;K7F3;12;1-C3;;table 5;DKK;-0,05;25,00;-0,01{';' * 11}mobilepay;pi_1;;Ada",
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
    assert b";DKK;1234,50;;;;;;;;;;;;;mobilepay" in make_table(
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


def test_fee_and_payout_are_in_every_format() -> None:
    [row] = csv.DictReader(StringIO(make_table(FileFormat.PLAIN, [PAID_OUT], "da", ZONE).decode()))
    assert (row["fee"], row["net"], row["settled_fee"], row["exchange_rate"]) == ("17.28", "1217.22", "17.28", "")
    assert (row["available_on"], row["payout_id"], row["payout_date"]) == ("2026-12-03", "po_1", "2026-12-04")
    sheet = openpyxl.load_workbook(BytesIO(make_table(FileFormat.XLSX, [PAID_OUT], "da", ZONE))).active
    assert sheet is not None
    cells = {name: sheet.cell(2, number + 1).value for number, name in enumerate(COLUMNS)}
    assert (cells["net"], cells["settled_net"], cells["balance_transaction"]) == (1217.22, 1217.22, "txn_1")
    assert (cells["payout_date"], cells["exchange_rate"]) == (datetime(2026, 12, 4), None)  # noqa: DTZ001


def test_settlement_in_a_currency_without_decimals_is_written_as_it_is() -> None:
    assert PAID_OUT.settled is not None
    gross, fee, net = (ForeignMoney(amount, "JPY") for amount in (26000, 364, 25636))
    row = replace(PAID_OUT, settled=replace(PAID_OUT.settled, exchange_rate="21.0612", gross=gross, fee=fee, net=net))
    [read] = csv.DictReader(StringIO(make_table(FileFormat.PLAIN, [row], "da", ZONE).decode()))
    assert (read["fee"], read["net"], read["settlement_currency"]) == ("", "", "JPY")
    assert (read["settled_gross"], read["settled_net"], read["exchange_rate"]) == ("26000", "25636", "21.0612")


def test_file_name_is_plain_ascii() -> None:
    assert file_name("Café Åse/../x", "2026-11-01..2026-11-30", FileFormat.XLSX) == (
        "Cafe-Ase----x-2026-11-01_2026-11-30.xlsx"
    )
    assert file_name("寿司", "2026-11-30", FileFormat.PLAIN) == "kvit-2026-11-30.csv"
