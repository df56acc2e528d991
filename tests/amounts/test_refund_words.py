"""A reason that may name less than everything is recognized, an ordinary reason is not."""

from __future__ import annotations

import unicodedata

import pytest

from handlers.amounts.parser import amount_within
from handlers.amounts.refund_words import may_name_amount

AMOUNTS = [
    *["kun 50 kr", "only 50", "order 1042", "about 5o", "kun ５０", "½", "五十", "50 %", "x50", "O50", "12:30"],
    *["kr", "some dollars", "halvtreds kroner", "5 tusind", "USD", "half a euro", "øre"],
]
PARTS = [
    *["half", "Half of it", "HALF", "ｈａｌｆ", "partial", "one third", "50 percent", "the remainder", "some of it"],
    *["halvdelen", "den halve pris", "delvis", "en tredjedel", "halvanden", "resten", "alt undtagen kaffen"],
    *["hälften", "halva priset", "en del", "en fjärdedel", "allt utom frakten"],
    *[
        "halvparten",
        "en femtedel",
        "alt unntatt frakt",
        "prosent",
        "puolet",
        "puolikas",
        "kolmasosa",
        "osa",
        "osittain",
    ],
    *["only the cake", "kun kaffen", "bara kaffet", "bare kaffen", "vain kahvi", "max the cake"],
]
NUMBERS = [
    *["fifty", "fifty-five", "one hundred", "two cups", "five", "one", "to kopper", "fire", "halvtreds", "femogtyve"],
    *["fem og tyve", "tohundrede", "tjugofem", "etthundra", "femti", "førtito", "kaksikymmentäviisi", "viisikymmentä"],
]


@pytest.mark.parametrize("reason", [*AMOUNTS, *PARTS, *NUMBERS])
def test_reason_with_a_number_money_or_a_part_may_name_an_amount(reason: str) -> None:
    assert may_name_amount(reason)
    assert may_name_amount(f"customer: {reason.upper()}") or reason.split()[0] in {"some", "one", "to", "fire"}


ORDINARY = [
    *["", "broken cup", "#1042 broken", "A4 paper torn", "all of it", "everything", "x", "sour milk", "too much"],
    *[
        "department closed",
        "customer changed mind",
        "paid twice",
        "asked by phone",
        "halal",
        "Mad",
        "top",
        "without ice",
    ],
    *["kold kaffe", "alt", "hele beløbet", "kunden fortrød", "dobbelt betalt", "uden kvittering", "tak for kaffen"],
    *["fel storlek", "hela beloppet", "feil vare", "väärä tuote", "koko summa", "asiakas perui", "tuote loppu"],
]


@pytest.mark.parametrize("reason", ORDINARY)
def test_ordinary_reason_names_no_amount(reason: str) -> None:
    assert not may_name_amount(reason)


def test_every_digit_of_any_script_may_name_an_amount() -> None:
    digits = [char for char in map(chr, range(0x20000)) if unicodedata.category(char) in {"Nd", "Nl", "No"}]
    assert len(digits) > 1500
    assert [char for char in digits if not may_name_amount(f"cake {char}")] == []


@pytest.mark.parametrize(
    ("reason", "minor"),
    [
        ("kun 50 kr", [5000]),
        ("only kr 50,- please", [5000]),
        ("only 1.234", [123]),
        ("only 50 or 60", []),
        ("2 times 50", []),
        ("only 126", []),
        ("only 50 EUR", []),
        ("half", []),
    ],
)
def test_only_amount_inside_a_reason_is_read_if_it_can_be_refunded(reason: str, minor: list[int]) -> None:
    found = amount_within(reason, currency="DKK", limit=12500)
    assert [reading.money.minor for reading in found] == minor
    assert {reading.description for reading in found} <= {reason}
