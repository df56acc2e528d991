"""SIE files: what a Swedish bookkeeping program reads."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.reports.sie import NoAccounts, left_out, make_sie
from storage.models.money import Money
from storage.models.shop import Shop
from tests.reports.test_files import ROW

SHOP = Shop(1, "Kiosk", "SEK", "sv", "Europe/Stockholm", seller_name="Åse Ø & Söner – AB", accounts="1580 3001 2611")
NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
SALE = replace(ROW, at=NOW, gross=Money(12500, "SEK"), vat=Money(2500, "SEK"))


def test_each_day_is_one_voucher() -> None:
    refund = replace(SALE, gross=Money(-5000, "SEK"), vat=Money(-1000, "SEK"))
    next_day = replace(SALE, at=NOW + timedelta(hours=12))
    shop = replace(SHOP, seller_number="556677-8899")
    assert make_sie([SALE, refund, next_day], shop, NOW).decode("cp437").split("\r\n") == [
        "#FLAGGA 0",
        '#PROGRAM "Kvit" "1"',
        "#FORMAT PC8",
        "#GEN 20261130",
        "#SIETYP 4",
        "#ORGNR 556677-8899",
        '#FNAMN "Åse Ö & Söner - AB"',
        "#VALUTA SEK",
        '#VER "" "" 20261130 "Kvit 2026-11-30"',
        "{",
        "#TRANS 1580 {} 75.00",
        "#TRANS 3001 {} -60.00",
        "#TRANS 2611 {} -15.00",
        "}",
        '#VER "" "" 20261201 "Kvit 2026-12-01"',
        "{",
        "#TRANS 1580 {} 125.00",
        "#TRANS 3001 {} -100.00",
        "#TRANS 2611 {} -25.00",
        "}",
        "",
    ]


def test_other_currencies_are_left_out_and_counted() -> None:
    rows = [SALE, replace(SALE, gross=Money(100, "EUR"), vat=None)]
    assert make_sie(rows, SHOP, NOW) == make_sie([SALE], SHOP, NOW)
    assert left_out(rows) == 1


def test_file_needs_accounts() -> None:
    with pytest.raises(NoAccounts):
        make_sie([SALE], replace(SHOP, accounts=""), NOW)


@pytest.mark.parametrize("number", ["SE556677889901", "5566778899", "556677-8899"])
def test_organisation_number_is_found(number: str) -> None:
    assert b"#ORGNR 556677-8899\r\n" in make_sie([], replace(SHOP, seller_number=number), NOW)


def test_another_business_number_is_left_out() -> None:
    assert b"#ORGNR" not in make_sie([], replace(SHOP, seller_number="CVR 12345678"), NOW)


@pytest.mark.parametrize("name", ['Say "hi"', "a\r\n#TRANS 1 {} 1", "back\\slash", "Łódź 寿司", "{}"])
def test_name_cannot_break_out_of_its_line(name: str) -> None:
    lines = make_sie([SALE], replace(SHOP, seller_name=name), NOW).decode("cp437").split("\r\n")
    assert len(lines) == 14
    assert re.fullmatch(r'#FNAMN "([^"\\]|\\")*"', lines[5])


@given(st.lists(st.tuples(st.integers(-(10**8), 10**8), st.integers(-(10**7), 10**7)), max_size=20))
def test_vouchers_add_up_to_zero(amounts: list[tuple[int, int]]) -> None:
    rows = [replace(SALE, gross=Money(gross, "SEK"), vat=Money(vat, "SEK")) for gross, vat in amounts]
    written = make_sie(rows, SHOP, NOW).decode("cp437")
    lines = [round(float(amount) * 100) for amount in re.findall(r"#TRANS \d+ \{\} (\S+)", written)]
    assert sum(lines) == 0
