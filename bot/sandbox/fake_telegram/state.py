"""The state of the fake Telegram, in memory: users, chats, messages, files, menus."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bot.sandbox.fake_telegram.api_error import Json
from bot.sandbox.fake_telegram.transcript import Transcript
from bot.sandbox.fake_telegram.updates import UpdateQueue
from bot.sandbox.shared.change_notifier import ChangeNotifier
from bot.sandbox.shared.fake_clock import FakeClock

ANONYMOUS_ADMIN = 1087968824
CHANNEL_BOT = 136817688
SUPERGROUP = -1_000_000_000_000
"""Ids below this are supergroups and channels; other negative ids are groups."""


@dataclass
class Chat:
    """`info` is the Bot API's Chat; `messages` are its current Messages by id.

    `members` maps user ids to their status; `bot_status` is member, restricted (muted), kicked or left. `topics` are
    the thread ids of a forum; in `closed_topics` only admins can write.
    """

    info: Json
    messages: dict[int, Json] = field(default_factory=dict)
    members: dict[int, str] = field(default_factory=dict)
    bot_message_ids: set[int] = field(default_factory=set)
    deleted_ids: set[int] = field(default_factory=set)
    topics: set[int] = field(default_factory=set)
    closed_topics: set[int] = field(default_factory=set)
    reactions: dict[int, list[Json]] = field(default_factory=dict)
    bot_status: str = "member"
    migrated_to: int | None = None
    last_id: int = 0

    @property
    def id(self) -> int:
        return int(self.info["id"])

    @property
    def type(self) -> str:
        return str(self.info["type"])


@dataclass
class File:
    """An uploaded file; `id` is the Bot API's file_id, `kind` its media type."""

    id: str
    name: str
    content: bytes = field(repr=False)
    kind: str


@dataclass
class PendingQuery:
    """A callback or inline query that can be answered until `expires_at`; `answer` has the last answer's parameters."""

    id: str
    from_id: int
    expires_at: datetime
    answer: Json | None = None


@dataclass
class FakeTelegramState:
    """One bot, its users and chats. `blocked` are the users who blocked the bot.

    While it is `down`, Telegram does not respond and does not deliver. With `privacy` the bot gets only commands,
    replies to its messages and service messages in groups; without, everything.
    """

    clock: FakeClock
    bot: Json
    changes: ChangeNotifier = field(default_factory=ChangeNotifier)
    users: dict[int, Json] = field(default_factory=dict)
    chats: dict[int, Chat] = field(default_factory=dict)
    blocked: set[int] = field(default_factory=set)
    privacy: bool = False
    down: bool = False
    callback_queries: dict[str, PendingQuery] = field(default_factory=dict)
    inline_queries: dict[str, PendingQuery] = field(default_factory=dict)
    inline_messages: dict[str, Json] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)
    menus: dict[tuple[str, str], list[Json]] = field(default_factory=dict)
    descriptions: dict[tuple[str, str], str] = field(default_factory=dict)
    menu_buttons: dict[int | None, Json] = field(default_factory=dict)
    updates: UpdateQueue = field(init=False)
    transcript: Transcript = field(init=False)
    refused: list[tuple[datetime, str]] = field(default_factory=list)
    """Time and method of the calls that came while Telegram was down."""

    def __post_init__(self) -> None:
        self.updates = UpdateQueue(self.clock)
        self.transcript = Transcript(self.changes)
        self.users[self.bot["id"]] = self.bot

    def now(self) -> datetime:
        return self.clock.now()

    def unix_time(self) -> int:
        """Now, in whole seconds, as the Bot API has dates."""
        return int(self.now().timestamp())

    def add_update(self, kind: str, content: Json, ordering_key: int | str) -> int | None:
        """Queue an update for the bot; returns its id, or None if the bot does not get this kind."""
        return self.updates.add(kind, content, str(ordering_key))

    def add_message(self, chat: Chat, content: Json, *, thread: int | None = None, from_bot: bool = False) -> Json:
        """Add a message to a chat; `content` has all fields but id, date, chat and topic."""
        chat.last_id += 1
        topic = {"message_thread_id": thread, "is_topic_message": True} if thread else {}
        message = {"message_id": chat.last_id, "date": self.unix_time(), "chat": dict(chat.info)} | topic | content
        chat.messages[chat.last_id] = message
        if from_bot:
            chat.bot_message_ids.add(chat.last_id)
        self.changes.notify()
        return message

    def delete_message(self, chat: Chat, message_id: int) -> None:
        """Delete a message; raises LookupError for an unknown one."""
        if message_id not in chat.messages:
            raise LookupError("no such message")
        del chat.messages[message_id]
        chat.deleted_ids.add(message_id)
        self.changes.notify()

    def store_file(self, name: str, content: bytes, kind: str) -> File:
        """Store an uploaded file under a new file_id."""
        number = len(self.files) + 1
        file = File(f"AgACAgQAAxkDAAFake{number:06}", name or f"file_{number}", content, kind)
        self.files[file.id] = file
        return file

    def ensure_user(self, user_id: int, **known: Any) -> Json:
        """The user, created if unknown; the values in `known` that are not None replace the user's fields."""
        user = self.users.setdefault(user_id, {"id": user_id, "is_bot": False, "first_name": f"User {user_id}"})
        user.update({name: value for name, value in known.items() if value is not None})
        return user
