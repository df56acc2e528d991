"""Messages, amounts, dates and the wallet's name in every language."""

from __future__ import annotations

import html as markup
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers import i18n
from handlers.amounts.parser import RequestedAmount, parse_amount, parse_request
from handlers.i18n import LANGUAGES, MessageKey, SafeHtml, language_of
from storage.models.money import CURRENCIES, MIN_AMOUNT, Money

LIMIT = 10_000_000
COPENHAGEN = "Europe/Copenhagen"
AFTERNOON = datetime(2026, 11, 24, 13, 5, 59, tzinfo=UTC)

AMOUNTS = {
    "en": ("DKK~1,234.50", "€1,234.50", "SEK~1,234.50", "NOK~1,234.50"),
    "da": ("1.234,50~kr.", "1.234,50~€", "1.234,50~SEK", "1.234,50~NOK"),
    "sv": ("1~234,50~DKK", "1~234,50~€", "1~234,50~kr", "1~234,50~NOK"),
    "nb": ("1~234,50~DKK", "1~234,50~€", "1~234,50~SEK", "1~234,50~kr"),
    "fi": ("1~234,50~DKK", "1~234,50~€", "1~234,50~SEK", "1~234,50~NOK"),
}
DATE_TIMES = {
    "en": "24 Nov 2026, 14:05",
    "da": "24. nov. 2026 kl. 14.05",
    "sv": "24 nov. 2026 kl. 14:05",
    "nb": "24. nov. 2026 kl. 14:05",
    "fi": "24.11.2026 klo 14.05",
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_money_has_the_languages_format(language: str) -> None:
    written = tuple(i18n.money(language, Money(123450, currency)) for currency in CURRENCIES)
    assert written == tuple(form.replace("~", "\u00a0") for form in AMOUNTS[language])


@given(st.sampled_from(LANGUAGES), st.sampled_from(CURRENCIES), st.integers(1, LIMIT), st.sampled_from(CURRENCIES))
def test_formatted_money_is_parsed_back_exactly(language: str, currency: str, minor: int, other: str) -> None:
    amount = Money(minor, currency)
    written = i18n.money(language, amount)
    shop = currency if "kr" in written else other
    for form in (written, written.replace("\u00a0", " "), written.replace("\u00a0", "\u202f")):
        assert parse_amount(form, currency=currency, limit=LIMIT) == amount
        if minor >= MIN_AMOUNT[currency]:
            assert parse_request(form, default=shop, limit=LIMIT) == RequestedAmount(amount, "")
            assert parse_request(f"{form} 2 kaffe", default=shop, limit=LIMIT) == RequestedAmount(amount, "2 kaffe")


@given(st.integers(1, LIMIT), st.sampled_from(CURRENCIES))
def test_money_as_text_is_parsed_back_exactly(minor: int, currency: str) -> None:
    assert parse_amount(str(Money(minor, currency)), currency=currency, limit=LIMIT) == Money(minor, currency)


@pytest.mark.parametrize("language", LANGUAGES)
def test_time_is_formatted_in_the_shops_time_zone(language: str) -> None:
    assert i18n.format_datetime(language, AFTERNOON, COPENHAGEN) == DATE_TIMES[language]
    assert i18n.format_time(language, AFTERNOON, "Europe/Helsinki").replace(".", ":") == "15:05"
    assert DATE_TIMES[language].startswith(i18n.format_date(language, AFTERNOON, COPENHAGEN))


@pytest.mark.parametrize("language", LANGUAGES)
def test_percentage_has_the_decimal_sign_and_the_percent_sign_of_its_language(language: str) -> None:
    written = [i18n.percentage(language, rate) for rate in (2500, 1250, 805)]
    if language == "en":
        assert written == ["25%", "12.5%", "8.05%"]
    else:
        assert written == ["25\u00a0%", "12,5\u00a0%", "8,05\u00a0%"]


def test_message_key_as_a_parameter_is_shown_in_the_language_of_its_sentence() -> None:
    key = MessageKey("part.outbox")
    assert i18n.text("en", "alert.queue_recovered", queue=key).endswith("sending messages.")
    assert i18n.html("da", "alert.queue_recovered", queue=key).endswith("afsendelse af beskeder.")


def test_date_changes_at_the_shops_midnight() -> None:
    before_midnight = datetime(2026, 11, 24, 22, 30, tzinfo=UTC)
    assert i18n.format_date("da", before_midnight, COPENHAGEN) == "24. nov. 2026"
    assert i18n.format_date("da", before_midnight, "Europe/Helsinki") == "25. nov. 2026"


@pytest.mark.parametrize("zone", ["Mars/Base", "", "../etc/passwd", "Europe", "Europe/Copenhagen ", "\x00"])
def test_unknown_zone_shows_utc_and_says_so(zone: str) -> None:
    at = datetime(2026, 6, 24, 22, 5, tzinfo=UTC)
    assert i18n.format_datetime("en", at, zone) == "24 Jun 2026, 22:05 UTC"
    assert i18n.format_date("da", at, zone) == "24. jun. 2026"
    assert i18n.wallet_name("auto", at, zone) == "MobilePay"
    assert i18n.format_time("en", at, "Europe/Copenhagen") == "00:05"


def test_time_without_a_time_zone_is_rejected() -> None:
    with pytest.raises(ValueError, match="zone"):
        i18n.format_datetime("da", AFTERNOON.replace(tzinfo=None), COPENHAGEN)


TAGS = {
    "en": "en",
    "en-GB": "en",
    "EN_us": "en",
    "da-DK": "da",
    "sv-FI": "sv",
    "fi": "fi",
    "nb-NO": "nb",
    "no": "nb",
    "nn-NO": "nb",
    "zh-Hans": None,
    "dan": None,
    "": None,
}


@pytest.mark.parametrize(("tag", "language"), TAGS.items())
def test_language_tag_selects_a_supported_language(tag: str, language: str | None) -> None:
    assert language_of(tag) == language


def test_missing_language_tag_selects_none() -> None:
    assert language_of(None) is None


@pytest.mark.parametrize("zone", ["Europe/Copenhagen", "Europe/Helsinki"])
def test_wallet_is_renamed_at_the_shops_midnight(zone: str) -> None:
    midnight = datetime(2027, 1, 12, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    assert i18n.wallet_name("auto", midnight - timedelta(seconds=1), zone) == "MobilePay"
    assert i18n.wallet_name("auto", midnight, zone) == "Vipps"
    assert i18n.wallet_name("Vipps", AFTERNOON, zone) == "Vipps"
    assert i18n.wallet_name("MobilePay", midnight, zone) == "MobilePay"


def test_unknown_wallet_setting_is_rejected() -> None:
    with pytest.raises(ValueError, match="WALLET_NAME"):
        i18n.wallet_name("mobilepay", AFTERNOON, COPENHAGEN)


def test_placeholders_are_filled() -> None:
    assert i18n.text("en", "error.description_too_long", longest=200) == "The text may have at most 200 characters."
    least = i18n.text("en", "error.amount_too_small", minimum=Money(250, "DKK"))
    assert least == "The smallest amount you can request is DKK\u00a02.50."


def test_danish_amount_at_the_end_of_a_sentence_has_one_full_stop() -> None:
    for function in (i18n.text, i18n.html):
        sentence = function("da", "error.amount_too_small", minimum=Money(250, "DKK"))
        assert sentence.endswith("2,50\u00a0kr.")
        assert not sentence.endswith("..")


def test_unsupported_language_gets_english() -> None:
    assert i18n.text("xx", "error.zero_amount") == i18n.text("en", "error.zero_amount")


def test_unknown_key_and_missing_parameter_are_errors() -> None:
    for function in (i18n.text, i18n.html):
        with pytest.raises(KeyError):
            function("da", "no.such_key")
        with pytest.raises(KeyError):
            function("en", "error.unknown_currency")


def test_parameters_are_escaped_and_not_formatted_again() -> None:
    hostile = '<b>{limit}</b> & "co"'
    shown = i18n.html("en", "error.unknown_currency", written=hostile)
    assert markup.escape(hostile, quote=False) in shown
    assert isinstance(shown, SafeHtml)
    assert hostile in i18n.text("en", "error.unknown_currency", written=hostile)
    assert "<b>x</b>" in i18n.html("en", "error.unknown_currency", written=SafeHtml("<b>x</b>"))
