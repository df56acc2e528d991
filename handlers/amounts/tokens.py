"""Splits a typed amount into its tokens: digits, grouping, decimals, end marks and currency."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from handlers.amounts.currency_phrases import Phrase, has_second_sum, phrase_at, unknown_money
from handlers.amounts.currency_words import KRONE, WORD, WordKind
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
from handlers.text_cleaning import BLANK
from storage.models.money import DECIMALS

SPACES = "\u0020\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
SIGN_CHARS = "+\\-−–—±﹢﹣＋－"
WHOLE = re.compile(
    rf"(?:(?P<space>[1-9][0-9]{{0,2}}(?:[{SPACES}]+[0-9]{{3}})+)"
    r"|(?P<apostrophe>[1-9][0-9]{0,2}(?:['’][0-9]{3})+)"
    r"|(?P<dot>[1-9][0-9]{0,2}(?:\.[0-9]{3})+)"
    r"|(?P<comma>[1-9][0-9]{0,2}(?:,[0-9]{3})+)"
    r"|(?P<plain>[0-9]+))(?![0-9])"
)
DECIMALS_OR_MARK = re.compile(r"(?P<separator>[.,])(?P<decimals>[0-9]+)|(?P<mark>[.,:])[-–—]")
END_OF_CURRENCY = re.compile(
    r"(?:[.,:][-–—]?|[;!?…]|\.{2,3})?(?=\s|$)|(?=[(\"'“„«☀-➿\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff])"
)
AFTER_PREFIX = re.compile(r"(?P<dot>\.?)[:=]?\s*")
AND = "(?:og|och|ja|and|und|&)"
SUBUNITS = {
    **dict.fromkeys(("øre", "ører", "öre", "ore", "äyri", "äyriä"), KRONE),
    **dict.fromkeys(
        ("cent", "cents", "sent", "sentti", "senttiä", "snt", "eurocent", "eurocents", "c", "ct", "cts", "¢"), "EUR"
    ),
}
"""The hundredth part of which currency a word is."""

SHORT_UNITS = {"c", "ct", "cts", "¢"}
UNIT = rf"(?:(?:{'|'.join(set(SUBUNITS) - SHORT_UNITS)})(?!\w)|(?:{'|'.join(SHORT_UNITS)})(?=\.?\s*$))"
SUBUNIT = re.compile(
    rf"\s*,?\s*(?:(?P<and>{AND}|plus|samt|med|sekä)\s*)?(?P<number>[0-9]\S*?\s*|\S+\s+)(?P<unit>{UNIT})[.,;:]?",
    re.IGNORECASE,
)
HALF_SUBUNIT = re.compile(
    rf"\s*,?\s*{AND}\s*(?:[0-9]{{2}}(?![0-9])|[0-9.,]+\s*$|(?:(?:en|et|ett|a|one)\s+)?(?:halv|half|puoli)(?!\w))",
    re.IGNORECASE,
)
"""A number or a half after the amount that may be its hundredths, though no word says so."""

SIGNED = re.compile(rf"[{SIGN_CHARS}]\s*(?:{WORD}\.?\s*)?[0-9]")
EXPONENT = re.compile(rf"[eE][{SIGN_CHARS}]?[0-9]")
YEAR = re.compile(r"\s+(?:19|20)[0-9]{2}(?![0-9])")
SPACE_AND_LETTER = re.compile(r"\s+[^\W\d_]")
OPENING = "+-−–—±﹢﹣＋－.,:"
SEPARATORS = {"dot": ".", "comma": ","}


@dataclass(frozen=True)
class AmountTokens:
    """A typed amount before its interpretation.

    `whole` is as typed, with its grouping; `grouping` names the separator; `decimals` has none. `is_complete`: a mark
    such as `,-` ends the number. `currency` is an ISO code, `KRONE` or None; `rest` is the text that follows.
    `text_reading` is that text if the currency may be meant as text (`125 - Euro 2028`), else None. `subunit` is the
    currency (or `KRONE`) whose hundredths are named, as in `125 og 50 øre`.
    """

    whole: str
    grouping: str
    decimals: str
    is_complete: bool
    currency: str | None
    rest: str
    text_reading: str | None = None
    subunit: str | None = None

    @property
    def groups(self) -> list[str]:
        """The digits between the separators."""
        return re.findall("[0-9]+", self.whole)


def has_amount_ahead(text: str) -> bool:
    """Whether the text starts like an amount, valid or not: with a digit of any script, a sign or a currency."""
    text = text.strip()
    phrase = phrase_at(text)
    if phrase is not None and (not phrase.is_text or (len(phrase.written) == 3 and phrase.written.isupper())):
        text = text[phrase.end :]
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
    after = _currency_after(text, end, before)
    named = before or (after.currency() if after else None)
    text_reading = _text_reading(text, end, after) if after else None
    hundredths, end, subunit = _subunit(text, after.end if after else end)
    if subunit and (decimals or is_complete):
        raise UnreadableAmount
    is_complete = is_complete or bool(subunit) or (grouping == "space" and bool(named))
    digits = decimals or hundredths
    return AmountTokens(whole[0], grouping, digits, is_complete, named, text[end:], text_reading, subunit)


def _currency_before(text: str) -> tuple[str | None, int]:
    """The currency before the number, if any, and where the number starts."""
    phrase = phrase_at(text)
    if phrase is None or phrase.is_dashed:
        return None, 0
    if phrase.is_text:
        raise UnreadableAmount
    currency = phrase.currency()
    link = AFTER_PREFIX.match(text, phrase.end)
    if link is None or (link["dot"] and not phrase.written.lower().endswith("kr")):
        raise UnreadableAmount
    is_name = not phrase.is_code and (YEAR.match(f" {text[link.end() :]}") or has_second_sum(text[link.end() :]))
    if is_name:  # `Euro 2028 shirt 60 DKK`
        raise UnreadableAmount
    return currency, link.end()


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
    """Rejects what follows the number directly and cannot belong to it."""
    if EXPONENT.match(text):
        raise ExponentAmount
    if text[:1].isnumeric() and not text[0].isascii():
        raise NonAsciiDigits
    if SIGNED.match(text):
        raise SignedAmount


def _currency_after(text: str, start: int, before: str | None) -> Phrase | None:
    """The currency behind the number, if any.

    Raises:
        AmountError: its subclass is the reason.
    """
    is_apart = start == len(text) or text[start].isspace()
    phrase = phrase_at(text, start)
    if phrase is None or phrase.is_text:
        if not is_apart:
            raise UnreadableAmount
        if phrase and not before and not phrase.is_dashed and (money := unknown_money(text[start:].lstrip())):
            raise UnknownCurrency(money)
        return None
    if before:
        _reject_second_currency(text, start)
        return None
    phrase.currency()
    end = END_OF_CURRENCY.match(text, phrase.end)
    if end is None:
        raise UnreadableAmount
    _reject_second_currency(text, end.end())
    return replace(phrase, end=end.end())


def _text_reading(text: str, start: int, phrase: Phrase) -> str | None:
    """The text if the currency behind the number may be part of it: `60 - Euro 2028`, `60 Euro 2028 shirt`."""
    if phrase.is_code or phrase.is_bracketed or phrase.is_last:
        return None
    return text[start:] if phrase.is_dashed or YEAR.match(text, phrase.end) else None


def _reject_second_currency(text: str, start: int) -> None:
    """Rejects a second currency: a code or a sign, or a name that is not followed by text. Other names are text."""
    phrase = phrase_at(text, start)
    if phrase is None or not (isinstance(phrase.meaning, str) or phrase.meaning is WordKind.OTHER_MONEY):
        return
    is_apart = text[start : start + 1].isspace()
    is_sign_in_text = not phrase.written[0].isalpha() and SPACE_AND_LETTER.match(text, phrase.end)
    is_code = phrase.is_code and not phrase.is_dashed and not is_sign_in_text
    if is_code or phrase.is_last or phrase.is_bracketed or not is_apart:
        raise ConflictingCurrencies


def _subunit(text: str, start: int) -> tuple[str, int, str | None]:
    """The hundredths behind the amount as two digits, the position after them, and whose they are.

    Raises:
        UnreadableAmount: they are no one or two digits, or may be meant without being named (`125 kr og 50`).
    """
    match = SUBUNIT.match(text, start)
    if match is not None and match["and"] is None:
        if match["number"].strip().isdecimal():
            raise UnreadableAmount  # `125 € 50 c`
        match = None
    if match is None:
        if HALF_SUBUNIT.match(text, start):
            raise UnreadableAmount
        return "", start, None
    number = match["number"].strip()
    if not re.fullmatch("[0-9]{1,2}", number):
        raise UnreadableAmount
    return number.zfill(DECIMALS), match.end(), SUBUNITS[match["unit"].lower()]
