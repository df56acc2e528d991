"""Finds the name of a currency at a position of a text: `kr.`, `svenske kroner`, `(EUR)`, `- EUR`, `🇸🇪 SEK`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from handlers.amounts.currency_words import (
    AMBIGUOUS_CODES,
    CODES,
    COUNTRY_WORD,
    CURRENCY_SIGN,
    DOLLARS,
    EURO_LETTER,
    KRONE,
    NATIONALITIES,
    TOKEN,
    TRAILING_MONEY,
    WORD,
    WordKind,
    classify_word,
    fold,
    phrases,
)
from handlers.amounts.errors import ConflictingCurrencies, UnknownCurrency, UnreadableAmount

FLAG = "[\U0001f1e6-\U0001f1ff]{2}"
EUROPE = "🇪🇺"
IN = re.compile(r"^(?:i|in)\s+", re.IGNORECASE)
POSSESSIVE = re.compile(r"(?:['’]s|\(s\))(?!\w)", re.IGNORECASE)
FLAGS = {"🇩🇰": "DKK", "🇫🇴": "DKK", "🇬🇱": "DKK", "🇸🇪": "SEK", "🇳🇴": "NOK"}
"""Flags of the countries of the kroner; any other flag goes with EUR."""

LEAD = re.compile(rf"\s*(?P<dash>[-–—/:=|]\s*)?(?P<open>[(\[{{]\s*)?(?:(?:i|in)\s+)?(?P<flag>{FLAG})?\s*")
"""What may stand between a number and its currency: `125 (EUR)`, `125 - EUR`, `125 i euro`, `125 🇸🇪 SEK`."""

CLOSING = re.compile(r"\s*\.?\s*[)\]}]")
SINGLE = re.compile(WORD)
SIGN = re.compile(CURRENCY_SIGN)
GAP = re.compile(r"\.?(?:\s&\s|[-\s’']{0,2})")
END_OF_WORD = re.compile(r"[\s.,;:!?)\]}]|$")
NEXT_WORD = re.compile(r"\.?\s+")
MAX_WORDS = 6
"""Words of the longest name of a currency."""

PUNCTUATION = " \u00a0\u202f\t\n.,;:!?()[]{}…"


SURE_WORDS = DOLLARS | {"kr", "usd", "gbp", "eur", "dkk", "chf", "pln", "euro", "euros", "euroa", "kroner", "kronor"}
"""Names that are no text at the end of a description."""


@dataclass(frozen=True)
class Phrase:
    """The name of a currency as it stands in a text, or a word that is none (`WordKind.TEXT`).

    `is_code` is a code, a sign or `kr`; other names are also ordinary words (`Euro 2028`). `end` is the position behind
    it and behind its closing bracket. `is_last`: only punctuation follows.
    """

    meaning: str | WordKind
    written: str
    end: int
    is_code: bool
    is_dashed: bool
    is_bracketed: bool
    is_last: bool
    flag: str | None

    @property
    def is_text(self) -> bool:
        """Whether it is an ordinary word."""
        return self.meaning is WordKind.TEXT

    def currency(self) -> str:
        """The ISO code or `KRONE`.

        Raises:
            UnknownCurrency, UnreadableAmount: it is other money, or a multiple such as `thousand`.
            ConflictingCurrencies: the flag is another country's.
        """
        if isinstance(self.meaning, WordKind):
            raise UnknownCurrency(self.written) if self.meaning is WordKind.OTHER_MONEY else UnreadableAmount
        if self.flag is None:
            return self.meaning
        if self.meaning == KRONE and self.flag not in FLAGS:
            raise UnknownCurrency(f"{self.flag} {self.written}")
        country = FLAGS.get(self.flag, "EUR")
        if self.meaning not in (country, KRONE):
            raise ConflictingCurrencies
        return country


def phrase_at(text: str, start: int = 0) -> Phrase | None:
    """The name of a currency, or the word, at a position; None if no word follows there."""
    lead = LEAD.match(text, start)
    named = None if lead is None else _name_at(text, lead.end())
    if lead is None or named is None:
        return None
    meaning, end = named
    written = text[lead.end() : end]
    if meaning is not WordKind.TEXT and (ending := POSSESSIVE.match(text, end)):
        end = ending.end()  # `200 euro's`, `200 euro(s)`
    if lead["open"]:
        closing = CLOSING.match(text, end)
        meaning = meaning if closing else WordKind.TEXT
        end = closing.end() if closing else end
    is_code = written.lower() in CODES or SIGN.search(written) is not None
    is_last = not text[end:].strip(PUNCTUATION)
    return Phrase(meaning, written, end, is_code, bool(lead["dash"]), bool(lead["open"]), is_last, lead["flag"])


def unknown_money(text: str) -> str | None:
    """Kroner or dollars behind a first word that is unknown, a country or a multiple: `5 mill kr`; of a country, any
    money: `20 engelske pund`."""
    word = SINGLE.match(text)
    gap = None if word is None else NEXT_WORD.match(text, word.end())
    noun = None if gap is None else SINGLE.match(text, gap.end())
    if word is None or noun is None:
        return None
    is_money = classify_word(noun[0]) == KRONE or noun[0].lower() in DOLLARS
    if not is_money and COUNTRY_WORD.fullmatch(word[0].lower()):
        is_trailing = noun[0] in TRAILING_MONEY and not text[noun.end() :].strip(PUNCTUATION)
        is_money = is_trailing or classify_word(noun[0]) is WordKind.OTHER_MONEY
    return text[word.start() : noun.end()] if is_money else None


def country_at_end(text: str) -> str | None:
    """The currency of a nationality or flag that is all of the text and may say whose krone it is: `200 svenske`."""
    word = IN.sub("", text.strip(PUNCTUATION))
    return NATIONALITIES.get(word.lower(), FLAGS.get(word, "EUR" if word == EUROPE else None))


def currency_in(description: str) -> tuple[str, Phrase] | None:
    """A currency that a description names for the number before it, with the description without it: `coffee EUR`.

    Words that are also text, such as `pund`, are none; neither is the currency of another number.
    """
    for word in re.finditer(r"\S+", description):
        phrase = phrase_at(description, word.start())
        before = description[: word.start()].rstrip(f"{PUNCTUATION}-–—/=|")
        if phrase is None or phrase.is_text or not before or before[-1].isnumeric():
            continue
        after = description[phrase.end :].strip(PUNCTUATION)
        if _is_sure(phrase) and not after[:1].isnumeric():
            return (description if after else before), phrase
    return None


def _is_sure(phrase: Phrase) -> bool:
    """Whether a name is a currency also where it stands apart from the number."""
    lower, is_supported = phrase.written.lower(), isinstance(phrase.meaning, str)
    is_exact = phrase.written.isupper() and lower not in AMBIGUOUS_CODES
    if is_supported and (" " in phrase.written or (is_exact and phrase.is_code) or "€" in phrase.written):
        return True
    is_sign = not phrase.written[0].isalpha()
    return phrase.is_last and (is_exact or is_sign or " " in phrase.written or lower in SURE_WORDS)


def has_second_sum(text: str) -> bool:
    """Whether a number with a currency behind it follows the first number of the text."""
    numbers = list(re.finditer(r"[0-9]+\s*", text))[1:]
    found = (phrase_at(text, number.end()) for number in numbers)
    return any(phrase is not None and not phrase.is_text for phrase in found)


def _name_at(text: str, start: int) -> tuple[str | WordKind, int] | None:
    """The meaning of the longest name that starts here, and the position behind it."""
    words: list[re.Match[str]] = []
    position = start
    while len(words) < MAX_WORDS and (word := TOKEN.match(text, position)):
        words.append(word)
        gap = GAP.match(text, word.end())
        position = word.end() if gap is None else gap.end()
    for count in range(len(words), 0, -1):
        meaning = phrases().get(tuple(fold(word[0]) for word in words[:count]))
        if meaning is not None and not _is_sign_apart(words[:count]):
            return meaning, words[count - 1].end()
    single = SINGLE.match(text, start)
    if single is None:
        return None
    if single[0] in TRAILING_MONEY and not text[single.end() :].strip(PUNCTUATION):
        return WordKind.OTHER_MONEY, single.end()
    is_euro_letter = single[0] == EURO_LETTER and text[:start].rstrip(PUNCTUATION)[-1:].isdigit()
    if single[0] == EURO_LETTER and not (is_euro_letter and END_OF_WORD.match(text, single.end())):
        return WordKind.TEXT, single.end()
    return classify_word(single[0]), single.end()


def _is_sign_apart(words: list[re.Match[str]]) -> bool:
    """Whether a space separates a sign from the country code beside it: `125 a $5 coupon` is no amount in AUD."""
    return any(
        (SIGN.match(first[0]) or SIGN.match(second[0])) and first.end() < second.start()
        for first, second in pairwise(words)
    )
