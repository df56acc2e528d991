"""Parses a raw Telegram update into our types: message, button press, inline query, chat changes; None for others."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import telegram
from telegram.constants import ChatMemberStatus, ChatType

from handlers.access.membership import Actor
from storage.models.payment import ChatTarget

COMMAND = re.compile(r"/([A-Za-z0-9_]{1,32})(?:@([A-Za-z0-9_]{1,64}))?(?=\s|$)")
SHUT_OUT = frozenset({ChatMemberStatus.LEFT, ChatMemberStatus.BANNED})


@dataclass(frozen=True)
class IncomingMessage:
    """A message. `command` is None for plain text, `addressed_bot` the bot it names, `sent_at` Telegram's time (UTC).

    `args` is the text behind the command, `reply_to_message_id` the message it replies to.
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
    """The bot was added to a chat or removed from it."""

    chat_id: int
    open: bool


Update = IncomingMessage | CallbackQuery | InlineQuery | ChosenInlineResult | ChatMigrated | BotAccessChanged | None


LARGEST = 2**63
"""Ids are below this on every database; Telegram's own have 52 bits."""


def parse_update(raw: bytes) -> Update:
    """The update as one of our types; None if Kvit has no use for it.

    Raises:
        Exception: of any kind; it is no update of Telegram's.
    """
    update = _read(telegram.Update.de_json(json.loads(raw), None))
    if update is not None:
        _refuse_odd(asdict(update))
    return update


def _refuse_odd(said: dict[str, Any]) -> None:
    """Reject numbers that no database stores, and values of the wrong type."""
    for name, value in said.items():
        if isinstance(value, dict):
            _refuse_odd(value)
        elif isinstance(value, int) and not -LARGEST < value < LARGEST:
            raise ValueError(f"{name} is too large")
        elif value is not None and not isinstance(value, int | str | datetime):
            raise TypeError(f"{name} is a {type(value).__name__}")
        elif (name == "id" or name.endswith("_id")) and name not in WORDS and isinstance(value, str):
            raise TypeError(f"{name} is no number")


WORDS = frozenset({"query_id", "inline_message_id", "result_id"})
"""Ids that are strings."""


def _read(update: telegram.Update) -> Update:
    if update.message is not None:
        return _message(update.message)
    if update.callback_query is not None:
        return _callback(update.callback_query)
    if update.inline_query is not None:
        query = update.inline_query
        return InlineQuery(_actor(query.from_user), query.id, query.query)
    if update.chosen_inline_result is not None:
        chosen = update.chosen_inline_result
        return ChosenInlineResult(_actor(chosen.from_user), chosen.result_id, chosen.inline_message_id)
    if update.my_chat_member is not None:
        return _access(update.my_chat_member)
    return None


def _message(message: telegram.Message) -> Update:
    if message.migrate_to_chat_id is not None:
        return ChatMigrated(message.chat.id, message.migrate_to_chat_id)
    if message.migrate_from_chat_id is not None:
        return ChatMigrated(message.migrate_from_chat_id, message.chat.id)
    sender = message.from_user
    if sender is None or (sender.is_bot and message.sender_chat is None) or message.text is None or message.via_bot:
        return None
    if message.chat.type == ChatType.CHANNEL or not message.message_id:
        return None
    command = COMMAND.match(message.text)
    return IncomingMessage(
        actor=_actor(sender),
        chat=ChatTarget(message.chat.id, message.message_thread_id if message.is_topic_message else None),
        message_id=message.message_id,
        sent_at=message.date,
        command=command[1].lower() if command else None,
        addressed_bot=command[2] if command else None,
        args=(message.text[command.end() :] if command else message.text).strip(),
        reply_to_message_id=_replied_message_id(message),
        is_anonymous=message.sender_chat is not None,
        forwarded=message.forward_origin is not None,
    )


def _replied_message_id(message: telegram.Message) -> int | None:
    """The message it replies to; in a topic every message seems to reply to the one that opened the topic."""
    replied = message.reply_to_message
    if replied is None or replied.forum_topic_created is not None:
        return None
    return replied.message_id


def _callback(query: telegram.CallbackQuery) -> Update:
    if not query.data:
        return None
    if query.message is None:
        chat = ChatTarget(query.from_user.id, None, query.inline_message_id)
        return (
            CallbackQuery(_actor(query.from_user), chat, None, query.id, query.data) if chat.inline_message_id else None
        )
    thread = query.message.message_thread_id if isinstance(query.message, telegram.Message) else None
    topical = isinstance(query.message, telegram.Message) and query.message.is_topic_message
    return CallbackQuery(
        actor=_actor(query.from_user),
        chat=ChatTarget(query.message.chat.id, thread if topical else None),
        message_id=query.message.message_id,
        query_id=query.id,
        data=query.data.encode(errors="replace").decode(),  # a lone surrogate cannot be stored
    )


def _actor(user: telegram.User) -> Actor:
    return Actor(user.id, user.first_name, user.language_code)


def _access(change: telegram.ChatMemberUpdated) -> BotAccessChanged:
    return BotAccessChanged(change.chat.id, change.new_chat_member.status not in SHUT_OUT)
