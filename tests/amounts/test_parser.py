"""What people type is read exactly, asked back, or refused with the reason; it is never guessed."""

from __future__ import annotations

from itertools import product

import pytest

from handlers.amounts import errors as refusals
from handlers.amounts.parser import (
    AmbiguousAmount,
    RequestedAmount,
    check_amount,
    parse_amount,
    parse_refund,
    parse_request,
)
from handlers.text import MAX_TEXT_LENGTH
from storage.models.money import CURRENCIES, MIN_AMOUNT, Money

LIMIT = 10_000_000
KRONER = ("DKK", "SEK", "NOK")
SPACES = " \u00a0\u2009\u202f\u2007\u3000"


def read(text: str, default: str = "DKK", limit: int = LIMIT) -> RequestedAmount | AmbiguousAmount:
    return parse_request(text, default=default, limit=limit)


def asked(text: str, default: str = "DKK") -> tuple[str, str]:
    """The one reading, in the neutral form, and the text."""
    found = read(text, default)
    assert isinstance(found, RequestedAmount), found
    return str(found.money), found.description


def two(text: str, default: str = "DKK") -> list[tuple[str, str]]:
    """The two readings that the person is asked between."""
    found = read(text, default)
    assert isinstance(found, AmbiguousAmount), found
    return [(str(choice.money), choice.description) for choice in found.choices]


WAYS = {
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


@pytest.mark.parametrize(("written", "value"), WAYS.items())
@pytest.mark.parametrize("default", KRONER)
def test_every_way_of_writing_an_amount_is_read_with_any_currency(written: str, value: str, default: str) -> None:
    for (before, first), (after, second) in product(BEFORE.items(), AFTER.items()):
        if before and after:
            continue
        currency = {"kr": default, None: default}.get(first or second, first or second)
        assert asked(f"{before}{written}{after}", default) == (f"{value} {currency}", "")
        if (before or after) or not set(written) & set(SPACES) or "," in written:
            assert asked(f"{before}{written}{after}  Coffee & cake", default) == (
                f"{value} {currency}",
                "Coffee & cake",
            )


@pytest.mark.parametrize("mark", [",-", ":-", ".-", ",–"])
@pytest.mark.parametrize("number", ["125", "1 250", "1'250"])
def test_a_dash_stands_for_no_decimals(number: str, mark: str) -> None:
    value = "125.00" if number == "125" else "1250.00"
    for default in CURRENCIES:
        assert asked(f"{number}{mark}", default) == (f"{value} {default}", "")
        assert asked(f"{number}{mark} Coffee", default) == (f"{value} {default}", "Coffee")
    assert asked(f"kr {number}{mark}") == (f"{value} DKK", "")
    assert asked(f"{number}{mark} SEK") == (f"{value} SEK", "")


def test_a_dash_after_a_grouped_number_says_that_it_was_grouped() -> None:
    assert asked("1.234,- Coffee") == ("1234.00 DKK", "Coffee")
    assert asked("1.234:-") == ("1234.00 DKK", "")
    assert asked("1,234.-") == ("1234.00 DKK", "")


def test_a_named_currency_wins_over_the_shop_s() -> None:
    for named, default in product(CURRENCIES, CURRENCIES):
        assert asked(f"125 {named.lower()} Coffee", default) == (f"125.00 {named}", "Coffee")
        assert asked(f"{named}125", default) == (f"125.00 {named}", "")


def test_words_for_money_are_currencies_and_not_text() -> None:
    assert asked("125 kroner") == ("125.00 DKK", "")
    assert asked("125 kronor kaffe", "SEK") == ("125.00 SEK", "kaffe")
    assert asked("12,50 euro") == ("12.50 EUR", "")


@pytest.mark.parametrize("written", ["1.234", "1,234", "1.239", "1,239"])
def test_three_digits_after_one_point_or_comma_are_asked_back_and_cut(written: str) -> None:
    small = f"1.{written[2:4]}"
    for frame, currency, said in [("{}", "EUR", ""), ("{} € Coffee", "EUR", "Coffee"), ("kr {} x", "SEK", "x")]:
        large = f"1{written[2:]}.00 {currency}"
        assert two(frame.format(written), currency) == [(large, said), (f"{small} {currency}", said)]


def test_more_groups_or_decimals_leave_nothing_to_ask() -> None:
    assert str(parse_amount("1.234.567", currency="DKK", limit=10**9)) == "1234567.00 DKK"
    assert str(parse_amount("1,234,567.8", currency="DKK", limit=10**9)) == "1234567.80 DKK"


def test_a_number_after_a_space_may_belong_to_the_text() -> None:
    assert two("12 500 g coffee") == [("12500.00 DKK", "g coffee"), ("12.00 DKK", "500 g coffee")]
    assert two("12\u202f500 g") == [("12500.00 DKK", "g"), ("12.00 DKK", "500 g")]
    assert asked("12 500") == ("12500.00 DKK", "")
    assert asked("12 500 kr coffee") == ("12500.00 DKK", "coffee")
    assert asked("12 500,00 g coffee") == ("12500.00 DKK", "g coffee")
    assert asked("12 kr 500 g coffee") == ("12.00 DKK", "500 g coffee")
    assert asked("125 2 coffees") == ("125.00 DKK", "2 coffees")
    assert asked("12\n500 g coffee") == ("12.00 DKK", "500 g coffee")


def test_an_ambiguous_amount_is_asked_back_even_if_only_one_reading_could_be_taken() -> None:
    assert two("1.234") == [("1234.00 DKK", ""), ("1.23 DKK", "")]
    assert two("999.999") == [("999999.00 DKK", ""), ("999.99 DKK", "")]
    with pytest.raises(refusals.AmountTooSmall):
        check_amount(Money(123, "DKK"), limit=LIMIT)


REFUSED: dict[type[refusals.AmountError], list[str]] = {
    refusals.MissingAmount: ["", "  ", "\n", "DKK", "kr.", "€"],
    refusals.SignedAmount: ["-5", "+5", "−5", "–5", "- 5", "kr -5", "-kr 5", "€−5", "5-3", "5+3", "－5", "+ € 5"],
    refusals.ExponentAmount: ["5e3", "5E3", "1,5e3", "5e-3", "5e+3", "1e5 kr"],
    refusals.NonAsciiDigits: [
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
    refusals.TooManyDecimals: ["0.500", "0,500", "0,001", "12.3456", "12,3456", "1234.567", "1'234.567", "1.234,567"],
    refusals.ZeroAmount: ["0", "0,00", "0.0", "000", "0 kr"],
    refusals.AmountTooLarge: ["100000,01", "100 001", "1.234.567", "9" * 5000, "1" + ".000" * 300],
    refusals.UnreadableAmount: [
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
    refusals.UnknownCurrency: [
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
    refusals.ConflictingCurrencies: [
        "kr 125 kr",
        "125 kr DKK",
        "DKK 125 EUR",
        "125 DKK USD lunch",
        "€125€",
        "125 kr. kr.",
    ],
    refusals.DescriptionTooLong: ["125 " + "x" * (MAX_TEXT_LENGTH + 1)],
}


@pytest.mark.parametrize(("reason", "text"), [(reason, text) for reason, texts in REFUSED.items() for text in texts])
def test_what_is_no_amount_is_refused_with_its_reason(reason: type[refusals.AmountError], text: str) -> None:
    with pytest.raises(refusals.AmountError) as refused:
        read(text)
    assert type(refused.value) is reason


def test_kroner_in_a_shop_without_a_krone_are_asked_for() -> None:
    for text in ("125 kr", "kr. 125", "125kr Coffee", "125 kroner"):
        with pytest.raises(refusals.CurrencyRequired):
            read(text, "EUR")


def test_every_reason_has_its_own_sentence() -> None:
    codes = [kind.message_key for kind in refusals.AmountError.__subclasses__()]
    assert len(set(codes)) == len(codes)
    assert all(code.startswith("error.") for code in codes)


@pytest.mark.parametrize("currency", CURRENCIES)
def test_stripe_s_minimum_and_the_shop_s_limit_are_the_last_that_pass(currency: str) -> None:
    least = Money(MIN_AMOUNT[currency], currency)
    assert read(f"{least.decimal} {currency}") == RequestedAmount(least, "")
    assert asked(f"100000 {currency}") == (f"100000.00 {currency}", "")
    with pytest.raises(refusals.AmountTooSmall) as below:
        read(f"{Money(least.minor - 1, currency).decimal} {currency}")
    assert below.value.minimum == below.value.params["minimum"] == least
    with pytest.raises(refusals.AmountTooLarge) as above:
        read(f"100000,01 {currency}")
    assert above.value.limit == above.value.params["limit"] == Money(LIMIT, currency)


def test_words_that_look_like_other_currencies_stay_text() -> None:
    for text in ("mad til to", "Mad", "top up", "all you can eat", "cup cake", "krabber", "sekt", "Bob", "eurovision"):
        assert asked(f"125 {text}") == ("125.00 DKK", text)


def test_the_text_is_kept_as_it_was_typed_on_one_line() -> None:
    assert asked("125   2  big\u00a0<b>cups</b>\n& {milk} ") == ("125.00 DKK", "2  big\u00a0<b>cups</b> & {milk}")
    assert asked("125 kr, coffee") == ("125.00 DKK", "coffee")
    assert asked("125 #1042") == ("125.00 DKK", "#1042")
    assert asked("125 2026-05-01") == ("125.00 DKK", "2026-05-01")
    assert asked("125 12 - 14 personer") == ("125.00 DKK", "12 - 14 personer")
    assert asked("125 12:30 klip") == ("125.00 DKK", "12:30 klip")
    assert asked("125 👩‍🍳 Åse's çay") == ("125.00 DKK", "👩‍🍳 Åse's çay")


def test_a_text_can_neither_turn_nor_hide_what_stands_beside_it() -> None:
    assert asked("125 a\u202eb\u2066c\x00d\u200be\ufefff\ud800g\uffffh") == ("125.00 DKK", "abcdefgh")
    assert asked("125 \u202e\u200d") == ("125.00 DKK", "")


def test_a_refund_s_amount_is_read_in_the_payment_s_own_currency() -> None:
    assert parse_amount("0,01", currency="DKK", limit=100) == Money(1, "DKK")
    assert parse_amount("12 500", currency="SEK", limit=LIMIT) == Money(1_250_000, "SEK")
    assert parse_amount("1.239", currency="EUR", limit=LIMIT) == (Money(123_900, "EUR"), Money(123, "EUR"))
    assert parse_amount("5 kr", currency="NOK", limit=LIMIT) == Money(500, "NOK")
    for text, reason in {
        "5 EUR": refusals.WrongCurrency,
        "5 kr please": refusals.UnreadableAmount,
        "1,01": refusals.AmountTooLarge,
        "1.234": refusals.AmountTooLarge,
        "0": refusals.ZeroAmount,
        "-1": refusals.SignedAmount,
    }.items():
        with pytest.raises(reason):
            parse_amount(text, currency="DKK", limit=100)


@pytest.mark.parametrize(
    "text", ["Kr 50", "KR 50", "Kr. 50", "Dkk 50", "dKK 50", "dkk50", "50 Kr", "DKK 50,00", "kr 50,-"]
)
def test_a_refund_s_amount_is_read_in_any_case(text: str) -> None:
    [(asked_for, reason)] = [(one.money, one.description) for one in parse_refund(text, currency="DKK", limit=LIMIT)[0]]
    assert (asked_for, reason) == (Money(5000, "DKK"), "")


UNREADABLE = ["５０", "٥٠", "50٫00", "$50", "USD 50", ".50", ",50", "-50", "+50", "− 50", "½"]
HALVES = ["50 %", "50 +25", "12 50", "50 × 2", "50 x2", "50 DKK 25 EUR", "50 25 kr", "kr -50"]


@pytest.mark.parametrize("text", [*UNREADABLE, *HALVES])
def test_half_an_amount_of_a_refund_and_one_that_cannot_be_read_is_refused_and_no_reason(text: str) -> None:
    with pytest.raises(refusals.AmountError):
        parse_refund(text, currency="DKK", limit=LIMIT)


@pytest.mark.parametrize("text", ["broken cup", "#1042 broken", "A4 paper torn", "all of it", "two cups", "x", "kr"])
def test_words_alone_are_the_reason_of_a_refund(text: str) -> None:
    assert parse_refund(text, currency="DKK", limit=LIMIT)[0] == ()


def test_a_reason_may_have_numbers_of_its_own() -> None:
    for text in ("50 order 17", "50 2 cups", "50 #17"):
        [one] = parse_refund(text, currency="DKK", limit=LIMIT)[0]
        assert (one.money, one.description) == (Money(5000, "DKK"), text.removeprefix("50 "))
