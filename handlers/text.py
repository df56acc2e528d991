"""Cleaning of text that people wrote: descriptions, reasons, names, settings."""

from __future__ import annotations

import re
import unicodedata

from storage.errors import UserError

LONGEST_TEXT = 200
LINE_BREAKS = re.compile("[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]+")
HIDDEN = frozenset({"Cc", "Cf", "Cs"})
NOT_CHARACTERS = "\ufffe\uffff"
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
        TextTooLong: over `LONGEST_TEXT` characters.
    """
    line = LINE_BREAKS.sub(" ", raw)
    text = "".join(sign for sign in line if is_printable(sign)).strip(BLANK)
    if len(text) > LONGEST_TEXT:
        raise TextTooLong(LONGEST_TEXT)
    return text


def is_printable(sign: str) -> bool:
    """Whether a character may stand in a text: emoji need the joiners, nothing needs the other invisible ones."""
    return sign in JOINERS or (unicodedata.category(sign) not in HIDDEN and sign not in NOT_CHARACTERS)
