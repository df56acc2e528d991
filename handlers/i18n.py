"""Translations, amounts and dates in the user's language, and the wallet's name."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from gettext import GNUTranslations
from html import escape
from io import BytesIO
from pathlib import Path

from babel import Locale, dates
from babel.core import get_global
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_currency, format_decimal, format_percent, get_currency_name, get_currency_symbol

from storage.models.money import ForeignMoney, Money
from storage.models.time_zones import find_zone, zone_or_utc

LANGUAGE_NAMES = {"en": "English", "da": "Dansk", "sv": "Svenska", "nb": "Norsk", "fi": "Suomi"}
"""The supported languages, each by its own name."""

LANGUAGES = tuple(LANGUAGE_NAMES)
DEFAULT_LANGUAGE = "en"
LOCALES_DIR = Path(__file__).parent / "locales"

LOCAL_CURRENCY = {"da": "DKK", "sv": "SEK", "nb": "NOK"}
"""The currency that `kr` means in a language. Other amounts in krone carry their ISO code."""

CODE_FIRST = "¤¤\u00a0#,##0.00"
CODE_LAST = "#,##0.00\u00a0¤¤"
DATE_TIME_SEPARATOR = {"en": ", ", "fi": " klo "}
"""What stands between a date and a time; ` kl. ` in the other languages (CLDR, dateTimeFormat of type atTime)."""

DEFAULT_TIME_ZONE = "Europe/Copenhagen"
"""The time zone of texts that belong to no shop, such as the bot's description."""

VIPPS_SINCE = date(2027, 1, 12)
"""The day on which MobilePay is renamed to Vipps (vippsmobilepay.com), from midnight in the shop's time zone."""


NEIGHBOURS_LANGUAGES = ("de", "pl", "is")
"""Languages of neighbouring countries, in which customers name currencies too."""

PLURAL_EXAMPLES = (1, 2, 5, Decimal("0.5"))
"""A number of each plural form that the languages have (CLDR, plural rules)."""


class SafeHtml(str):
    """HTML for Telegram or a page, which `html` and `escaped` leave as it is."""

    __slots__ = ()


class MessageKey(str):
    """A parameter that is itself a message key; it is shown in the language of the message around it."""

    __slots__ = ()


def language_of(code: str | None) -> str | None:
    """The supported language of an IETF tag such as `da-DK`, `nn` or `sv-FI`; None if there is none."""
    primary = (code or "").replace("_", "-").split("-")[0].lower()
    primary = {"no": "nb", "nn": "nb"}.get(primary, primary)
    return primary if primary in LANGUAGES else None


def text(language: str, key: str, /, **params: object) -> str:
    """The message `key` with its placeholders filled. A parameter `count` also selects the plural form.

    `Money` is formatted for the language. A message that the language lacks is taken from English.

    Raises:
        KeyError: the English catalogue lacks the message, or a placeholder has no parameter.
    """
    return _format(language, key, params, str)


def html(language: str, key: str, /, **params: object) -> SafeHtml:
    """As `text`, with every parameter escaped for HTML unless it is `SafeHtml`."""
    return SafeHtml(_format(language, key, params, escaped))


def money(language: str, amount: Money | ForeignMoney) -> str:
    """The amount in the language's format, with no-break spaces; with the ISO code unless the symbol is unambiguous."""
    locale = _locale(language)
    is_unambiguous = amount.currency == "EUR" or LOCAL_CURRENCY.get(language) == amount.currency
    pattern = None if is_unambiguous else CODE_FIRST if language == "en" else CODE_LAST
    if isinstance(amount, ForeignMoney) and pattern is not None:
        decimals = len(str(amount.decimal).partition(".")[2])
        pattern = pattern.replace(".00", f".{'0' * decimals}" if decimals else "")
    return format_currency(amount.decimal, amount.currency, format=pattern, locale=locale, currency_digits=False)


def plain_amount(language: str, amount: Money) -> str:
    """The number with two decimals in the language's format, without the currency."""
    return format_decimal(amount.decimal, format="0.00", locale=_locale(language))


def percentage(language: str, hundredths: int) -> str:
    """A rate in hundredths of a percent, with the language's decimal sign and percent sign: `25%`, `25,5 %`."""
    return format_percent(Decimal(hundredths).scaleb(-4), locale=_locale(language), decimal_quantization=False)


def html_money(language: str, amount: Money) -> SafeHtml:
    """As `money`, escaped for HTML."""
    return SafeHtml(escaped(money(language, amount)))


def format_datetime(language: str, at: datetime, time_zone: str) -> str:
    """Date and time of an aware `at` in the time zone: `24. nov. 2026 kl. 14.05`."""
    separator = DATE_TIME_SEPARATOR.get(language, " kl. ")
    return f"{format_date(language, at, time_zone)}{separator}{format_time(language, at, time_zone)}"


def format_time(language: str, at: datetime, time_zone: str) -> str:
    """Hours and minutes of an aware `at` in the time zone, 24 hours: `14.05` or `14:05`.

    In UTC, which is then said, if this machine does not know the zone: `13:05 UTC`.
    """
    shown = dates.format_time(_local(at, time_zone), "short", locale=_locale(language))
    return shown if find_zone(time_zone) else f"{shown} UTC"


def format_clock(language: str, hour: int, minute: int) -> str:
    """A time of day, 24 hours: `14.05` or `14:05`."""
    return dates.format_time(time(hour, minute), "short", locale=_locale(language))


def format_date(language: str, at: datetime, time_zone: str) -> str:
    """The date of an aware `at` in the time zone: `24. nov. 2026`."""
    return format_local_date(language, _local(at, time_zone).date())


def format_local_date(language: str, day: date) -> str:
    """A date: `24. nov. 2026`."""
    return dates.format_date(day, "medium", locale=_locale(language))


def format_day(language: str, at: datetime, time_zone: str) -> str:
    """Day and month of an aware `at` in the time zone: `24. nov.`."""
    return dates.format_skeleton("MMMd", _local(at, time_zone), locale=_locale(language))


def wallet_name(setting: str, at: datetime, time_zone: str) -> str:
    """The wallet's name at an aware `at`. `setting` is `auto`, `MobilePay` or `Vipps`.

    Raises:
        ValueError: the setting is another one.
    """
    if setting == "auto":
        return "Vipps" if _local(at, time_zone).date() >= VIPPS_SINCE else "MobilePay"
    if setting not in {"MobilePay", "Vipps"}:
        raise ValueError("WALLET_NAME must be auto, MobilePay or Vipps")
    return setting


def currency_codes() -> frozenset[str]:
    """The ISO 4217 codes of all currencies that are legal tender somewhere (CLDR, territory currencies)."""
    uses = get_global("territory_currencies").values()
    return frozenset(code for use in uses for code, _, end, is_tender in use if end is None and is_tender)


def currency_names() -> dict[str, str]:
    """The names and signs of those currencies in our languages and the neighbours', in every plural form, with codes.

    `svenske kroner`, `US dollars`, `Puolan złotya`, `CA$`: as CLDR writes them.
    """
    names: dict[str, str] = {}
    for locale in (*map(_locale, LANGUAGES), *map(Locale.parse, NEIGHBOURS_LANGUAGES)):
        for code in sorted(currency_codes()):
            names |= {get_currency_name(code, count, locale): code for count in (None, *PLURAL_EXAMPLES)}
            names.setdefault(get_currency_symbol(code, locale), code)
    return names


def escaped(value: object) -> str:
    """The value escaped for HTML, unless it is `SafeHtml`."""
    return value if isinstance(value, SafeHtml) else escape(str(value), quote=False)


def _local(at: datetime, time_zone: str) -> datetime:
    if at.tzinfo is None:
        raise ValueError("a time must have a time zone to be formatted")
    return at.astimezone(UTC).astimezone(zone_or_utc(time_zone))


@cache
def _locale(language: str) -> Locale:
    return Locale.parse("en_GB" if language == "en" else language)


def _format(language: str, key: str, params: dict[str, object], show: Callable[[object], str]) -> str:
    """The message with its placeholders filled. A Danish amount that ends in `kr.` absorbs the full stop after it."""
    message = _message(language, key, params.get("count"))
    shown: dict[str, str] = {}
    for name, value in params.items():
        shown[name] = show(_localize(language, value))
        if isinstance(value, Money) and shown[name].endswith("."):
            message = re.sub(rf"(\{{{name}\}}(?:</\w+>)*)\.(?!\.)", r"\1", message)
    return message.format(**shown)


def _localize(language: str, value: object) -> object:
    match value:
        case Money() | ForeignMoney():
            return money(language, value)
        case MessageKey():
            return text(language, value)
        case _:
            return value


def _message(language: str, key: str, count: object) -> str:
    """The message with its placeholders, in the language or, if it is missing there, in English."""
    for catalogue in (_catalogue(language), _catalogue(DEFAULT_LANGUAGE)):
        message = catalogue.ngettext(key, key, count) if isinstance(count, int) else key
        message = catalogue.gettext(key) if message == key else message
        if message != key:
            return message
    raise KeyError(key)


@cache
def _catalogue(language: str) -> GNUTranslations:
    """The messages of a language, compiled in memory from its .po file; empty if there is none."""
    path = LOCALES_DIR / language / "kvit.po"
    source = path.read_bytes() if language in LANGUAGES and path.exists() else b""
    compiled = BytesIO()
    write_mo(compiled, read_po(BytesIO(source)))
    compiled.seek(0)
    return GNUTranslations(compiled)
