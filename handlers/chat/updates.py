"""Reads a raw update of Telegram: a command, plain words, a tap, or news about a chat; anything else is nothing."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from telegram import CallbackQuery, ChatMemberUpdated, Message, Update, User
from telegram.constants import ChatMemberStatus, ChatType

from handlers.access.membership import Person
from storage.models.payment import Place

COMMAND = re.compile(r"/([A-Za-z0-9_]{1,32})(?:@([A-Za-z0-9_]{1,64}))?(?=\s|$)")
SHUT_OUT = frozenset({ChatMemberStatus.LEFT, ChatMemberStatus.BANNED})


@dataclass(frozen=True)
class Said:
    """A message. `command` is None for plain words; `to_bot` whether it names a bot, `at` when Telegram took it in.

    `rest` is what stands behind the command. `answers` is the message it replies to.
    """

    person: Person
    place: Place
    message_id: int
    at: datetime
    command: str | None
    to_bot: str | None
    rest: str
    answers: int | None
    nameless: bool
    forwarded: bool

    @property
    def source(self) -> str:
        """What a payment that is asked for by this message is made from."""
        return f"message:{self.place.chat_id}:{self.message_id}"


@dataclass(frozen=True)
class Tapped:
    """A button that was pressed under a message of ours; `data` can be forged, `message_id` cannot.

    Under a message of inline mode there is no `message_id`, and the place is the person's own with its `inline_id`.
    """

    person: Person
    place: Place
    message_id: int | None
    query_id: str
    data: str


@dataclass(frozen=True)
class InlineAsked:
    """Somebody types behind the bot's name, in any chat."""

    person: Person
    query_id: str
    words: str


@dataclass(frozen=True)
class InlineChosen:
    """Somebody sent one of the results; `inline_id` is the message that it became, where Telegram tells it."""

    person: Person
    offer_id: str
    inline_id: str | None


@dataclass(frozen=True)
class Moved:
    """A group became a supergroup with another id."""

    old: int
    new: int


@dataclass(frozen=True)
class Access:
    """The bot was let into a chat or shut out of it."""

    chat_id: int
    open: bool


News = Said | Tapped | InlineAsked | InlineChosen | Moved | Access | None


LARGEST = 2**63
"""Ids are below it on every database; Telegram's own have 52 bits."""


def read(raw: bytes) -> News:
    """What the update says, in our words.

    Raises:
        Exception: of whatever kind; it is none of Telegram's.
    """
    news = _news(Update.de_json(json.loads(raw), None))
    if news is not None:
        _refuse_odd(asdict(news))
    return news


def _refuse_odd(said: dict[str, Any]) -> None:
    """Numbers that no database keeps, and things that stand where a number or a word should."""
    for name, value in said.items():
        if isinstance(value, dict):
            _refuse_odd(value)
        elif isinstance(value, int) and not -LARGEST < value < LARGEST:
            raise ValueError(f"{name} is too large")
        elif value is not None and not isinstance(value, int | str | datetime):
            raise TypeError(f"{name} is a {type(value).__name__}")
        elif (name == "id" or name.endswith("_id")) and name not in WORDS and isinstance(value, str):
            raise TypeError(f"{name} is no number")


WORDS = frozenset({"query_id", "inline_id", "offer_id"})
"""Ids that are words."""


def _news(update: Update) -> News:
    if update.message is not None:
        return _message(update.message)
    if update.callback_query is not None:
        return _tap(update.callback_query)
    if update.inline_query is not None:
        query = update.inline_query
        return InlineAsked(_person(query.from_user), query.id, query.query)
    if update.chosen_inline_result is not None:
        chosen = update.chosen_inline_result
        return InlineChosen(_person(chosen.from_user), chosen.result_id, chosen.inline_message_id)
    if update.my_chat_member is not None:
        return _access(update.my_chat_member)
    return None


def _message(message: Message) -> News:
    if message.migrate_to_chat_id is not None:
        return Moved(message.chat.id, message.migrate_to_chat_id)
    if message.migrate_from_chat_id is not None:
        return Moved(message.migrate_from_chat_id, message.chat.id)
    sender = message.from_user
    if sender is None or (sender.is_bot and message.sender_chat is None) or message.text is None or message.via_bot:
        return None
    if message.chat.type == ChatType.CHANNEL or not message.message_id:
        return None
    command = COMMAND.match(message.text)
    return Said(
        person=_person(sender),
        place=Place(message.chat.id, message.message_thread_id if message.is_topic_message else None),
        message_id=message.message_id,
        at=message.date,
        command=command[1].lower() if command else None,
        to_bot=command[2] if command else None,
        rest=(message.text[command.end() :] if command else message.text).strip(),
        answers=_answered(message),
        nameless=message.sender_chat is not None,
        forwarded=message.forward_origin is not None,
    )


def _answered(message: Message) -> int | None:
    """The message it replies to; in a topic every message seems to reply to the one that opened it."""
    replied = message.reply_to_message
    if replied is None or replied.forum_topic_created is not None:
        return None
    return replied.message_id


def _tap(query: CallbackQuery) -> News:
    if not query.data:
        return None
    if query.message is None:
        place = Place(query.from_user.id, None, query.inline_message_id)
        return Tapped(_person(query.from_user), place, None, query.id, query.data) if place.inline_id else None
    thread = query.message.message_thread_id if isinstance(query.message, Message) else None
    topical = isinstance(query.message, Message) and query.message.is_topic_message
    return Tapped(
        person=_person(query.from_user),
        place=Place(query.message.chat.id, thread if topical else None),
        message_id=query.message.message_id,
        query_id=query.id,
        data=query.data.encode(errors="replace").decode(),  # half a character can be kept nowhere
    )


def _person(user: User) -> Person:
    return Person(user.id, user.first_name, user.language_code)


def _access(change: ChatMemberUpdated) -> Access:
    return Access(change.chat.id, change.new_chat_member.status not in SHUT_OUT)
