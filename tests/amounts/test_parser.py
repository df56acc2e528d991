"""Typed amounts are parsed exactly, give two readings, or are rejected with the reason."""

from __future__ import annotations

from itertools import product

import pytest

from handlers.amounts import errors
from handlers.amounts.parser import (
    AmbiguousAmount,
    RequestedAmount,
    check_amount,
    parse_amount,
    parse_refund,
    parse_request,
)
from handlers.text_cleaning import MAX_TEXT_LENGTH
from storage.models.money import CURRENCIES, MIN_AMOUNT, Money

LIMIT = 10_000_000
KRONER = ("DKK", "SEK", "NOK")
SPACES = " \u00a0\u2009\u202f\u2007\u3000"


def parse(text: str, default: str = "DKK", limit: int = LIMIT) -> RequestedAmount | AmbiguousAmount:
    return parse_request(text, default=default, limit=limit)


def reading_of(text: str, default: str = "DKK") -> tuple[str, str]:
    """The only reading: the amount as text, and the description."""
    reading = parse(text, default)
    assert isinstance(reading, RequestedAmount), reading
    return str(reading.money), reading.description


def readings_of(text: str, default: str = "DKK") -> list[tuple[str, str]]:
    """Both readings: the amounts as text, and the descriptions."""
    reading = parse(text, default)
    assert isinstance(reading, AmbiguousAmount), reading
    return [(str(choice.money), choice.description) for choice in reading.choices]


NOTATIONS = {
    "125": "125.00",
    "125,5": "125.50",
    "125.5": "125.50",
    "125,50": "125.50",
    "125.50": "125.50",
    "1.234,50": "1234.50",
    "1,234.50": "1234.50",
    "1'234,50": "1234.50",
    "1’234,50": "1234.50",
    "1'234": "1234.00",
    "12.345,6": "12345.60",
    "1234,50": "1234.50",
    "100000": "100000.00",
    "100.000,00": "100000.00",
    **{f"1{space}234,50": "1234.50" for space in SPACES},
    **{f"12{space}345": "12345.00" for space in SPACES},
}
BEFORE = {"": None, "kr": "kr", "kr.": "kr", "KR ": "kr", "DKK ": "DKK", "eur": "EUR", "€": "EUR", "Nok\u00a0": "NOK"}
AFTER = {"": None, "kr": "kr", " kr.": "kr", "\u00a0Kr": "kr", " sek": "SEK", "DKK": "DKK", "€": "EUR", " EUR": "EUR"}


@pytest.mark.parametrize(("typed", "value"), NOTATIONS.items())
@pytest.mark.parametrize("default", KRONER)
def test_every_notation_is_parsed_with_any_currency(typed: str, value: str, default: str) -> None:
    for (before, first), (after, second) in product(BEFORE.items(), AFTER.items()):
        if before and after:
            continue
        currency = {"kr": default, None: default}.get(first or second, first or second)
        assert reading_of(f"{before}{typed}{after}", default) == (f"{value} {currency}", "")
        if (before or after) or not set(typed) & set(SPACES) or "," in typed:
            assert reading_of(f"{before}{typed}{after}  Coffee & cake", default) == (
                f"{value} {currency}",
                "Coffee & cake",
            )


@pytest.mark.parametrize("mark", [",-", ":-", ".-", ",–"])
@pytest.mark.parametrize("number", ["125", "1 250", "1'250"])
def test_end_mark_stands_for_no_decimals(number: str, mark: str) -> None:
    value = "125.00" if number == "125" else "1250.00"
    for default in CURRENCIES:
        assert reading_of(f"{number}{mark}", default) == (f"{value} {default}", "")
        assert reading_of(f"{number}{mark} Coffee", default) == (f"{value} {default}", "Coffee")
    assert reading_of(f"kr {number}{mark}") == (f"{value} DKK", "")
    assert reading_of(f"{number}{mark} SEK") == (f"{value} SEK", "")


def test_end_mark_after_groups_makes_them_thousands() -> None:
    assert reading_of("1.234,- Coffee") == ("1234.00 DKK", "Coffee")
    assert reading_of("1.234:-") == ("1234.00 DKK", "")
    assert reading_of("1,234.-") == ("1234.00 DKK", "")


def test_named_currency_overrides_the_shops() -> None:
    for named, default in product(CURRENCIES, CURRENCIES):
        assert reading_of(f"125 {named.lower()} Coffee", default) == (f"125.00 {named}", "Coffee")
        assert reading_of(f"{named}125", default) == (f"125.00 {named}", "")


def test_currency_words_are_no_description() -> None:
    assert reading_of("125 kroner") == ("125.00 DKK", "")
    assert reading_of("125 kronor kaffe", "SEK") == ("125.00 SEK", "kaffe")
    assert reading_of("12,50 euro") == ("12.50 EUR", "")


@pytest.mark.parametrize("typed", ["1.234", "1,234", "1.239", "1,239"])
def test_three_digits_after_one_separator_are_ambiguous_and_truncated(typed: str) -> None:
    small = f"1.{typed[2:4]}"
    for template, currency, description in [
        ("{}", "EUR", ""),
        ("{} € Coffee", "EUR", "Coffee"),
        ("kr {} x", "SEK", "x"),
    ]:
        large = f"1{typed[2:]}.00 {currency}"
        assert readings_of(template.format(typed), currency) == [
            (large, description),
            (f"{small} {currency}", description),
        ]


def test_more_groups_or_decimals_are_unambiguous() -> None:
    assert str(parse_amount("1.234.567", currency="DKK", limit=10**9)) == "1234567.00 DKK"
    assert str(parse_amount("1,234,567.8", currency="DKK", limit=10**9)) == "1234567.80 DKK"


def test_number_after_a_space_may_belong_to_the_description() -> None:
    assert readings_of("12 500 g coffee") == [("12500.00 DKK", "g coffee"), ("12.00 DKK", "500 g coffee")]
    assert readings_of("12\u202f500 g") == [("12500.00 DKK", "g"), ("12.00 DKK", "500 g")]
    assert reading_of("12 500") == ("12500.00 DKK", "")
    assert reading_of("12 500 kr coffee") == ("12500.00 DKK", "coffee")
    assert reading_of("12 500,00 g coffee") == ("12500.00 DKK", "g coffee")
    assert reading_of("12 kr 500 g coffee") == ("12.00 DKK", "500 g coffee")
    assert reading_of("125 2 coffees") == ("125.00 DKK", "2 coffees")
    assert reading_of("12\n500 g coffee") == ("12.00 DKK", "500 g coffee")


def test_amount_is_ambiguous_even_if_only_one_reading_is_valid() -> None:
    assert readings_of("1.234") == [("1234.00 DKK", ""), ("1.23 DKK", "")]
    assert readings_of("999.999") == [("999999.00 DKK", ""), ("999.99 DKK", "")]
    with pytest.raises(errors.AmountTooSmall):
        check_amount(Money(123, "DKK"), limit=LIMIT)


REJECTED: dict[type[errors.AmountError], list[str]] = {
    errors.MissingAmount: ["", "  ", "\n", "DKK", "kr.", "€"],
    errors.SignedAmount: ["-5", "+5", "−5", "–5", "- 5", "kr -5", "-kr 5", "€−5", "5-3", "5+3", "－5", "+ € 5"],
    errors.ExponentAmount: ["5e3", "5E3", "1,5e3", "5e-3", "5e+3", "1e5 kr"],
    errors.NonAsciiDigits: [
        "١٢٥",
        "１２５",
        "१२",
        "12٣",
        "1²",
        "12½",
        "①",
        "Ⅻ",
        "五",
        "DKK ١",
        "12 ٥٠٠ g",
        "𝟏𝟐",
    ],
    errors.TooManyDecimals: ["0.500", "0,500", "0,001", "12.3456", "12,3456", "1234.567", "1'234.567", "1.234,567"],
    errors.ZeroAmount: ["0", "0,00", "0.0", "000", "0 kr"],
    errors.AmountTooLarge: ["100000,01", "100 001", "1.234.567", "9" * 5000, "1" + ".000" * 300],
    errors.UnreadableAmount: [
        *["1_000", "1.2.3", "1.23,45", "12,34.56", "1,23,456", "1.234.56", "1.234,56,8", "1'23", "1'234'5", ".50"],
        *[",50", "12.", "12,", "5k", "5 k", "5 tusind", "0x10", "125x", "125%", "5 % off", "Coffee 125", "K7F3 125"],
        *["12 50", "1 23,45", "125 42", "12\t500", "1\n234,50", "125 ½", "12 50 kr", "125 kr 50 øre", "125 kr.50"],
        *[
            "125 kr50",
            "€.50",
            "125 12,-",
            "125 12:- x",
            "125 + 25 tip",
            "125 x 2",
            "125 -25",
            "12\u200b500",
            "\u202e521",
            "5\ufe0f\u20e3",
        ],
        *["1,234,-", "125,50,-", "125,-50", "125 EUR-pallet", "#125", "(125)", "125\x00", "1 234 567 coffee"],
    ],
    errors.UnknownCurrency: [
        *[
            "125 USD lunch",
            "125 usd",
            "USD 125",
            "usd125",
            "125USD",
            "$125",
            "125 $",
            "125 US$",
            "£5",
            "125 ¥",
            "125 ₿",
        ],
        *["125 ISK", "125 isk fish", "125 Gbp", "125 MAD", "125 dollars", "125 øre", "125 cent", "125＄"],
    ],
    errors.ConflictingCurrencies: [
        "kr 125 kr",
        "125 kr DKK",
        "DKK 125 EUR",
        "125 DKK USD lunch",
        "€125€",
        "125 kr. kr.",
    ],
    errors.DescriptionTooLong: ["125 " + "x" * (MAX_TEXT_LENGTH + 1)],
}


@pytest.mark.parametrize(("error", "text"), [(error, text) for error, texts in REJECTED.items() for text in texts])
def test_invalid_amount_is_rejected_with_its_reason(error: type[errors.AmountError], text: str) -> None:
    with pytest.raises(errors.AmountError) as raised:
        parse(text)
    assert type(raised.value) is error


def test_krone_in_a_euro_shop_needs_a_currency() -> None:
    for text in ("125 kr", "kr. 125", "125kr Coffee", "125 kroner"):
        with pytest.raises(errors.CurrencyRequired):
            parse(text, "EUR")


def test_every_error_has_its_own_message() -> None:
    keys = [kind.message_key for kind in errors.AmountError.__subclasses__()]
    assert len(set(keys)) == len(keys)
    assert all(key.startswith("error.") for key in keys)


@pytest.mark.parametrize("currency", CURRENCIES)
def test_stripes_minimum_and_the_shops_limit_are_inclusive(currency: str) -> None:
    minimum = Money(MIN_AMOUNT[currency], currency)
    assert parse(f"{minimum.decimal} {currency}") == RequestedAmount(minimum, "")
    assert reading_of(f"100000 {currency}") == (f"100000.00 {currency}", "")
    with pytest.raises(errors.AmountTooSmall) as below:
        parse(f"{Money(minimum.minor - 1, currency).decimal} {currency}")
    assert below.value.minimum == below.value.params["minimum"] == minimum
    with pytest.raises(errors.AmountTooLarge) as above:
        parse(f"100000,01 {currency}")
    assert above.value.limit == above.value.params["limit"] == Money(LIMIT, currency)


def test_words_that_resemble_currencies_are_description() -> None:
    for text in ("mad til to", "Mad", "top up", "all you can eat", "cup cake", "krabber", "sekt", "Bob", "eurovision"):
        assert reading_of(f"125 {text}") == ("125.00 DKK", text)


def test_description_is_kept_as_typed_on_one_line() -> None:
    assert reading_of("125   2  big\u00a0<b>cups</b>\n& {milk} ") == ("125.00 DKK", "2  big\u00a0<b>cups</b> & {milk}")
    assert reading_of("125 kr, coffee") == ("125.00 DKK", "coffee")
    assert reading_of("125 #1042") == ("125.00 DKK", "#1042")
    assert reading_of("125 2026-05-01") == ("125.00 DKK", "2026-05-01")
    assert reading_of("125 12 - 14 personer") == ("125.00 DKK", "12 - 14 personer")
    assert reading_of("125 12:30 klip") == ("125.00 DKK", "12:30 klip")
    assert reading_of("125 👩‍🍳 Åse's çay") == ("125.00 DKK", "👩‍🍳 Åse's çay")


def test_description_has_no_hidden_or_reordering_characters() -> None:
    assert reading_of("125 a\u202eb\u2066c\x00d\u200be\ufefff\ud800g\uffffh") == ("125.00 DKK", "abcdefgh")
    assert reading_of("125 \u202e\u200d") == ("125.00 DKK", "")


def test_amount_without_description_is_in_the_given_currency() -> None:
    assert parse_amount("0,01", currency="DKK", limit=100) == Money(1, "DKK")
    assert parse_amount("12 500", currency="SEK", limit=LIMIT) == Money(1_250_000, "SEK")
    assert parse_amount("1.239", currency="EUR", limit=LIMIT) == (Money(123_900, "EUR"), Money(123, "EUR"))
    assert parse_amount("5 kr", currency="NOK", limit=LIMIT) == Money(500, "NOK")
    for text, error in {
        "5 EUR": errors.WrongCurrency,
        "5 kr please": errors.UnreadableAmount,
        "1,01": errors.AmountTooLarge,
        "1.234": errors.AmountTooLarge,
        "0": errors.ZeroAmount,
        "-1": errors.SignedAmount,
    }.items():
        with pytest.raises(error):
            parse_amount(text, currency="DKK", limit=100)


@pytest.mark.parametrize(
    "text", ["Kr 50", "KR 50", "Kr. 50", "Dkk 50", "dKK 50", "dkk50", "50 Kr", "DKK 50,00", "kr 50,-"]
)
def test_refund_amount_is_parsed_in_any_case(text: str) -> None:
    readings, _ = parse_refund(text, currency="DKK", limit=LIMIT)
    assert readings == (RequestedAmount(Money(5000, "DKK"), ""),)


UNREADABLE = ["５０", "٥٠", "50٫00", "$50", "USD 50", ".50", ",50", "-50", "+50", "− 50", "½"]
PARTLY_READABLE = ["50 %", "50 +25", "12 50", "50 × 2", "50 x2", "50 DKK 25 EUR", "50 25 kr", "kr -50"]


@pytest.mark.parametrize("text", [*UNREADABLE, *PARTLY_READABLE])
def test_refund_amount_that_is_not_fully_readable_is_rejected_and_no_reason(text: str) -> None:
    with pytest.raises(errors.AmountError):
        parse_refund(text, currency="DKK", limit=LIMIT)


@pytest.mark.parametrize("text", ["broken cup", "#1042 broken", "A4 paper torn", "all of it", "two cups", "x", "kr"])
def test_refund_without_an_amount_has_only_a_reason(text: str) -> None:
    assert parse_refund(text, currency="DKK", limit=LIMIT)[0] == ()


def test_refund_reason_may_contain_numbers() -> None:
    for text in ("50 order 17", "50 2 cups", "50 #17"):
        readings, _ = parse_refund(text, currency="DKK", limit=LIMIT)
        assert readings == (RequestedAmount(Money(5000, "DKK"), text.removeprefix("50 ")),)
