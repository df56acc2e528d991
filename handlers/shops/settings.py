"""A shop's settings: each is parsed from text, bounded and cleaned, or rejected with the reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from zoneinfo import available_timezones

from handlers.access.membership import MAX_NAME_LENGTH
from handlers.amounts.errors import AmountError
from handlers.amounts.parser import parse_amount
from handlers.i18n import LANGUAGE_NAMES, language_of
from handlers.text_cleaning import TextTooLong, clean_text
from storage.errors import UserError
from storage.models.money import CURRENCIES, MAX_AMOUNT, MIN_AMOUNT, Money
from storage.models.shop import Shop

MOST_HOURS = 168
LONGEST = {"seller": 100, "address": 200, "number": 40, "contact": 100}
SELLER_FIELDS = {
    "seller": "seller_name",
    "address": "seller_address",
    "number": "seller_number",
    "contact": "seller_contact",
}
"""The lines about the seller on a receipt, and the fields that hold them."""

CLEAR = "-"
NO_VAT = frozenset({"none", "ingen", "ei ole"})
"""How `/settings` shows a rate of 0, in each language."""

PUNCTUATION = " .,;:!?()[]<>«»\"'“”„`*"
NO_REPORTS = frozenset({"off", "fra", "av", "pois"})
DAILY = frozenset({"daily", "daglig", "dagligt", "dagligen", "päivittäin"})
MONTHLY = frozenset({"monthly", "månedlig", "månedligt", "månadsvis", "kuukausittain"})
REPORT_TIME = re.compile(r"(?:(?:at|kl|klo)\.?\s*)?(?P<hour>[0-9]{1,2})[:.](?P<minute>[0-9]{2})")
HOURS = re.compile(r"[0-9]{1,3}")
ACCOUNTS = ("clearing", "sales", "VAT")
"""The accounts of a voucher, in the order in which they are set."""

ACCOUNT = re.compile(r"[0-9]{3,8}")
PERCENT = re.compile(r"([0-9]{1,2})(?:[.,]([0-9]{1,2}))?\s*%?")


class InvalidSetting(UserError):
    """The setting is unknown, or cannot have this value."""

    message_key = "error.invalid_setting"


class InvalidCurrency(UserError):
    """The currency is not supported."""

    message_key = "error.invalid_currency"


class InvalidLanguage(UserError):
    """The language is not supported."""

    message_key = "error.invalid_language"


class InvalidZone(UserError):
    """There is no such time zone."""

    message_key = "error.invalid_zone"


class InvalidName(UserError):
    """A name is empty or too long."""

    message_key = "error.invalid_name"


class InvalidLimit(UserError):
    """A limit is no amount, or is out of bounds."""

    message_key = "error.invalid_limit"


class InvalidHours(UserError):
    """The lifetime of a request is no number of hours, or is out of bounds."""

    message_key = "error.invalid_hours"


class InvalidVat(UserError):
    """The VAT rate is no percentage."""

    message_key = "error.invalid_vat"


class InvalidAccounts(UserError):
    """The accounts are not three numbers."""

    message_key = "error.invalid_accounts"


class InvalidReports(UserError):
    """The reports are neither daily with a time nor monthly."""

    message_key = "error.invalid_reports"


class InvalidSellerLine(UserError):
    """A line about the seller is empty or too long."""

    message_key = "error.invalid_seller_line"


def parse_change(name: str, value: str) -> Callable[[Shop], Shop]:
    """The function that changes one setting of a shop; it rejects what the shop cannot have.

    Raises:
        UserError: the setting is unknown, or cannot have this value; nothing was changed.
    """
    return lambda shop: _with(shop, name, value)


def audit_detail(name: str, value: str) -> dict[str, str]:
    """What the audit log stores of a change: the value too, unless it is text about a person or a place."""
    return {"setting": name} if name in SELLER_FIELDS or name == "name" else {"setting": name, "value": value}


def parse_name(value: str) -> str:
    """A shop's name.

    Raises:
        InvalidName: empty, or too long.
    """
    name = _line(value, MAX_NAME_LENGTH)
    if not name:
        raise InvalidName(longest=MAX_NAME_LENGTH)
    return name


def _with(shop: Shop, name: str, value: str) -> Shop:
    match name:
        case "name":
            return replace(shop, name=parse_name(value))
        case "currency":
            return replace(shop, currency=_currency(value))
        case "language":
            return replace(shop, language=_language(value))
        case "zone" | "timezone":
            return replace(shop, time_zone=_zone(value))
        case "seller" | "address" | "number" | "contact":
            return _with_seller(shop, name, _about_seller(value, LONGEST[name]))
        case _:
            return _with_terms(shop, name, value)


def _currency(value: str) -> str:
    code = value.strip(PUNCTUATION).upper()
    if code not in CURRENCIES:
        raise InvalidCurrency(values=", ".join(CURRENCIES))
    return code


def _language(value: str) -> str:
    """A language by its code, by its own name (`Dansk`), or as apps write it (`da-DK`)."""
    typed = value.strip(PUNCTUATION).casefold()
    by_name = {name.casefold(): code for code, name in LANGUAGE_NAMES.items()}
    language = by_name.get(typed) or language_of(typed)
    if language is None:
        raise InvalidLanguage(values=", ".join(f"{code} ({name})" for code, name in LANGUAGE_NAMES.items()))
    return language


def _zone(value: str) -> str:
    """A time zone by its name; the continent may be missing, and a space may stand for `_`."""
    typed = value.strip(PUNCTUATION).lower().replace(" ", "_")
    zones = {zone.lower(): zone for zone in available_timezones()}
    found = zones.get(typed) or zones.get(f"europe/{typed}")
    if found is None:
        raise InvalidZone(example="Europe/Copenhagen")
    return found


def _with_terms(shop: Shop, name: str, value: str) -> Shop:
    match name:
        case "limit":
            return replace(shop, request_limit=_amount(shop, value, MIN_AMOUNT[shop.currency]))
        case "refunds":
            return replace(shop, refund_limit=_amount(shop, value, 1))
        case "hours":
            return replace(shop, request_hours=_hours(value))
        case "vat":
            return replace(shop, vat_rate=_rate(value))
        case "accounts":
            return replace(shop, accounts=_accounts(value))
        case "reports":
            return _with_reports(shop, value)
        case _:
            raise InvalidSetting


def _with_seller(shop: Shop, name: str, line: str) -> Shop:
    match name:
        case "seller":
            return replace(shop, seller_name=line)
        case "address":
            return replace(shop, seller_address=line)
        case "number":
            return replace(shop, seller_number=line)
        case _:
            return replace(shop, seller_contact=line)


def _amount(shop: Shop, value: str, least: int) -> int:
    """A limit in minor units; one that can be read in two ways is rejected, for it is set once and then forgotten."""
    refusal = InvalidLimit(least=Money(least, shop.currency), most=Money(MAX_AMOUNT, shop.currency))
    try:
        money = parse_amount(value.strip(PUNCTUATION) or value, currency=shop.currency, limit=MAX_AMOUNT)
    except AmountError:
        raise refusal from None
    if isinstance(money, tuple) or not least <= money.minor <= MAX_AMOUNT:
        raise refusal
    return money.minor


def _hours(value: str) -> int | None:
    value = value.strip(PUNCTUATION)
    if value.lower() == "default":
        return None
    if not HOURS.fullmatch(value) or not 1 <= int(value) <= MOST_HOURS:
        raise InvalidHours(most=MOST_HOURS)
    return int(value)


def _rate(value: str) -> int | None:
    """The rate; a seller without VAT has the rate 0."""
    value = value.strip(PUNCTUATION)
    if value == CLEAR:
        return None
    if value.lower() in NO_VAT:
        return 0
    found = PERCENT.fullmatch(value)
    if found is None:
        raise InvalidVat
    return int(found[1] + (found[2] or "").ljust(2, "0"))


def _accounts(value: str) -> str:
    """The three account numbers, with a space between."""
    numbers = value.replace(",", " ").split()
    if numbers == [CLEAR]:
        return ""
    if len(numbers) != len(ACCOUNTS) or not all(ACCOUNT.fullmatch(number) for number in numbers):
        raise InvalidAccounts
    return " ".join(numbers)


def _with_reports(shop: Shop, value: str) -> Shop:
    """`daily 21:00` or `monthly`, either with `off`, or `off` for both, in any of the languages."""
    kind, rest = [*value.strip(PUNCTUATION).casefold().split(maxsplit=1), "", ""][:2]
    if kind in NO_REPORTS or value.strip() == CLEAR:
        return replace(shop, report_minute=None, monthly_reports=False)
    is_off = rest in NO_REPORTS
    if kind in MONTHLY and (is_off or not rest):
        return replace(shop, monthly_reports=not is_off)
    found = REPORT_TIME.fullmatch(rest)
    if kind in DAILY and is_off:
        return replace(shop, report_minute=None)
    if kind not in DAILY or found is None or int(found["hour"]) > 23 or int(found["minute"]) > 59:
        raise InvalidReports
    return replace(shop, report_minute=int(found["hour"]) * 60 + int(found["minute"]))


def _about_seller(value: str, longest: int) -> str:
    if value == CLEAR:
        return ""
    line = _line(value, longest)
    if not line:
        raise InvalidSellerLine(longest=longest)
    return line


def _line(value: str, longest: int) -> str:
    """One clean line; empty if it is too long."""
    try:
        line = clean_text(value)
    except TextTooLong:
        return ""
    return line if len(line) <= longest else ""
