"""Everything that the pretend Telegram knows: its people, chats, messages, files and menus, in memory."""

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
"""Ids below this are supergroups and channels, other negative ones are groups."""


@dataclass
class Chat:
    """`info` is the Bot API's Chat; `messages` are its Messages as they stand now, by their id.

    `members` maps people to their status, `bot` is the bot's own (member, kicked, left). `mine` are the ids of the
    bot's messages, `gone` those of deleted ones. A forum's `topics` are the thread ids that exist, `closed` those of
    them in which only admins may write.
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
    """What was uploaded; `id` is the Bot API's file_id."""

    id: str
    name: str
    content: bytes = field(repr=False)
    kind: str


@dataclass
class PendingQuery:
    """A tap or an inline query that can be answered until `until`; `answer` is what the bot said last."""

    id: str
    from_id: int
    expires_at: datetime
    answer: Json | None = None


@dataclass
class FakeTelegramState:
    """One bot and everybody around it. `blocked` are people who blocked the bot.

    While it is `down`, Telegram answers nothing and brings nothing. With `privacy` the bot hears in groups only
    commands, replies to it and service messages; without, everything.
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

    def __post_init__(self) -> None:
        self.updates = UpdateQueue(self.clock)
        self.transcript = Transcript(self.changes)
        self.users[self.bot["id"]] = self.bot

    def now(self) -> datetime:
        return self.clock.now()

    def unix_time(self) -> int:
        """Now, as the Bot API writes dates: whole seconds."""
        return int(self.now().timestamp())

    def add_update(self, kind: str, content: Json, ordering_key: int | str) -> int | None:
        """Let the bot hear of it; returns the update's number, or None if it does not want to."""
        return self.updates.add(kind, content, str(ordering_key))

    def add_message(self, chat: Chat, content: Json, *, thread: int | None = None, from_bot: bool = False) -> Json:
        """Add a message at the end of a chat; `content` is what the message is about, and who it is from."""
        chat.last_id += 1
        topic = {"message_thread_id": thread, "is_topic_message": True} if thread else {}
        message = {"message_id": chat.last_id, "date": self.unix_time(), "chat": dict(chat.info)} | topic | content
        chat.messages[chat.last_id] = message
        if from_bot:
            chat.bot_message_ids.add(chat.last_id)
        self.changes.notify()
        return message

    def delete_message(self, chat: Chat, message_id: int) -> None:
        """Take a message away for everybody; raises LookupError if it is not there."""
        if message_id not in chat.messages:
            raise LookupError("no such message")
        del chat.messages[message_id]
        chat.deleted_ids.add(message_id)
        self.changes.notify()

    def store_file(self, name: str, content: bytes, kind: str) -> File:
        """Store what was uploaded under a new file_id."""
        number = len(self.files) + 1
        file = File(f"AgACAgQAAxkDAAPretend{number:06}", name or f"file_{number}", content, kind)
        self.files[file.id] = file
        return file

    def ensure_user(self, user_id: int, **known: Any) -> Json:
        """Somebody, who appears by being named; what is `known` of him replaces what was."""
        user = self.users.setdefault(user_id, {"id": user_id, "is_bot": False, "first_name": f"User {user_id}"})
        user.update({name: value for name, value in known.items() if value is not None})
        return user
