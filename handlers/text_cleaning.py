"""Cleaning of text that people wrote: descriptions, reasons, names, settings."""

from __future__ import annotations

import re
import unicodedata

from storage.errors import UserError

MAX_TEXT_LENGTH = 200
LINE_BREAKS = re.compile("[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]+")
HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs"})
NONCHARACTERS = "\ufffe\uffff"
JOINERS = "\u200c\u200d"
MANY_MARKS = re.compile("([\u0300-\u036f]{2})[\u0300-\u036f]+")
SENTENCE_END = re.compile(r"(?<=[.!?])(?=\s)|(?=\n)")


FLAG_OF_SUBDIVISION = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")
"""The flag of a part of a country, such as Scotland: a black flag, invisible letters and an end mark (UTS #51)."""

BLANK_LETTERS = "\u115f\u1160\u3164\uffa0\u2800"
"""Letters and symbols without a shape."""

MARKS = "‼⁉ℹ※•‣⁃#"
"""Letters and punctuation that apps draw as an emoji or that head a line, and the mark of references."""

BLANK = " \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000" + JOINERS


class TextTooLong(UserError):
    """The text has more than `longest` characters."""

    message_key = "error.description_too_long"

    def __init__(self, longest: int) -> None:
        super().__init__(longest=longest)
        self.longest = longest


def clean_text(raw: str) -> str:
    """The text as one line, without control and formatting characters that could reorder or hide other text.

    Raises:
        TextTooLong: over `MAX_TEXT_LENGTH` characters.
    """
    text = _printable(LINE_BREAKS.sub(" ", raw)).strip(BLANK)
    if len(text) > MAX_TEXT_LENGTH:
        raise TextTooLong(MAX_TEXT_LENGTH)
    return text


def clean_name(raw: str, longest: int) -> str:
    """A person's name as plain words in one line: without signs, which could imitate a message of ours. Maybe empty."""
    line = FLAG_OF_SUBDIVISION.sub("", " ".join(LINE_BREAKS.sub(" ", raw[:MAX_TEXT_LENGTH]).split()))
    words = "".join(char for char in line if is_printable(char) and not _is_pictorial(char))
    words = re.sub(rf"(?<!\w)[{JOINERS}]|[{JOINERS}](?!\w)", "", words)
    return " ".join(MANY_MARKS.sub(r"\1", unicodedata.normalize("NFC", words)).split())[:longest].strip(BLANK)


def shorten(text: str, max_length: int) -> str:
    """The text, or its beginning with `…` so that it has at most `max_length` characters."""
    if len(text) <= max_length:
        return text
    end = max_length - 1
    end = next((flag.start() for flag in FLAG_OF_SUBDIVISION.finditer(text) if flag.start() < end < flag.end()), end)
    return f"{text[:end].rstrip(BLANK)}…"


def whole_sentences(text: str, max_length: int) -> str:
    """The text, or as many of its first sentences as fit, so that none is cut; a long first one is shortened."""
    if len(text) <= max_length:
        return text
    ends = [end.start() for end in SENTENCE_END.finditer(text) if end.start() <= max_length]
    return text[: ends[-1]] if ends else shorten(text, max_length)


def _printable(line: str) -> str:
    """The line without hidden characters, except in the flags that are made of them."""
    kept, position = [], 0
    for flag in FLAG_OF_SUBDIVISION.finditer(line):
        kept += [char for char in line[position : flag.start()] if is_printable(char)] + [flag[0]]
        position = flag.end()
    return "".join([*kept, *(char for char in line[position:] if is_printable(char))])


def _is_pictorial(char: str) -> bool:
    """Whether it is an emoji or part of one, a symbol, or a letter without a shape."""
    is_modifier = "\U0001f3fb" <= char <= "\U0001f3ff" or char in "\ufe0e\ufe0f\u20e3"
    is_symbol = unicodedata.category(char) in {"So", "Sm"} and not char.isascii()
    return is_symbol or is_modifier or char in BLANK_LETTERS or char in MARKS


def is_printable(char: str) -> bool:
    """Whether a character is kept. Of the invisible ones only the joiners are, which emoji need."""
    return char in JOINERS or (unicodedata.category(char) not in HIDDEN_CATEGORIES and char not in NONCHARACTERS)
