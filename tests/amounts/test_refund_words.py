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
MORE_PARTS = [
    *[
        "a portion",
        "all but the cake",
        "everything but tea",
        "apart from the cake",
        "other than the tea",
        "less shipping",
    ],
    *[
        "the first one",
        "other item",
        "a bit of it",
        "what is left",
        "overcharged",
        "paid too much",
        "the tip",
        "one-eighth",
    ],
    *[
        "without shipping",
        "shipping",
        "delivery fee",
        "both coffees",
        "a couple",
        "a discount",
        "the deposit",
        "pro rata",
    ],
    *["på nær kagen", "alt andet end kagen", "uden fragt", "fragten", "den ene kop", "et par", "rabat", "trekvart"],
    *["for meget betalt", "lidt af det", "ekskl. fragt", "delrefundering", "resterende", "forskel", "andelen"],
    *["med undantag för kakan", "bortsett från te", "utan frakt", "delåterbetalning", "mellanskillnad", "den första"],
    *["trefjärdedelar", "för mycket betalt", "lite av det", "återstående", "prisavdrag", "en åttondel"],
    *["alt utenom kaken", "med unntak av te", "uten frakt", "delrefusjon", "restbeløpet", "litt av det", "prisavslag"],
    *["den ene", "mellomlegget", "tredel", "gjenværende", "pelkkä kahvi", "muutama", "lukuun ottamatta kakkua"],
    *["ilman toimituskuluja", "osuus", "osaksi", "kuudesosa", "jäljellä oleva", "alennus", "liikaa maksettu", "hieman"],
]
MORE_NUMBERS = [
    *["a fiver", "a tenner", "femmer", "hundredkroneseddel", "en tjuga", "hundralapp", "femtilapp", "vitonen"],
    *["kahdenkymmenen", "viiden euron", "satku", "kakskymppiä"],
]
NUMBERS = [
    *["fifty", "fifty-five", "one hundred", "two cups", "five", "one", "to kopper", "fire", "halvtreds", "femogtyve"],
    *["fem og tyve", "tohundrede", "tjugofem", "etthundra", "femti", "førtito", "kaksikymmentäviisi", "viisikymmentä"],
]


@pytest.mark.parametrize("reason", [*AMOUNTS, *PARTS, *NUMBERS])
def test_reason_with_a_number_money_or_a_part_may_name_an_amount(reason: str) -> None:
    assert may_name_amount(reason)
    assert may_name_amount(f"customer: {reason.upper()}") or reason.split()[0] in {"some", "one", "to", "fire"}


@pytest.mark.parametrize("reason", [*MORE_PARTS, *MORE_NUMBERS])
def test_reason_that_names_a_part_in_other_words_may_name_an_amount(reason: str) -> None:
    assert may_name_amount(reason)
    assert may_name_amount(reason.upper())


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
    *["Halvard", "Halvdan", "Halvorsen", "puolison pyynnöstä", "late shipping", "customer left", "not delivered"],
    *[
        "delivery failed",
        "levering udeblev",
        "uden is",
        "utan mjölk",
        "ilman maitoa",
        "toinen asiakas",
        "grand opening",
    ],
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
