"""Currencies in words and signs are read as what they say, refused, or asked about; other words stay a description."""

from __future__ import annotations

import pytest
from babel import Locale
from babel.numbers import get_currency_name, get_currency_symbol

from handlers import i18n
from handlers.amounts import errors
from handlers.amounts.parser import AmbiguousAmount, RequestedAmount, parse_amount, parse_refund
from storage.models.money import CURRENCIES, Money
from tests.amounts.test_parser import LIMIT, parse, reading_of, readings_of

LOCALES = [Locale.parse("en_GB" if language == "en" else language) for language in i18n.LANGUAGES]


def cldr_names() -> list[tuple[str, str]]:
    """The names of all currencies in the five languages, singular and plural, each with its ISO code."""
    counts = (None, 1, 2, 5, 0.5)
    names = {
        (get_currency_name(code, count, locale), code)
        for locale in LOCALES
        for code in i18n.currency_codes()
        for count in counts
    }
    return sorted(names)


def test_every_currency_name_of_cldr_is_read_or_refused_and_no_description() -> None:
    names = cldr_names()
    assert len(names) > 1000
    for name, code in names:
        bracketed = name if ")" in name else f"({name})"
        for typed in (f"125 {name} te", f"125 {name.upper()}, te", f"125 {bracketed} te", f"{name} 125 te"):
            if code in CURRENCIES:
                assert reading_of(typed) == (f"125.00 {code}", "te")
            else:
                with pytest.raises((errors.UnknownCurrency, errors.UnreadableAmount)):
                    parse(typed)


def test_every_code_and_sign_is_read_or_refused() -> None:
    signs = {get_currency_symbol(code, locale) for code in i18n.currency_codes() for locale in LOCALES}
    not_ours = {"kr", "kr.", "Cg."}
    for sign in sorted(signs - not_ours | i18n.currency_codes()):
        for typed in (f"125 {sign}", f"125 {sign} te", f"{sign} 125", f"125 - {sign} te", f"125 [{sign}]"):
            try:
                reading = parse(typed, "NOK")
            except errors.AmountError:
                continue
            assert isinstance(reading, RequestedAmount), typed
            assert (reading.money.currency, reading.description) in {(c, d) for c in CURRENCIES for d in ("", "te")}
            assert reading.money.currency == {"€": "EUR", "Dkr": "DKK", "Nkr": "NOK"}.get(sign, sign), typed


SUPPORTED = {
    "SEK": [
        "svenske kroner",
        "Svenska kronor",
        "svensk krona",
        "s.kr.",
        "s. kr",
        "sv. kr.",
        "svenske kr.",
        "skr",
        "svkr",
        "se kr",
        "SE-kr",
        "ruotsinkruunua",
        "Ruotsin kruunulla",
        "svenske penge",
        "svenska pengar",
        "Swedish krona's",
    ],
    "NOK": [
        "norske kr",
        "Norwegian kroner",
        "norwegian crowns",
        "n.kr.",
        "Norjan kruunua",
        "norska kr",
        "nkr.",
        "norske penger",
        "norjankruunua",
        "norske spenn",
        "Norjan rahaa",
    ],
    "DKK": [
        "danske kroner",
        "d.kr.",
        "Tanskan kruunua",
        "Danish crowns",
        "dan. kr.",
        "Dkr",
        "tanskankruunua",
        "dk kr",
        "danske penge",
    ],
    "EUR": [
        "euro",
        "Euros",
        "euroa",
        "e",
        "euron",
        "€",
        "(EUR)",
        "[eur]",
        "- EUR",
        "– €",
        "/ EUR",
        "i euro",
        "in euros",
        "eurolla",
        "eurosta",
        "euro's",
        "euro(s)",
    ],
}
FLAGGED = {
    "SEK": ["🇸🇪 SEK", "🇸🇪 kr", "🇸🇪kr."],
    "NOK": ["🇳🇴 NOK"],
    "DKK": ["🇩🇰 DKK", "🇫🇴 kr"],
    "EUR": ["🇪🇺 EUR", "🇫🇮 €"],
}


@pytest.mark.parametrize("currency", CURRENCIES)
def test_supported_currency_is_read_in_words_and_signs(currency: str) -> None:
    for default in CURRENCIES:
        for written in SUPPORTED[currency] + FLAGGED[currency]:
            assert reading_of(f"200 {written} Bolle", default) == (f"200.00 {currency}", "Bolle"), written
            assert reading_of(f"1.234,50 {written}", default) == (f"1234.50 {currency}", "")


@pytest.mark.parametrize(
    "written",
    [
        *[
            "US dollars",
            "U.S. dollars",
            "US-dollar",
            "USA-dollar",
            "US$",
            "US $",
            "$US",
            "dollar",
            "bucks",
            "A$",
            "🇺🇸 USD",
        ],
        *[
            "zł",
            "zloty",
            "złotych",
            "Kč",
            "Ft",
            "₽",
            "рублей",
            "руб.",
            "грн",
            "лв",
            "£",
            "¥",
            "円",
            "₿",
            "pund",
            "punta",
        ],
        *["islandske kroner", "isländska kr", "Islannin kruunua", "krónur", "tjekkiske kroner", "færøske kr", "🇮🇸 kr"],
        *["grønlandske kroner", "canadiske dollars", "schweizerfranc", "Swiss francs", "(USD)", "- CHF", "[zł]"],
        *["lei", "mark", "won", "markkaa", "lats", "sfr.", "RMB", "coffee USD", "coffee $", "coffee US dollars"],
        *[
            "engelske pund",
            "UK pounds",
            "brittiska pund",
            "Englannin puntaa",
            "schweiziske franc",
            "bulgarske lev",
            "tyske mark",
        ],
        *[
            "deutsche mark",
            "D-Mark",
            "suomen markkaa",
            "islandske penge",
            "dollarilla",
            "dollars'",
            "taalaa",
            "dolarów",
            "sterling",
        ],
        *[
            "долларов",
            "шведских крон",
            "злотых",
            "гривні",
            "fr.",
            "TL",
            "BGN",
            "LTL",
            "ringgit",
            "shillings",
            "gulden",
            "punds",
        ],
    ],
)
def test_unsupported_currency_is_refused(written: str) -> None:
    for default in CURRENCIES:
        with pytest.raises(errors.UnknownCurrency):
            parse(f"125 {written}", default)


@pytest.mark.parametrize(
    "typed",
    [
        *[
            "60 DKK Euro 2028 shirt",
            "60 kr Euro 2028",
            "60 DKK dollar store",
            "60 kr. pund kaffe",
            "DKK 60 Euro Cup scarf",
        ],
        *["60 DKK svenske kroner mønt", "60 DKK $ sticker", "60 kr svenske boller", "60 DKK svenske", "60 Danish"],
    ],
)
def test_currency_name_behind_an_amount_with_a_currency_is_text(typed: str) -> None:
    text = typed.removeprefix("DKK ").removeprefix("60 ").removeprefix("DKK ").removeprefix("kr.").removeprefix("kr ")
    assert reading_of(typed) == ("60.00 DKK", text.strip())


@pytest.mark.parametrize(
    "text",
    [
        *[
            "svenske boller",
            "Swedish meatballs",
            "et pund kaffe",
            "kaffe et pund",
            "sterling silver ring",
            "Mark",
            "Frank",
        ],
        *[
            "Penny",
            "Mia",
            "real leather",
            "won ton soup",
            "e-bike",
            "eurovision",
            "a $5 coupon",
            "ft rope",
            "det er nok",
        ],
        *[
            "klip på 30 sek",
            "sent by mail",
            "leva gott",
            "sats",
            "dop",
            "byn",
            "lyd",
            "(stor) kaffe",
            "- te",
            "i morgen",
        ],
        *[
            "da money",
            "no penger",
            "real food",
            "Fr. Nielsen",
            "lek",
            "dansk kaffe",
            "engelsk te",
            "5 c vitamin",
            "med fløde",
        ],
        *["🇸🇪 landskamp", "kaffe i kronen", "øreringe", "centerleje", "mad", "top"],
    ],
)
def test_words_that_are_no_currency_stay_text(text: str) -> None:
    assert reading_of(f"125 {text}") == ("125.00 DKK", text)


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("20 coffee EUR", ("20.00 EUR", "coffee")),
        ("20 coffee (SEK)", ("20.00 SEK", "coffee")),
        ("20 coffee EUR please", ("20.00 EUR", "coffee EUR please")),
        ("20 Bolle svenske kroner", ("20.00 SEK", "Bolle")),
        ("20 svenske", ("20.00 SEK", "")),
        ("20 kr norske", ("20.00 NOK", "")),
        ("20 🇸🇪", ("20.00 SEK", "")),
        ("20 🇪🇺", ("20.00 EUR", "")),
        ("20 svensk", ("20.00 SEK", "")),
        ("20 kr Swedish", ("20.00 SEK", "")),
        ("20 i norske", ("20.00 NOK", "")),
        ("20 - Euro 2028 shirt", ("20.00 EUR", "2028 shirt")),
        ("20 Euro 2028 shirt", ("20.00 EUR", "2028 shirt")),
    ],
)
def test_doubtful_currency_is_asked_about(typed: str, named: tuple[str, str]) -> None:
    readings = readings_of(typed)
    assert named in readings
    assert [amount for amount, _ in readings if amount != named[0]] == ["20.00 DKK"]


def test_prefixed_currency_word_with_a_year_or_another_sum_is_refused() -> None:
    for typed in ("Euro 2028 shirt", "euro 2028 shirt 60 DKK", "kroner 50 kaffe 60 kr"):
        with pytest.raises(errors.UnreadableAmount):
            parse(typed)


HUNDREDTHS = [
    ("125 kr og 50 øre kaffe", "125.50 DKK", "kaffe"),
    ("125 kr. & 5 øre", "125.05 DKK", ""),
    ("125 DKK og 50 Øre", "125.50 DKK", ""),
    ("125 og 50 øre kaffe", "125.50 DKK", "kaffe"),
    ("kr 125 og 50 øre", "125.50 DKK", ""),
    ("125 svenska kronor och 50 öre fika", "125.50 SEK", "fika"),
    ("125 euroa ja 50 senttiä kahvi", "125.50 EUR", "kahvi"),
    ("€125 and 50 cents tea", "125.50 EUR", "tea"),
    ("12 EUR ja 5 sent", "12.05 EUR", ""),
    ("1.234 kr og 50 øre", "1234.50 DKK", ""),
    ("1 234 kr og 50 øre te", "1234.50 DKK", "te"),
    ("125 kr plus 50 øre", "125.50 DKK", ""),
    ("125 kr samt 50 øre, kaffe", "125.50 DKK", "kaffe"),
    ("125 kruunua ja 50 äyriä", "125.50 DKK", ""),
    ("125 euros and 50 ct", "125.50 EUR", ""),
    ("125 € og 50 c", "125.50 EUR", ""),
    ("125 kr og øreringe", "125.00 DKK", "og øreringe"),
    ("125 kr and scent candle", "125.00 DKK", "and scent candle"),
    ("125 kr og 2 kager", "125.00 DKK", "og 2 kager"),
]


@pytest.mark.parametrize(("typed", "amount", "description"), HUNDREDTHS)
def test_hundredths_in_words_belong_to_the_amount(typed: str, amount: str, description: str) -> None:
    assert reading_of(typed) == (amount, description)


@pytest.mark.parametrize(
    "typed",
    [
        *["125 kr og 150 øre", "125,50 kr og 50 øre", "125,- og 50 øre", "125 kr og halvtreds øre", "125 kr og 50"],
        *["125 kr og 5,5 øre", "125 og 50 kaffe", "125 kr og 50 cent", "125 EUR og 50 øre", "125 kr 50 øre", "50 øre"],
        *["125 € 50 c", "125 e 50 ct", "125 kr og en halv", "125 euros and a half", "125 ja puoli euroa"],
    ],
)
def test_hundredths_that_do_not_fit_are_refused(typed: str) -> None:
    with pytest.raises(errors.AmountError):
        parse(typed)


def test_refund_and_limit_read_the_same_currencies() -> None:
    assert parse_refund("50 kr og 25 øre sur mælk", currency="DKK", limit=LIMIT)[0] == (
        RequestedAmount(Money(5025, "DKK"), "sur mælk"),
    )
    assert parse_amount("svenske kroner 500", currency="SEK", limit=LIMIT) == Money(50000, "SEK")
    for text in ("50 svenske kroner", "(EUR) 50", "🇸🇪 kr 50"):
        with pytest.raises(errors.WrongCurrency):
            parse_refund(text, currency="DKK", limit=LIMIT)


def test_krone_of_a_country_needs_no_krone_of_the_shop() -> None:
    assert reading_of("125 svenske kr Bolle", "EUR") == ("125.00 SEK", "Bolle")
    for typed in ("125 kr og 50 øre", "125 og 50 øre", "125 kr svenske", "125 big coffee kr"):
        with pytest.raises(errors.CurrencyRequired):
            parse(typed, "EUR")
    assert isinstance(parse("125 svenske", "EUR"), AmbiguousAmount)
