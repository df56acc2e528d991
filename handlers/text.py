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
    line = LINE_BREAKS.sub(" ", raw)
    text = "".join(char for char in line if is_printable(char)).strip(BLANK)
    if len(text) > MAX_TEXT_LENGTH:
        raise TextTooLong(MAX_TEXT_LENGTH)
    return text


def shorten(text: str, max_length: int) -> str:
    """The text, or its beginning with `…` so that it has at most `max_length` characters."""
    return text if len(text) <= max_length else f"{text[: max_length - 1].rstrip()}…"


def is_printable(char: str) -> bool:
    """Whether a character is kept. Of the invisible ones only the joiners are, which emoji need."""
    return char in JOINERS or (unicodedata.category(char) not in HIDDEN_CATEGORIES and char not in NONCHARACTERS)
