"""Splits a typed amount into its tokens: digits, grouping, decimals, end marks and currency."""

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
SIGN_CHARS = "+\\-−–—±﹢﹣＋－"
BEFORE = re.compile(rf"(?P<word>{WORD})(?P<dot>\.?)\s*")
WHOLE = re.compile(
    rf"(?:(?P<space>[1-9][0-9]{{0,2}}(?:[{SPACES}]+[0-9]{{3}})+)"
    r"|(?P<apostrophe>[1-9][0-9]{0,2}(?:['’][0-9]{3})+)"
    r"|(?P<dot>[1-9][0-9]{0,2}(?:\.[0-9]{3})+)"
    r"|(?P<comma>[1-9][0-9]{0,2}(?:,[0-9]{3})+)"
    r"|(?P<plain>[0-9]+))(?![0-9])"
)
DECIMALS_OR_MARK = re.compile(r"(?P<separator>[.,])(?P<decimals>[0-9]+)|(?P<mark>[.,:])[-–—]")
AFTER = re.compile(rf"\s*(?P<word>{WORD})")
END_OF_CURRENCY = re.compile(r"(?:[.,:][-–—]?|;)?(?=\s|$)|(?=[(\"'“„«☀-➿\U0001f300-\U0001faff])")
SIGNED = re.compile(rf"[{SIGN_CHARS}]\s*(?:{WORD}\.?\s*)?[0-9]")
EXPONENT = re.compile(rf"[eE][{SIGN_CHARS}]?[0-9]")
OPENING = "+-−–—±﹢﹣＋－.,:"
SEPARATORS = {"dot": ".", "comma": ","}


@dataclass(frozen=True)
class AmountTokens:
    """A typed amount before its interpretation.

    `whole` is as typed, with its grouping; `grouping` names the separator; `decimals` has none. `is_complete`: a mark
    such as `,-` ends the number. `currency` is an ISO code, `KRONE` or None; `rest` is the text that follows.
    """

    whole: str
    grouping: str
    decimals: str
    is_complete: bool
    currency: str | None
    rest: str

    @property
    def groups(self) -> list[str]:
        """The digits between the separators."""
        return re.findall("[0-9]+", self.whole)


def has_amount_ahead(text: str) -> bool:
    """Whether the text starts like an amount, valid or not: with a digit of any script, a sign or a currency."""
    text = text.strip()
    word = BEFORE.match(text)
    if word is not None and not text[0].isnumeric():
        is_code = len(word["word"]) == 3 and word["word"].isupper()
        text = text[word.end() :] if is_code or is_money(word["word"]) else text
    return text.lstrip(f"{OPENING}{BLANK}")[:1].isnumeric()


def tokenize(text: str) -> AmountTokens:
    """Splits the text from left to right. Every character before the description must belong to the amount.

    Raises:
        AmountError: its subclass is the reason.
    """
    text = text.strip()
    _reject_start(text)
    before, start = _currency_before(text)
    _reject_start(text[start:])
    whole = WHOLE.match(text, start)
    if whole is None:
        raise UnreadableAmount
    grouping = str(whole.lastgroup)
    decimals, is_complete, end = _decimals(text, whole.end(), SEPARATORS.get(grouping))
    _reject_continuation(text[end:])
    after, end = _currency_after(text, end)
    if before and after:
        raise ConflictingCurrencies
    is_complete = is_complete or (grouping == "space" and bool(before or after))
    return AmountTokens(whole[0], grouping, decimals, is_complete, before or after, text[end:])


def _currency_before(text: str) -> tuple[str | None, int]:
    match = BEFORE.match(text)
    if match is None:
        return None, 0
    currency = classify_word(match["word"])
    if currency is WordKind.OTHER_MONEY:
        raise UnknownCurrency(match["word"])
    if isinstance(currency, WordKind) or (match["dot"] and currency != KRONE):
        raise UnreadableAmount
    return currency, match.end()


def _reject_start(text: str) -> None:
    """Rejects a text that cannot start an amount."""
    if not text:
        raise MissingAmount
    if SIGNED.match(text):
        raise SignedAmount
    if text[0].isnumeric() and not text[0].isascii():
        raise NonAsciiDigits


def _decimals(text: str, start: int, grouped_by: str | None) -> tuple[str, bool, int]:
    """The decimals, whether an end mark stands in their place, and the position after them."""
    match = DECIMALS_OR_MARK.match(text, start)
    if match is None:
        return "", False, start
    if grouped_by and grouped_by in (match["separator"], match["mark"]):
        raise UnreadableAmount
    decimals = match["decimals"] or ""
    if len(decimals) > DECIMALS:
        raise TooManyDecimals
    return decimals, match["mark"] is not None, match.end()


def _reject_continuation(text: str) -> None:
    """Rejects what follows the number directly, unless it is a space or may be a currency."""
    if EXPONENT.match(text):
        raise ExponentAmount
    if text[:1].isnumeric() and not text[0].isascii():
        raise NonAsciiDigits
    if SIGNED.match(text):
        raise SignedAmount
    if text and not text[0].isspace() and not AFTER.match(text):
        raise UnreadableAmount


def _currency_after(text: str, start: int) -> tuple[str | None, int]:
    match = AFTER.match(text, start)
    if match is None:
        return None, start
    currency = classify_word(match["word"])
    if currency is WordKind.TEXT and text[start].isspace():
        return None, start
    if currency is WordKind.OTHER_MONEY:
        raise UnknownCurrency(match["word"])
    end = END_OF_CURRENCY.match(text, match.end())
    if isinstance(currency, WordKind) or end is None:
        raise UnreadableAmount
    following = AFTER.match(text, end.end())
    if following and classify_word(following["word"]) not in (WordKind.TEXT, WordKind.MULTIPLE):
        raise ConflictingCurrencies
    return currency, end.end()
