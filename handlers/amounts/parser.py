"""Amounts as people type them: read in every usual way of writing, and asked back or refused instead of guessed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from handlers.amounts.currency_words import KRONE, WORD, is_money
from handlers.amounts.errors import (
    AmountError,
    AmountTooLarge,
    AmountTooSmall,
    CurrencyMismatch,
    CurrencyRequired,
    DescriptionTooLong,
    NonAsciiDigits,
    UnreadableAmount,
    ZeroAmount,
)
from handlers.amounts.tokens import SEPARATORS, AmountTokens, has_amount_ahead, tokenize
from handlers.text import TextTooLong, clean_text
from storage.models.money import DECIMALS, MIN_AMOUNT, Money

MOST_DIGITS = 12
CALCULATION = re.compile(r"(?:[+*×÷/=^]|[xX])\s*[0-9]|[%‰]")
NUMBER = re.compile(r"[-−–—.,:'’\s]*[0-9²³¹¼-¾⅐-⅞][0-9²³¹¼-¾⅐-⅞.,'’\s]*")
NEXT_WORD = re.compile(rf"{WORD}|(?<=[.,:])[-–—]|:[-–—]")


@dataclass(frozen=True)
class RequestedAmount:
    """One reading of what was typed: how much, and the text on the card (one line, may be empty)."""

    money: Money
    description: str


@dataclass(frozen=True)
class AmbiguousAmount:
    """Two readings, the larger first. The one that is chosen must still pass `check`."""

    choices: tuple[RequestedAmount, RequestedAmount]


def parse_request(text: str, *, default: str, limit: int) -> RequestedAmount | AmbiguousAmount:
    """Read `AMOUNT [CURRENCY] [TEXT]`; the currency may also stand before the amount.

    `default` is the shop's currency, `limit` the most it asks for, in minor units of whichever currency.

    Raises:
        AmountRefused: one of its kinds, with the reason.
    """
    written = tokenize(text)
    currency = _currency(written.currency, default)
    caption_text = _description(written.rest)
    _refuse_second_number(caption_text)
    choices = [
        RequestedAmount(_money(digits, currency, limit), said) for digits, said in _readings(written, caption_text)
    ]
    refusals = [refusal for refusal in (_refusal(asked.money, limit) for asked in choices) if refusal]
    if len(refusals) == len(choices):
        raise refusals[0]
    return choices[0] if len(choices) == 1 else AmbiguousAmount((choices[0], choices[1]))


def parse_amount(text: str, *, currency: str, limit: int) -> Money | tuple[Money, Money]:
    """Read an amount alone, as of a refund: two readings where it is ambiguous; Stripe's minimum does not apply.

    Raises:
        AmountRefused: one of its kinds; `CurrencyDiffers` when another currency than `currency` is named.
    """
    written = tokenize(text)
    if _currency(written.currency, currency) != currency:
        raise CurrencyMismatch(currency)
    if _description(written.rest):
        raise UnreadableAmount
    found = [_money(digits, currency, limit) for digits, _ in _readings(written, "")]
    if not any(0 < money.minor <= limit for money in found):
        raise AmountTooLarge(Money(limit, currency)) if found[0].minor else ZeroAmount
    return found[0] if len(found) == 1 else (found[0], found[1])


def parse_refund(text: str, *, currency: str, limit: int) -> tuple[tuple[RequestedAmount, ...], str]:
    """Read `[AMOUNT] [REASON]`: no, one or two readings, each with its reason, and the reason where there is none.

    Words alone, or the word *all*, mean no amount: whatever is left. `limit` is the most that can go back.

    Raises:
        AmountRefused: one of its kinds; `CurrencyDiffers` when another currency than `currency` is named.
    """
    if not has_amount_ahead(text):
        return (), _description(_ALL.sub("", text))
    written = tokenize(text)
    if _currency(written.currency, currency) != currency:
        raise CurrencyMismatch(currency)
    reason = _description(written.rest)
    _refuse_second_number(reason)
    found = [RequestedAmount(_money(digits, currency, limit), said) for digits, said in _readings(written, reason)]
    fitting = tuple(asked for asked in found if 0 < asked.money.minor <= limit)
    if not fitting:
        raise AmountTooLarge(Money(limit, currency)) if found[0].money.minor else ZeroAmount
    return fitting, ""


_ALL = re.compile(r"\s*all(?=\s|$)", re.IGNORECASE)


def check_amount(money: Money, *, limit: int) -> None:
    """Refuse an amount that cannot be asked for; `limit` in minor units.

    Raises:
        AmountZero, AmountTooSmall, AmountTooLarge.
    """
    if refusal := _refusal(money, limit):
        raise refusal


def is_valid_amount(money: Money, *, limit: int) -> bool:
    """Whether `check` would let the amount pass."""
    return _refusal(money, limit) is None


def _refusal(money: Money, limit: int) -> AmountError | None:
    if money.minor <= 0:
        return ZeroAmount()
    if money.minor < MIN_AMOUNT[money.currency]:
        return AmountTooSmall(Money(MIN_AMOUNT[money.currency], money.currency))
    if money.minor > limit:
        return AmountTooLarge(Money(limit, money.currency))
    return None


def _currency(written: str | None, default: str) -> str:
    if written != KRONE:
        return written or default
    if default == "EUR":
        raise CurrencyRequired
    return default


def _readings(written: AmountTokens, text: str) -> list[tuple[str, str]]:
    """The one or two ways to read it: digits with two decimals, and the text that remains.

    Two groups alone can be a thousand or decimals too many, or, by a space, an amount and a text with a number.
    """
    groups = written.groups
    whole = "".join(groups) + written.decimals.ljust(DECIMALS, "0")
    open_end = not written.decimals and not written.settled
    if open_end and written.grouping in SEPARATORS and len(groups) == 2:
        return [(whole, text), (groups[0] + groups[1][:DECIMALS], text)]
    if open_end and written.grouping == "space" and text:
        if len(groups) > 2:
            raise UnreadableAmount
        shorter = _description(written.whole[len(groups[0]) :] + written.rest)
        return [(whole, text), (groups[0].ljust(len(groups[0]) + DECIMALS, "0"), shorter)]
    return [(whole, text)]


def _money(digits: str, currency: str, limit: int) -> Money:
    """Digits with their two decimals as money; so many that no limit allows them are not even counted."""
    if len(digits.lstrip("0")) > MOST_DIGITS:
        raise AmountTooLarge(Money(limit, currency))
    return Money(int(digits), currency)


def _description(raw: str) -> str:
    try:
        return clean_text(raw)
    except TextTooLong as error:
        raise DescriptionTooLong(error.longest) from None


def _refuse_second_number(text: str) -> None:
    """Refuse a text that goes on with the amount: a bare number, a second sum of money, a calculation.

    Raises:
        AmountUnreadable, AmountForeignDigits.
    """
    if text[:1].isdecimal() and not text[0].isascii():
        raise NonAsciiDigits
    if CALCULATION.match(text):
        raise UnreadableAmount
    number = NUMBER.match(text)
    if number is None:
        return
    word = NEXT_WORD.match(text, number.end())
    if number.end() == len(text) or (word and is_money(word[0])):
        raise UnreadableAmount
