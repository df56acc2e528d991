"""Parses Telegram's HTML to text and entities, with the same errors as Telegram's server (TDLib, MessageEntity)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from bot.sandbox.fake_telegram import links
from bot.sandbox.fake_telegram.api_error import Json

TYPES = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "u": "underline",
    "ins": "underline",
    "s": "strikethrough",
    "strike": "strikethrough",
    "del": "strikethrough",
    "tg-spoiler": "spoiler",
    "span": "spoiler",
    "a": "text_link",
    "code": "code",
    "pre": "pre",
    "blockquote": "blockquote",
    "tg-emoji": "custom_emoji",
    "tg-time": "date_time",
}
_CHARACTER = re.compile(r"&(?:#x([0-9a-fA-F]+)|#([0-9]+)|([A-Za-z]+))")
_NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}
_PLAIN = re.compile(r"[^<&]+")
_NAME = re.compile(r"[^\s>]*")
_ATTRIBUTE = re.compile(r"[^\s=>]*")
_TOKEN = re.compile(r"[A-Za-z0-9.\-]*")
_SPACE = re.compile(r"\s*")


def utf16_length(text: str) -> int:
    """The length of a text in UTF-16 code units, in which entities count."""
    return len(text) + sum(character > "\uffff" for character in text)


def parse(html: str) -> tuple[str, list[Json]]:
    """The text and its entities, ordered by offset.

    Raises ValueError with TDLib's message: 'Unsupported start tag "b1" at byte offset 0'.
    """
    reader = _Parser(html)
    reader.parse()
    entities = [entity for entity in reader.entities if entity is not None]
    for entity in entities:
        if entity["type"] == "code":
            entity.pop("language", None)
    return "".join(reader.text), sorted(entities, key=lambda entity: (entity["offset"], -entity["length"]))


@dataclass
class _OpenTag:
    tag: str
    attributes: dict[str, str]
    offset: int
    text_index: int


@dataclass
class _Parser:
    html: str
    at: int = 0
    offset: int = 0
    text: list[str] = field(default_factory=list)
    open_tags: list[_OpenTag] = field(default_factory=list)
    entities: list[Json] = field(default_factory=list)

    def parse(self) -> None:
        while self.at < len(self.html):
            if plain := _PLAIN.match(self.html, self.at):
                self._append(plain[0], plain.end())
            elif self.html[self.at] == "&":
                self._append(*_character(self.html, self.at))
            elif self.html.startswith("</", self.at):
                self._end_tag()
            else:
                self._start_tag()
        if self.open_tags:
            raise ValueError(f'Can\'t find end tag corresponding to start tag "{self.open_tags[-1].tag}"')

    def _append(self, text: str, end: int) -> None:
        self.text.append(text)
        self.offset += utf16_length(text)
        self.at = end

    def _error(self, description: str, at: int) -> ValueError:
        return ValueError(f"{description} at byte offset {len(self.html[:at].encode(errors='surrogatepass'))}")

    def _take(self, pattern: re.Pattern[str]) -> str:
        """The match of the pattern at the current position, which may be empty; moves behind it."""
        found = pattern.match(self.html, self.at)
        taken = found[0] if found else ""
        self.at += len(taken)
        return taken

    @property
    def _at_end(self) -> bool:
        return self.at >= len(self.html)

    def _next(self) -> str:
        return self.html[self.at : self.at + 1]

    def _start_tag(self) -> None:
        begin = self.at
        self.at += 1
        tag = self._take(_NAME).lower()
        if self._at_end:
            raise self._error("Unclosed start tag", begin)
        if tag not in TYPES:
            raise self._error(f'Unsupported start tag "{tag}"', begin)
        attributes: dict[str, str] = {}
        self._take(_SPACE)
        while self._next() != ">":
            name, value = self._attribute(tag, begin)
            attributes[name] = value
            self._take(_SPACE)
        self.at += 1
        if tag == "span" and attributes.get("class") != "tg-spoiler":
            raise self._error('Tag "span" must have class "tg-spoiler"', begin)
        self.open_tags.append(_OpenTag(tag, attributes, self.offset, len(self.text)))

    def _attribute(self, tag: str, begin: int) -> tuple[str, str]:
        if self._at_end:
            raise self._error(f'Unclosed start tag "{tag}"', begin)
        name = self._take(_ATTRIBUTE)
        if not name:
            raise self._error(f'Empty attribute name in the tag "{tag}"', begin)
        self._take(_SPACE)
        if self._next() != "=":
            if name == "expandable" and tag == "blockquote":
                return name, "1"
            raise self._error(f'Expected equal sign in declaration of an attribute of the tag "{tag}"', begin)
        self.at += 1
        self._take(_SPACE)
        if self._at_end:
            raise self._error(f'Unclosed start tag "{tag}"', begin)
        value = self._quoted() if self._next() in "'\"" else self._unquoted()
        if self._at_end:
            raise self._error("Unclosed start tag", begin)
        return name, value

    def _unquoted(self) -> str:
        begin = self.at
        value = self._take(_TOKEN).lower()
        if self._next() != ">" and not self._next().isspace():
            raise self._error("Unexpected end of name token", begin)
        return value

    def _quoted(self) -> str:
        quote, value = self._next(), ""
        self.at += 1
        while not self._at_end and self._next() != quote:
            text, self.at = _character(self.html, self.at)
            value += text
        self.at += 1
        return value

    def _end_tag(self) -> None:
        begin = self.at
        if not self.open_tags:
            raise self._error("Unexpected end tag", begin)
        self.at += 2
        tag = self._take(_NAME).lower()
        self._take(_SPACE)
        if self._next() != ">":
            raise self._error("Unclosed end tag", begin)
        self.at += 1
        last = self.open_tags.pop()
        if tag not in ("", last.tag):
            where = f"at byte offset {len(self.html[:begin].encode(errors='surrogatepass'))}"
            raise ValueError(f'Unmatched end tag {where}, expected "</{last.tag}>", found "</{tag}>"')
        if self.offset > last.offset:
            self._add_entity(last)

    def _add_entity(self, last: _OpenTag) -> None:
        entity: Json = {"type": TYPES[last.tag], "offset": last.offset, "length": self.offset - last.offset}
        match last.tag:
            case "a":
                entity |= _link(last.attributes.get("href") or "".join(self.text[last.text_index :]))
            case "blockquote" if "expandable" in last.attributes:
                entity["type"] = "expandable_blockquote"
            case "tg-emoji":
                entity["custom_emoji_id"] = str(_number(last.attributes.get("emoji-id"), "custom emoji identifier"))
            case "tg-time":
                entity["unix_time"] = _number(last.attributes.get("unix"), "date")
                entity |= {"date_time_format": last.attributes["format"]} if last.attributes.get("format") else {}
            case "pre" | "code":
                entity |= self._code(last, entity)
        if entity["type"]:
            self.entities.append(entity)

    def _code(self, last: _OpenTag, entity: Json) -> Json:
        """<pre><code class="language-x"> is one entity, in either order of the tags."""
        language = last.attributes.get("class", "")
        named = {"language": language[9:]} if last.tag == "code" and language.startswith("language-") else {}
        inner = self.entities[-1] if self.entities else {}
        within = (inner.get("offset"), inner.get("length")) == (entity["offset"], entity["length"])
        if within and {inner["type"], last.tag} == {"code", "pre"} and ("language" in inner or named):
            self.entities.pop()
            return {"type": "pre"} | {"language": inner.get("language")} | named
        return named


def _character(html: str, at: int) -> tuple[str, int]:
    """The character at `at`, decoded, and the position of the next one."""
    found = _CHARACTER.match(html, at)
    decoded = _decode(found) if found else None
    if not found or decoded is None:
        return html[at], at + 1
    return decoded, found.end() + html.startswith(";", found.end())


def _decode(found: re.Match[str]) -> str | None:
    hexadecimal, decimal, name = found.groups()
    if name:
        return _NAMED.get(name)
    code = int(hexadecimal, 16) if hexadecimal else int(decimal)
    return chr(code) if 0 < code < 0x10FFFF and len(found[0]) < 10 else None


def _link(url: str) -> Json:
    if (mentioned := links.mentioned_user_id(url)) is not None:
        return {"type": "text_mention", "user": {"id": mentioned}}
    try:
        return {"url": links.normalize(url)}
    except ValueError:
        return {"type": ""}  # TDLib shows such a link as plain text


def _number(value: str | None, name: str) -> int:
    if not value or not re.fullmatch(r"[0-9]{1,19}", value) or not int(value):
        raise ValueError(f"Invalid {name} specified")
    return int(value)
