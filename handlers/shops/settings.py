"""A shop's settings: each is parsed from text, bounded and cleaned, or rejected with the reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from zoneinfo import available_timezones

from handlers.access.membership import MAX_NAME_LENGTH
from handlers.amounts.errors import AmountError
from handlers.amounts.parser import parse_amount
from handlers.i18n import LANGUAGES
from handlers.text import TextTooLong, clean_text
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

HOURS = re.compile(r"[0-9]{1,3}")
PERCENT = re.compile(r"([0-9]{1,2})(?:[.,]([0-9]{1,2}))?\s*%?")


class InvalidSetting(UserError):
    """The setting is unknown, or cannot have this value."""

    message_key = "error.invalid_setting"


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


class InvalidSellerLine(UserError):
    """A line about the seller is empty or too long."""

    message_key = "error.invalid_seller_line"


def parse_change(name: str, value: str) -> Callable[[Shop], Shop]:
    """The function that changes one setting of a shop; it rejects what the shop cannot have.

    Raises:
        InvalidSetting, InvalidName, InvalidLimit, InvalidHours, InvalidVat, InvalidSellerLine: nothing was changed.
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
        case "currency" if value.upper() in CURRENCIES:
            return replace(shop, currency=value.upper())
        case "language" if value.lower() in LANGUAGES:
            return replace(shop, language=value.lower())
        case "zone" | "timezone" if found := {zone.lower(): zone for zone in available_timezones()}.get(value.lower()):
            return replace(shop, time_zone=found)
        case "seller" | "address" | "number" | "contact":
            return _with_seller(shop, name, _about_seller(value, LONGEST[name]))
        case _:
            return _with_terms(shop, name, value)


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
        money = parse_amount(value, currency=shop.currency, limit=MAX_AMOUNT)
    except AmountError:
        raise refusal from None
    if isinstance(money, tuple) or not least <= money.minor <= MAX_AMOUNT:
        raise refusal
    return money.minor


def _hours(value: str) -> int | None:
    if value.lower() == "default":
        return None
    if not HOURS.fullmatch(value) or not 1 <= int(value) <= MOST_HOURS:
        raise InvalidHours(most=MOST_HOURS)
    return int(value)


def _rate(value: str) -> int | None:
    """The rate; a seller without VAT has the rate 0."""
    if value == CLEAR:
        return None
    if value.lower() in NO_VAT:
        return 0
    found = PERCENT.fullmatch(value)
    if found is None:
        raise InvalidVat
    return int(found[1] + (found[2] or "").ljust(2, "0"))


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
