"""Parses typed amounts in all usual notations. What is ambiguous gives two readings or an error, never a guess."""

from __future__ import annotations

import re
from dataclasses import dataclass

from handlers.amounts.currency_phrases import country_at_end, currency_in
from handlers.amounts.currency_words import KRONE, WORD, is_money
from handlers.amounts.errors import (
    AmountError,
    AmountTooLarge,
    AmountTooSmall,
    ConflictingCurrencies,
    CurrencyRequired,
    DescriptionTooLong,
    NonAsciiDigits,
    UnreadableAmount,
    WrongCurrency,
    ZeroAmount,
)
from handlers.amounts.tokens import SEPARATORS, AmountTokens, has_amount_ahead, tokenize
from handlers.text_cleaning import TextTooLong, clean_text
from storage.models.money import DECIMALS, MIN_AMOUNT, Money

MAX_DIGITS = 12
MAX_AMOUNT_WORDS = 4
"""Words of an amount behind its text: number, nationality and currency."""

CALCULATION = re.compile(r"(?:[+*×÷/=^]|[xX])\s*[0-9]|[%‰]")
NUMBER = re.compile(r"[-−–—.,:'’\s]*[0-9²³¹¼-¾⅐-⅞][0-9²³¹¼-¾⅐-⅞.,'’\s]*")
NEXT_WORD = re.compile(rf"{WORD}|(?<=[.,:])[-–—]|:[-–—]")
ALL = re.compile(r"\s*all(?=\s|$)", re.IGNORECASE)


@dataclass(frozen=True)
class RequestedAmount:
    """One reading of the typed text: the amount, and the description (one line, may be empty)."""

    money: Money
    description: str


@dataclass(frozen=True)
class AmbiguousAmount:
    """Two readings, the larger first, or of two currencies. The one that is chosen must still pass `check_amount`."""

    choices: tuple[RequestedAmount, RequestedAmount]


def parse_request(text: str, *, default: str, limit: int) -> RequestedAmount | AmbiguousAmount:
    """Parses `AMOUNT [CURRENCY] [TEXT]`. The currency may also stand before the amount.

    `default` is the shop's currency, `limit` its maximum in minor units of whichever currency.

    Raises:
        AmountError: its subclass is the reason.
    """
    tokens = tokenize(text)
    currency = _currency(tokens, default)
    description = _description(tokens.rest)
    _reject_second_number(description)
    choices = [
        RequestedAmount(_money(digits, currency, limit), rest) for digits, rest in _readings(tokens, description)
    ]
    other = _other_currency(tokens, currency, description, default)
    if other is not None:
        if len(choices) > 1:
            raise UnreadableAmount
        choices.append(RequestedAmount(Money(choices[0].money.minor, other[0]), other[1]))
    errors = [error for error in (_amount_error(choice.money, limit) for choice in choices) if error]
    if len(errors) == len(choices):
        raise errors[0]
    return choices[0] if len(choices) == 1 else AmbiguousAmount((choices[0], choices[1]))


def amount_at_end(text: str, *, default: str, limit: int) -> RequestedAmount | None:
    """The reading of `TEXT AMOUNT [CURRENCY]`, as in `coffee 20 kr`; None if there is not exactly one number."""
    words = text.split()
    for count in range(1, min(len(words), MAX_AMOUNT_WORDS + 1)):
        before, amount = " ".join(words[:-count]), " ".join(words[-count:])
        if any(map(str.isnumeric, before)) or not amount[0].isnumeric():
            continue
        try:
            reading = parse_request(amount, default=default, limit=limit)
            description = _description(before).rstrip(":,=–—- ")
        except AmountError:
            return None
        if isinstance(reading, RequestedAmount) and not reading.description:
            return RequestedAmount(reading.money, description)
    return None


def parse_amount(text: str, *, currency: str, limit: int) -> Money | tuple[Money, Money]:
    """Parses an amount without a description: one reading, or two if it is ambiguous.

    Stripe's minimum does not apply. `limit` is the maximum in minor units.

    Raises:
        AmountError: its subclass is the reason; `WrongCurrency` if another currency is named.
    """
    tokens = tokenize(text)
    if _currency(tokens, currency) != currency:
        raise WrongCurrency(currency)
    if _description(tokens.rest):
        raise UnreadableAmount
    readings = [_money(digits, currency, limit) for digits, _ in _readings(tokens, "")]
    if not any(0 < money.minor <= limit for money in readings):
        raise AmountTooLarge(Money(limit, currency)) if readings[0].minor else ZeroAmount
    return readings[0] if len(readings) == 1 else (readings[0], readings[1])


def parse_refund(text: str, *, currency: str, limit: int) -> tuple[tuple[RequestedAmount, ...], str]:
    """Parses `[AMOUNT] [REASON]` into the readings of the amount, and the reason if there is no amount.

    There are one or two readings, each with its reason, or none: words alone or `all` mean the whole refundable amount.
    `limit` is the maximum in minor units.

    Raises:
        AmountError: its subclass is the reason; `WrongCurrency` if another currency is named.
    """
    if not has_amount_ahead(text):
        return (), _description(ALL.sub("", text))
    tokens = tokenize(text)
    if _currency(tokens, currency) != currency:
        raise WrongCurrency(currency)
    reason = _description(tokens.rest)
    _reject_second_number(reason)
    readings = [RequestedAmount(_money(digits, currency, limit), rest) for digits, rest in _readings(tokens, reason)]
    valid = tuple(reading for reading in readings if 0 < reading.money.minor <= limit)
    if not valid:
        raise AmountTooLarge(Money(limit, currency)) if readings[0].money.minor else ZeroAmount
    return valid, ""


def amount_within(text: str, *, currency: str, limit: int) -> tuple[RequestedAmount, ...]:
    """The readings of the only amount inside a text, each with the whole text; none if it is not readable or above.

    `limit` is the maximum in minor units.
    """
    start = next((word.start() for word in re.finditer(r"\S+", text) if has_amount_ahead(text[word.start() :])), None)
    if start is None or any(char.isnumeric() for char in text[:start]):
        return ()
    try:
        readings, _ = parse_refund(text[start:], currency=currency, limit=limit)
    except AmountError:
        return ()
    if any(char.isnumeric() for reading in readings for char in reading.description):
        return ()
    return tuple(RequestedAmount(reading.money, _description(text)) for reading in readings)


def check_amount(money: Money, *, limit: int) -> None:
    """Rejects an amount that cannot be requested; `limit` is in minor units.

    Raises:
        ZeroAmount, AmountTooSmall, AmountTooLarge.
    """
    if error := _amount_error(money, limit):
        raise error


def is_valid_amount(money: Money, *, limit: int) -> bool:
    """Whether `check_amount` accepts the amount."""
    return _amount_error(money, limit) is None


def _amount_error(money: Money, limit: int) -> AmountError | None:
    if money.minor <= 0:
        return ZeroAmount()
    if money.minor < MIN_AMOUNT[money.currency]:
        return AmountTooSmall(Money(MIN_AMOUNT[money.currency], money.currency))
    if money.minor > limit:
        return AmountTooLarge(Money(limit, money.currency))
    return None


def _currency(tokens: AmountTokens, default: str) -> str:
    """The ISO code of the typed currency.

    Raises:
        CurrencyRequired: it is a krone, and the shop has none of its own.
        ConflictingCurrencies: the hundredths are of another currency (`125 kr og 50 cent`).
    """
    needs_krone = tokens.currency == KRONE or (tokens.currency is None and tokens.subunit == KRONE)
    if needs_krone and default == "EUR":
        raise CurrencyRequired
    currency = default if tokens.currency in (None, KRONE) else tokens.currency
    if tokens.subunit is not None and (tokens.subunit == "EUR") != (currency == "EUR"):
        raise ConflictingCurrencies
    return currency


def _other_currency(tokens: AmountTokens, currency: str, description: str, default: str) -> tuple[str, str] | None:
    """The second reading of an amount whose currency is doubtful: another currency, and the description.

    Words next to the number may be its currency or a description (`60 - Euro 2028 shirt`), a nationality its krone
    (`200 svenske`), and the description may name the currency of the number (`20 coffee EUR`).

    Raises:
        CurrencyRequired, UnknownCurrency: it names a krone in a shop without one, or an unsupported currency.
    """
    if tokens.text_reading is not None:
        return None if currency == default else (default, _description(tokens.text_reading))
    if tokens.currency in (None, KRONE) and (country := country_at_end(description)):
        return None if country == currency else (country, "")
    found = currency_in(description) if tokens.currency is None else None
    if found is None:
        return None
    before, phrase = found
    named = phrase.currency()
    if named == KRONE and default == "EUR":
        raise CurrencyRequired
    return None if named in (KRONE, default) else (named, before)


def _readings(tokens: AmountTokens, description: str) -> list[tuple[str, str]]:
    """The one or two readings: digits with two decimals, and the description that remains.

    Two groups without more can be thousands or too many decimals; separated by a space, also an amount followed by a
    description that starts with a number.
    """
    groups = tokens.groups
    whole = "".join(groups) + tokens.decimals.ljust(DECIMALS, "0")
    is_open = not tokens.decimals and not tokens.is_complete
    if is_open and tokens.grouping in SEPARATORS and len(groups) == 2:
        return [(whole, description), (groups[0] + groups[1][:DECIMALS], description)]
    if is_open and tokens.grouping == "space" and description:
        if len(groups) > 2:
            raise UnreadableAmount
        longer = _description(tokens.whole[len(groups[0]) :] + tokens.rest)
        return [(whole, description), (groups[0].ljust(len(groups[0]) + DECIMALS, "0"), longer)]
    return [(whole, description)]


def _money(digits: str, currency: str, limit: int) -> Money:
    """The digits, the last two of them decimals, as money."""
    if len(digits.lstrip("0")) > MAX_DIGITS:  # above every limit, and perhaps too long for int()
        raise AmountTooLarge(Money(limit, currency))
    return Money(int(digits), currency)


def _description(raw: str) -> str:
    try:
        return clean_text(raw)
    except TextTooLong as error:
        raise DescriptionTooLong(error.longest) from None


def _reject_second_number(description: str) -> None:
    """Rejects a description that continues the amount: a bare number, a second sum of money, a calculation.

    Raises:
        UnreadableAmount, NonAsciiDigits.
    """
    if description[:1].isdecimal() and not description[0].isascii():
        raise NonAsciiDigits
    if CALCULATION.match(description):
        raise UnreadableAmount
    number = NUMBER.match(description)
    if number is None:
        return
    word = NEXT_WORD.match(description, number.end())
    if number.end() == len(description) or (word and is_money(word[0])):
        raise UnreadableAmount
