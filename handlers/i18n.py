"""Everything that depends on a person's language: sentences from the catalogues, amounts, dates, the wallet's name."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from gettext import GNUTranslations
from html import escape
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo

from babel import Locale, dates
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_currency, format_decimal

from storage.models.money import Money

LANGUAGE_NAMES = {"en": "English", "da": "Dansk", "sv": "Svenska", "nb": "Norsk", "fi": "Suomi"}
"""The languages that we speak, as each calls itself."""

LANGUAGES = tuple(LANGUAGE_NAMES)
DEFAULT_LANGUAGE = "en"
LOCALES_DIR = Path(__file__).parent / "locales"

OWN_CURRENCY = {"da": "DKK", "sv": "SEK", "nb": "NOK"}
"""Where `kr` is a symbol that says enough; elsewhere three different krone would look alike."""

CODE_FIRST = "¤¤\u00a0#,##0.00"
CODE_LAST = "#,##0.00\u00a0¤¤"
BEFORE_THE_TIME = {"en": ", ", "nb": ", "}

VIPPS_SINCE = date(2027, 1, 12)
"""The day on which MobilePay takes the name Vipps (vippsmobilepay.com), from midnight in the shop's zone."""


class SafeHtml(str):
    """Telegram or page HTML that is meant as it stands; `html` does not escape it again."""

    __slots__ = ()


def language_of(code: str | None) -> str | None:
    """Ours for an IETF tag such as `da-DK`, `nn` or `sv-FI`; None where it is none of ours."""
    primary = (code or "").replace("_", "-").split("-")[0].lower()
    primary = {"no": "nb", "nn": "nb"}.get(primary, primary)
    return primary if primary in LANGUAGES else None


def text(language: str, key: str, /, **params: object) -> str:
    """The sentence `key` of the catalogue, its holes filled; `count` also chooses the plural.

    A `Money` among the holes is written in the language's own way. A key that the language lacks is said in English.

    Raises:
        KeyError: the English catalogue lacks the key, or the sentence has a hole that was not given.
    """
    return _say(language, key, params, str)


def html(language: str, key: str, /, **params: object) -> SafeHtml:
    """The sentence `key`, with every hole escaped for HTML unless it is `Safe`; otherwise as `text`."""
    return SafeHtml(_say(language, key, params, escaped))


def money(language: str, amount: Money) -> str:
    """The amount as the language writes it, with no-break spaces; the ISO code unless the symbol is beyond doubt."""
    locale = _locale(language)
    plain = amount.currency == "EUR" or OWN_CURRENCY.get(language) == amount.currency
    pattern = None if plain else CODE_FIRST if language == "en" else CODE_LAST
    return format_currency(amount.decimal, amount.currency, format=pattern, locale=locale)


def plain_amount(language: str, amount: Money) -> str:
    """The number alone with two decimals, as the language writes it: what a person would type."""
    return format_decimal(amount.decimal, format="0.00", locale=_locale(language))


def percentage(language: str, hundredths: int) -> str:
    """A rate that is kept in hundredths of a percent, without its sign: `25`, `25,5`."""
    return format_decimal(Decimal(hundredths).scaleb(-2), format="0.##", locale=_locale(language))


def html_money(language: str, amount: Money) -> SafeHtml:
    """As `money`, ready for HTML."""
    return SafeHtml(escaped(money(language, amount)))


def format_datetime(language: str, at: datetime, time_zone: str) -> str:
    """Date and time of an aware `at` in the zone: `24. nov. 2026 14.05`."""
    between = BEFORE_THE_TIME.get(language, " ")
    return f"{format_date(language, at, time_zone)}{between}{format_time(language, at, time_zone)}"


def format_time(language: str, at: datetime, time_zone: str) -> str:
    """Hours and minutes of an aware `at` in the zone, 24 hours: `14.05` or `14:05`."""
    return dates.format_time(_local(at, time_zone), "short", locale=_locale(language))


def format_date(language: str, at: datetime, time_zone: str) -> str:
    """The date of an aware `at` in the zone: `24. nov. 2026`."""
    return dates.format_date(_local(at, time_zone).date(), "medium", locale=_locale(language))


def wallet_name(setting: str, at: datetime, time_zone: str) -> str:
    """What the wallet is called at an aware `at`: `setting` is auto, MobilePay or Vipps.

    Raises:
        ValueError: another setting.
    """
    if setting == "auto":
        return "Vipps" if _local(at, time_zone).date() >= VIPPS_SINCE else "MobilePay"
    if setting not in {"MobilePay", "Vipps"}:
        raise ValueError("WALLET_NAME must be auto, MobilePay or Vipps")
    return setting


def escaped(hole: object) -> str:
    """What somebody wrote as harmless HTML; what is `Safe` stays as it is."""
    return hole if isinstance(hole, SafeHtml) else escape(str(hole), quote=False)


def _local(at: datetime, time_zone: str) -> datetime:
    if at.tzinfo is None:
        raise ValueError("a time to be shown must know its zone")
    return at.astimezone(UTC).astimezone(ZoneInfo(time_zone))


@cache
def _locale(language: str) -> Locale:
    return Locale.parse("en_GB" if language == "en" else language)


def _say(language: str, key: str, params: dict[str, object], show: Callable[[object], str]) -> str:
    """The filled sentence; a Danish amount that ends in `kr.` takes the full stop behind it into itself."""
    sentence = _sentence(language, key, params.get("count"))
    filled: dict[str, str] = {}
    for name, hole in params.items():
        shown = show(money(language, hole) if isinstance(hole, Money) else hole)
        if isinstance(hole, Money) and shown.endswith("."):
            sentence = re.sub(rf"(\{{{name}\}}(?:</\w+>)*)\.(?!\.)", r"\1", sentence)
        filled[name] = shown
    return sentence.format(**filled)


def _sentence(language: str, key: str, count: object) -> str:
    """The unfilled sentence in the language or, where it is missing there, in English."""
    for catalogue in (_catalogue(language), _catalogue(DEFAULT_LANGUAGE)):
        found = catalogue.ngettext(key, key, count) if isinstance(count, int) else key
        found = catalogue.gettext(key) if found == key else found
        if found != key:
            return found
    raise KeyError(key)


@cache
def _catalogue(language: str) -> GNUTranslations:
    """One language's sentences, compiled in memory from what is kept as text; empty where there is no file."""
    path = LOCALES_DIR / language / "kvit.po"
    written = path.read_bytes() if language in LANGUAGES and path.exists() else b""
    compiled = BytesIO()
    write_mo(compiled, read_po(BytesIO(written)))
    compiled.seek(0)
    return GNUTranslations(compiled)
