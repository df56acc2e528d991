"""Trims the text of a message, and finds commands, links, mentions and hashtags in it, as Telegram does."""

from __future__ import annotations

import re

from bot.sandbox.fake_telegram.api_error import Json
from bot.sandbox.fake_telegram.html_parser import utf16_length

STYLES = {"bold", "italic", "underline", "strikethrough", "spoiler", "blockquote", "expandable_blockquote"}
_PATTERNS = (
    ("bot_command", re.compile(r"(?<![\w/<>])/[A-Za-z0-9_]{1,64}(?:@[A-Za-z0-9_]{3,32})?(?![\w/<>@])")),
    ("url", re.compile(r"(?:https?://|\bt\.me/)[^\s<>\"']*[^\s<>\"'.,;:!?)\]]")),
    ("mention", re.compile(r"(?<![\w/.])@[A-Za-z0-9_]{3,32}(?![\w@])")),
    ("hashtag", re.compile(r"(?<!\w)#(?=\w*[^\W\d_])\w{1,256}(?!#)")),
)


def find_entities(text: str, given: list[Json]) -> list[Json]:
    """`given` and the entities found in the text outside links and code, in order."""
    taken = [_span(entity) for entity in given if entity["type"] not in STYLES]
    entities = list(given)
    for kind, pattern in _PATTERNS:
        for match in pattern.finditer(text):
            begin, length = utf16_length(text[: match.start()]), utf16_length(match[0])
            if all(begin + length <= other or end <= begin for other, end in taken):
                taken.append((begin, begin + length))
                entities.append({"type": kind, "offset": begin, "length": length})
    return sorted(entities, key=lambda entity: (entity["offset"], -entity["length"]))


def trim(text: str, entities: list[Json]) -> tuple[str, list[Json]]:
    """The text without surrounding whitespace, and its entities; entities of only whitespace are dropped."""
    trimmed = text.strip()
    removed, end = utf16_length(text) - utf16_length(text.lstrip()), utf16_length(trimmed)
    remaining = []
    for entity in entities:
        first, last = (min(max(edge - removed, 0), end) for edge in _span(entity))
        if first < last:
            remaining.append(entity | {"offset": first, "length": last - first})
    return trimmed, remaining


def _span(entity: Json) -> tuple[int, int]:
    return entity["offset"], entity["offset"] + entity["length"]
