"""The words after an amount: shown to merchant and customer, so harmless, and never half of an amount."""

from __future__ import annotations

import re
import unicodedata

from handlers.amounts.currency_words import WordKind, classify_word
from handlers.amounts.errors import DescriptionTooLong, NonAsciiDigits, UnreadableAmount

LONGEST_TEXT = 200
COIN_SIGN = "[$¢-¥֏؋৲৳৻૱௹฿៛₠-⃀꠸﷼﹩＄￠￡￥￦]"
WORD = rf"(?:(?:[^\W\d_]|[\u0300-\u036f])+{COIN_SIGN}?|{COIN_SIGN})"
"""A run of letters, a currency's sign, or both (`US$`)."""

LINE_BREAKS = re.compile("[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]+")
HIDDEN = frozenset({"Cc", "Cf", "Cs"})
NOT_CHARACTERS = "\ufffe\uffff"
JOINERS = "\u200c\u200d"
BLANK = " \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000" + JOINERS
CALCULATION = re.compile(r"(?:[+*×÷/=^]|[xX])\s*[0-9]|[%‰]")
NUMBER = re.compile(r"[-−–—.,:'’\s]*[0-9²³¹¼-¾⅐-⅞][0-9²³¹¼-¾⅐-⅞.,'’\s]*")
NEXT_WORD = re.compile(rf"{WORD}|(?<=[.,:])[-–—]|:[-–—]")


def clean_text(raw: str) -> str:
    """The text as it is kept: one line, nothing invisible that turns or hides what stands beside it.

    Raises:
        TextTooLong: over `LONGEST_TEXT` characters.
    """
    line = LINE_BREAKS.sub(" ", raw)
    text = "".join(sign for sign in line if is_printable(sign)).strip(BLANK)
    if len(text) > LONGEST_TEXT:
        raise DescriptionTooLong(LONGEST_TEXT)
    return text


def is_printable(sign: str) -> bool:
    """Whether a character may stand in a text: emoji need the joiners, nothing needs the other invisible ones."""
    return sign in JOINERS or (unicodedata.category(sign) not in HIDDEN and sign not in NOT_CHARACTERS)


def refuse_second_number(text: str) -> None:
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


def is_money(word: str) -> bool:
    """Whether a word after a number makes that number a sum of money."""
    return not word[0].isalpha() or classify_word(word) is not WordKind.TEXT
