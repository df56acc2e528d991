"""Parses a raw Telegram update into our types: message, button press, inline query, chat changes; None for others.

It reads the fields that Kvit uses from the JSON itself, so that no other field of an update can make it unreadable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from handlers.access.membership import Actor
from storage.models.payment import ChatTarget

COMMAND = re.compile(r"/([A-Za-z0-9_]{1,32})(?:@([A-Za-z0-9_]{1,64}))?(?=\s|$)")
REFERENCE_MARK = re.compile(r"(?<!\w)#([A-Z][0-9][0-9A-Z]{2,6})(?!\w)")
SHUT_OUT = frozenset({"left", "kicked"})
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LARGEST = 2**63
"""Ids are below this on every database; Telegram's own have 52 bits."""

MAX_LINKS = 50
"""Hidden links of a message that are read."""

MAX_DEPTH = 32
"""Levels of a rich message that are read; deeper text is left out."""

Json = dict[str, Any]


@dataclass(frozen=True)
class IncomingMessage:
    """A message. `command` is None for plain text, `addressed_bot` the bot it names, `sent_at` Telegram's time (UTC).

    `args` is the text behind the command, `reply_to_message_id` the message it replies to. If a bot wrote that one,
    `reply_to_bot` is its username and `reply_to_references` are the references of payments in it. Without words, and in
    a private chat if Telegram gave it no id or it was sent by way of a bot, it is no command and `args` is empty.
    `via_bot` is the inline bot that made it, `album` the group of pictures that it belongs to, `links` the addresses
    behind its words.
    """

    actor: Actor
    chat: ChatTarget
    message_id: int
    sent_at: datetime
    command: str | None
    addressed_bot: str | None
    args: str
    reply_to_message_id: int | None
    is_anonymous: bool
    forwarded: bool
    reply_to_bot: str | None = None
    reply_to_references: tuple[str, ...] = ()
    via_bot: str | None = None
    album: str | None = None
    links: tuple[str, ...] = ()

    @property
    def request_key(self) -> str:
        """The key of the payment that this message requests."""
        return f"message:{self.chat.chat_id}:{self.message_id}"


@dataclass(frozen=True)
class CallbackQuery:
    """A pressed button of one of our messages; `data` can be forged, `message_id` cannot.

    Under an inline message there is no `message_id`; `chat` is the person's private chat with the `inline_message_id`.
    """

    actor: Actor
    chat: ChatTarget
    message_id: int | None
    query_id: str
    data: str


@dataclass(frozen=True)
class InlineQuery:
    """A person types behind the bot's name, in any chat."""

    actor: Actor
    query_id: str
    query: str


@dataclass(frozen=True)
class ChosenInlineResult:
    """A person sent one of the results; `inline_message_id` is the message that it became, if Telegram says so."""

    actor: Actor
    result_id: str
    inline_message_id: str | None


@dataclass(frozen=True)
class ChatMigrated:
    """A group became a supergroup with another id."""

    old: int
    new: int


@dataclass(frozen=True)
class BotAccessChanged:
    """The bot was added to a chat or removed from it, or may write there or not."""

    chat_id: int
    open: bool


Update = IncomingMessage | CallbackQuery | InlineQuery | ChosenInlineResult | ChatMigrated | BotAccessChanged | None


def parse_update(raw: bytes) -> Update:
    """The update as one of our types; None if Kvit has no use for it.

    Raises:
        ValueError, RecursionError: it is no JSON object, or does not say in which chat it is or from whom.
    """
    update = json.loads(raw)
    if not isinstance(update, dict):
        raise ValueError("an update is an object")
    for name, read in _READERS.items():
        if name in update:
            return read(_object(update, name))
    return None


def _message(message: Json) -> Update:
    chat = _object(message, "chat")
    chat_id = _id(chat, "id")
    moved_to, moved_from = _int(message, "migrate_to_chat_id"), _int(message, "migrate_from_chat_id")
    if moved_to or moved_from:
        return ChatMigrated(moved_from or chat_id, moved_to or chat_id)
    if chat.get("type") == "channel" or message.get("from") is None:
        return None
    is_anonymous = message.get("sender_chat") is not None
    sender = _object(message, "from")
    if sender.get("is_bot") is True and not is_anonymous:
        return None
    message_id = _int(message, "message_id") or 0
    words, is_caption = _words(message)
    is_private, counts = chat_id > 0, bool(message_id) and message.get("via_bot") is None
    command = COMMAND.match(words) if counts and (is_private or not is_caption) else None
    if is_private and not counts:
        words = ""
    return IncomingMessage(
        actor=_actor(sender),
        chat=ChatTarget(chat_id, _topic(message)),
        message_id=message_id,
        sent_at=_time(message, "date"),
        command=command[1].lower() if command else None,
        addressed_bot=command[2] if command else None,
        args=(words[command.end() :] if command else words).strip(),
        reply_to_message_id=_replied_message_id(message),
        is_anonymous=is_anonymous,
        forwarded=message.get("forward_origin") is not None,
        **_replied_bot(message),
        via_bot=None if message.get("via_bot") is None else _text(_object_or_empty(message, "via_bot"), "username"),
        album=_text(message, "media_group_id") or None,
        links=tuple(islice(_links(message), MAX_LINKS)),
    )


def _links(message: Json) -> Iterator[str]:
    """The addresses behind words of the message, where Telegram puts them: in entities and in rich texts."""
    for name in ("entities", "caption_entities", "rich_message"):
        yield from _urls(message.get(name), 0)


def _urls(part: object, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        return
    if isinstance(part, dict):
        if url := _text(part, "url"):
            yield url
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from _urls(inner, depth + 1)


def _words(message: Json) -> tuple[str, bool]:
    """What the message says, wherever Telegram puts it: `text`, `rich_message` or `caption`; whether it is a caption.

    https://core.telegram.org/bots/api#message, https://core.telegram.org/bots/api#richmessage
    """
    if text := _text(message, "text"):
        return text, False
    if rich := "\n".join(_blocks(_object_or_empty(message, "rich_message").get("blocks"), 0)):
        return rich, False
    return _text(message, "caption"), True


def _blocks(blocks: object, depth: int) -> Iterator[str]:
    """The texts of the blocks of a rich message, in order; a block may hold others."""
    if depth > MAX_DEPTH:
        return
    for block in blocks if isinstance(blocks, list) else ():
        if isinstance(block, list):  # a row of a table
            yield from _blocks(block, depth + 1)
        if not isinstance(block, dict):
            continue
        for name in ("summary", "text", "expression"):
            if line := _inline(block.get(name), depth + 1):
                yield line
        for name in ("blocks", "items", "cells"):
            yield from _blocks(block.get(name), depth + 1)
        caption = block.get("caption")
        if line := _inline(caption, depth + 1):
            yield line


def _inline(text: object, depth: int) -> str:
    """A rich text: a string, a list of rich texts, or an object that formats one."""
    if isinstance(text, str):
        return _storable(text)
    if depth > MAX_DEPTH:
        return ""
    if isinstance(text, list):
        return "".join(_inline(part, depth + 1) for part in text)
    if isinstance(text, dict):
        return _inline(next((text[name] for name in _INLINE if name in text), ""), depth + 1)
    return ""


_INLINE = ("text", "alternative_text", "expression")


def _replied_message_id(message: Json) -> int | None:
    """The message it replies to; in a topic every message seems to reply to the one that opened the topic."""
    replied = _object_or_empty(message, "reply_to_message")
    return None if "forum_topic_created" in replied else _int(replied, "message_id")


def _replied_bot(message: Json) -> Json:
    """The bot whose message it replies to, and the references in that message."""
    replied = _object_or_empty(message, "reply_to_message")
    author = _object_or_empty(replied, "from")
    if author.get("is_bot") is not True:
        return {}
    references = REFERENCE_MARK.findall(_text(replied, "text") or _text(replied, "caption"))
    username = _text(author, "username") or None
    return {"reply_to_bot": username, "reply_to_references": tuple(dict.fromkeys(references))}


def _callback(query: Json) -> Update:
    actor, data = _actor(_object(query, "from")), _text(query, "data")
    query_id = _text(query, "id")
    if not query_id:
        raise ValueError("a button press without an id")
    if not query.get("data"):
        return None
    if query.get("message") is None:
        inline_id = _text(query, "inline_message_id")
        return CallbackQuery(actor, ChatTarget(actor.id, None, inline_id), None, query_id, data) if inline_id else None
    message = _object(query, "message")
    chat = ChatTarget(_id(_object(message, "chat"), "id"), _topic(message))
    return CallbackQuery(actor, chat, _id(message, "message_id"), query_id, data)


def _inline_query(query: Json) -> InlineQuery:
    return InlineQuery(_actor(_object(query, "from")), _text(query, "id"), _text(query, "query"))


def _chosen_result(chosen: Json) -> ChosenInlineResult:
    inline_id = _text(chosen, "inline_message_id") or None
    return ChosenInlineResult(_actor(_object(chosen, "from")), _text(chosen, "result_id"), inline_id)


def _access(change: Json) -> BotAccessChanged:
    member = _object(change, "new_chat_member")
    is_muted = member.get("status") == "restricted" and member.get("can_send_messages") is False
    is_open = not is_muted and member.get("status") not in SHUT_OUT
    return BotAccessChanged(_id(_object(change, "chat"), "id"), is_open)


_READERS = {
    "message": _message,
    "callback_query": _callback,
    "inline_query": _inline_query,
    "chosen_inline_result": _chosen_result,
    "my_chat_member": _access,
}


def _actor(user: Json) -> Actor:
    return Actor(_id(user, "id"), _text(user, "first_name"), _text(user, "language_code") or None)


def _topic(message: Json) -> int | None:
    return _int(message, "message_thread_id") if message.get("is_topic_message") is True else None


def _object(found: Json, name: str) -> Json:
    """An object that the update cannot do without."""
    value = found.get(name)
    if not isinstance(value, dict):
        raise ValueError(f"{name} is no object")
    return value


def _object_or_empty(found: Json, name: str) -> Json:
    value = found.get(name)
    return value if isinstance(value, dict) else {}


def _id(found: Json, name: str) -> int:
    """An id that the update cannot do without."""
    value = _int(found, name)
    if not value:
        raise ValueError(f"{name} is no id")
    return value


def _int(found: Json, name: str) -> int | None:
    """A whole number that every database can store; None for anything else."""
    value = found.get(name)
    return value if type(value) is int and -LARGEST < value < LARGEST else None


def _text(found: Json, name: str) -> str:
    """A string; empty for anything else."""
    value = found.get(name)
    return _storable(value) if isinstance(value, str) else ""


def _storable(text: str) -> str:
    """The text without what cannot be stored: a lone surrogate, and on PostgreSQL NUL."""
    return text.encode(errors="replace").decode().replace("\0", "")


def _time(found: Json, name: str) -> datetime:
    """A time in UTC; the epoch if there is none, so that a command without a time counts as late."""
    try:
        return datetime.fromtimestamp(_int(found, name) or 0, UTC)
    except (OverflowError, OSError, ValueError):
        return EPOCH
