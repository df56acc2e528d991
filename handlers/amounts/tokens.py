"""The signs of a typed amount, one after the other: digits, grouping, decimals, marks and currency."""

from __future__ import annotations

import re
from dataclasses import dataclass

from handlers.amounts.currency_words import KRONE, WORD, WordKind, classify_word, is_money
from handlers.amounts.errors import (
    ConflictingCurrencies,
    ExponentAmount,
    MissingAmount,
    NonAsciiDigits,
    SignedAmount,
    TooManyDecimals,
    UnknownCurrency,
    UnreadableAmount,
)
from handlers.text import BLANK
from storage.models.money import DECIMALS

SPACES = "\u0020\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
SIGNS = "+\\-−–—±﹢﹣＋－"
BEFORE = re.compile(rf"(?P<word>{WORD})(?P<dot>\.?)\s*")
WHOLE = re.compile(
    rf"(?:(?P<space>[1-9][0-9]{{0,2}}(?:[{SPACES}]+[0-9]{{3}})+)"
    r"|(?P<apostrophe>[1-9][0-9]{0,2}(?:['’][0-9]{3})+)"
    r"|(?P<dot>[1-9][0-9]{0,2}(?:\.[0-9]{3})+)"
    r"|(?P<comma>[1-9][0-9]{0,2}(?:,[0-9]{3})+)"
    r"|(?P<plain>[0-9]+))(?![0-9])"
)
REST = re.compile(r"(?P<separator>[.,])(?P<decimals>[0-9]+)|(?P<sign>[.,:])[-–—]")
AFTER = re.compile(rf"\s*(?P<word>{WORD})")
END_OF_CURRENCY = re.compile(r"(?:[.,:][-–—]?|;)?(?=\s|$)|(?=[(\"'“„«☀-➿\U0001f300-\U0001faff])")
SIGNED = re.compile(rf"[{SIGNS}]\s*(?:{WORD}\.?\s*)?[0-9]")
EXPONENT = re.compile(rf"[eE][{SIGNS}]?[0-9]")
OPENING = "+-−–—±﹢﹣＋－.,:"
SEPARATORS = {"dot": ".", "comma": ","}


@dataclass(frozen=True)
class AmountTokens:
    """What stands there, before it is known which amount it means.

    `whole` as typed with its grouping, `decimals` without separator, `settled` when a mark such as `,-` says that
    the number ends there, `currency` an ISO code, `KRONE` or None, `rest` all that follows.
    """

    whole: str
    grouping: str
    decimals: str
    settled: bool
    currency: str | None
    rest: str

    @property
    def groups(self) -> list[str]:
        """The digits between the grouping signs."""
        return re.findall("[0-9]+", self.whole)


def has_amount_ahead(text: str) -> bool:
    """Whether a text begins as if an amount were meant, readable or not: a digit of any script, a sign, a currency."""
    text = text.strip()
    word = BEFORE.match(text)
    if word is not None and not text[0].isnumeric():
        is_code = len(word["word"]) == 3 and word["word"].isupper()
        text = text[word.end() :] if is_code or is_money(word["word"]) else text
    return text.lstrip(f"{OPENING}{BLANK}")[:1].isnumeric()


def tokenize(text: str) -> AmountTokens:
    """Take apart what was typed, from left to right; every sign up to the text must be accounted for.

    Raises:
        AmountRefused: one of its kinds, with the reason.
    """
    text = text.strip()
    _refuse_start(text)
    before, start = _currency_before(text)
    _refuse_start(text[start:])
    whole = WHOLE.match(text, start)
    if whole is None:
        raise UnreadableAmount
    grouping = str(whole.lastgroup)
    decimals, settled, end = _decimals(text, whole.end(), SEPARATORS.get(grouping))
    _refuse_continuation(text[end:])
    after, end = _currency_after(text, end)
    if before and after:
        raise ConflictingCurrencies
    settled = settled or (grouping == "space" and bool(before or after))
    return AmountTokens(whole[0], grouping, decimals, settled, before or after, text[end:])


def _currency_before(text: str) -> tuple[str | None, int]:
    found = BEFORE.match(text)
    if found is None:
        return None, 0
    currency = classify_word(found["word"])
    if currency is WordKind.OTHER_MONEY:
        raise UnknownCurrency(found["word"])
    if isinstance(currency, WordKind) or (found["dot"] and currency != KRONE):
        raise UnreadableAmount
    return currency, found.end()


def _refuse_start(text: str) -> None:
    """Say why a text cannot begin an amount, where it cannot."""
    if not text:
        raise MissingAmount
    if SIGNED.match(text):
        raise SignedAmount
    if text[0].isnumeric() and not text[0].isascii():
        raise NonAsciiDigits


def _decimals(text: str, start: int, grouped_by: str | None) -> tuple[str, bool, int]:
    """The decimals, whether a mark stands in their place, and where they end."""
    found = REST.match(text, start)
    if found is None:
        return "", False, start
    if grouped_by and grouped_by in (found["separator"], found["sign"]):
        raise UnreadableAmount
    decimals = found["decimals"] or ""
    if len(decimals) > DECIMALS:
        raise TooManyDecimals
    return decimals, found["sign"] is not None, found.end()


def _refuse_continuation(text: str) -> None:
    """Refuse what sticks to the number and is neither a space nor, perhaps, a currency."""
    if EXPONENT.match(text):
        raise ExponentAmount
    if text[:1].isnumeric() and not text[0].isascii():
        raise NonAsciiDigits
    if SIGNED.match(text):
        raise SignedAmount
    if text and not text[0].isspace() and not AFTER.match(text):
        raise UnreadableAmount


def _currency_after(text: str, start: int) -> tuple[str | None, int]:
    found = AFTER.match(text, start)
    if found is None:
        return None, start
    currency = classify_word(found["word"])
    if currency is WordKind.TEXT and text[start].isspace():
        return None, start
    if currency is WordKind.OTHER_MONEY:
        raise UnknownCurrency(found["word"])
    end = END_OF_CURRENCY.match(text, found.end())
    if isinstance(currency, WordKind) or end is None:
        raise UnreadableAmount
    following = AFTER.match(text, end.end())
    if following and classify_word(following["word"]) not in (WordKind.TEXT, WordKind.MULTIPLE):
        raise ConflictingCurrencies
    return currency, end.end()
