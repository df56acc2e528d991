"""Membership of the bot: block, kick, mute, add; also group migration and closed topics."""

from __future__ import annotations

from bot.sandbox.fake_telegram.api_error import Json
from bot.sandbox.fake_telegram.read_methods import member
from bot.sandbox.fake_telegram.state import SUPERGROUP, Chat, FakeTelegramState
from bot.sandbox.fake_telegram.users import FakeUsers

MEMBER_KEY_OFFSET = 5 << 33
"""Membership updates have their own ordering key per chat (Bot API server, Client.cpp)."""


class Membership:
    """Each action returns the response of the control route.

    Raises LookupError for an unknown chat, ValueError for an impossible action. The bot gets a `my_chat_member`
    update, or two service messages for a migration.
    """

    def __init__(self, state: FakeTelegramState, users: FakeUsers) -> None:
        self._state = state
        self._users = users

    def block(self, user_id: int, blocked: bool) -> Json:
        """A user blocks the bot, or starts it again."""
        if user_id not in self._state.users:
            raise LookupError("no such user")
        chat = self._users.private_chat(user_id)
        if blocked == (user_id in self._state.blocked):
            return {"blocked": blocked, "update_id": None}
        self._state.blocked ^= {user_id}
        update = self._change_status(chat, user_id, "kicked" if blocked else "member")
        return self._record("block", {"user_id": user_id}, {"blocked": blocked, "update_id": update})

    def kick(self, chat_id: int, from_id: int | None = None) -> Json:
        """Remove the bot from a group or channel, as `from_id` or the first member."""
        chat = self._group(chat_id)
        update = self._change_status(chat, from_id or next(iter(chat.members), None), "kicked")
        return self._record("kick", {"chat_id": chat_id}, {"kicked": True, "update_id": update})

    def mute(self, chat_id: int, from_id: int, muted: bool) -> Json:
        """`from_id` forbids the bot to send messages in a group, or allows it again."""
        chat, status = self._group(chat_id), "restricted" if muted else "member"
        update = None if chat.bot_status == status else self._change_status(chat, from_id, status)
        return self._record("mute", {"chat_id": chat_id}, {"muted": muted, "update_id": update})

    def add(self, chat_id: int, from_id: int) -> Json:
        """`from_id` adds the bot to a group; an unknown group is created."""
        self._state.ensure_user(from_id)
        chat = self._users.group(chat_id, None)
        if chat.bot_status == "member" and chat.last_id:
            raise ValueError("the bot is already a member")
        chat.members.setdefault(from_id, "member")
        chat.bot_status = "left"
        update = self._change_status(chat, from_id, "member")
        joined = {"from": dict(self._state.users[from_id]), "new_chat_members": [dict(self._state.bot)]}
        self._state.add_update("message", self._state.add_message(chat, joined), chat.id)
        return self._record("add", {"chat_id": chat_id, "from_id": from_id}, {"added": True, "update_id": update})

    def migrate(self, chat_id: int) -> Json:
        """Upgrade a group to a supergroup with another id; the bot cannot send to the old id any more."""
        old = self._group(chat_id)
        if old.type != "group" or old.migrated_to is not None:
            raise ValueError("only a group can become a supergroup, and only once")
        number = SUPERGROUP - 1_500_000_000 - abs(chat_id)
        new = Chat({"id": number, "type": "supergroup", "title": old.info["title"]}, members=dict(old.members))
        self._state.chats[number] = new
        author = {"from": dict(self._state.users[next(iter(old.members), self._state.bot["id"])])}
        left = self._state.add_message(old, author | {"migrate_to_chat_id": number})
        joined = self._state.add_message(new, author | {"migrate_from_chat_id": chat_id})
        old.migrated_to = number
        self._state.add_update("message", left, chat_id)
        self._state.add_update("message", joined, number)
        return self._record("migrate", {"chat_id": chat_id}, {"chat_id": number})

    def close_topic(self, chat_id: int, thread: int, closed: bool) -> Json:
        """Close a topic of a forum, so that only admins can write in it, or reopen it."""
        chat = self._group(chat_id)
        if thread not in chat.topics:
            raise LookupError("no such topic")
        result: Json = {"closed": closed, "update_id": None}
        if closed != (thread in chat.closed_topics):
            chat.closed_topics ^= {thread}
            event = "forum_topic_closed" if closed else "forum_topic_reopened"
            author = {"from": dict(self._state.users[next(iter(chat.members), self._state.bot["id"])])}
            message = self._state.add_message(chat, author | {event: {}}, thread=thread)
            result["update_id"] = self._state.add_update("message", message, chat_id)
        return self._record("topics", {"chat_id": chat_id, "message_thread_id": thread}, result)

    def _group(self, chat_id: int) -> Chat:
        chat = self._users.chat(chat_id)
        if chat.type == "private":
            raise ValueError("this is a private chat")
        return chat

    def _change_status(self, chat: Chat, by: int | None, status: str) -> int | None:
        before, chat.bot_status = chat.bot_status, status if chat.type != "private" else chat.bot_status
        if chat.type == "private":
            before = "member" if status == "kicked" else "kicked"
        content = {
            "chat": dict(chat.info),
            "from": dict(self._state.ensure_user(by if by is not None else self._state.bot["id"])),
            "date": self._state.unix_time(),
            "old_chat_member": member(self._state.bot, before),
            "new_chat_member": member(self._state.bot, status),
        }
        return self._state.add_update("my_chat_member", content, chat.id + MEMBER_KEY_OFFSET)

    def _record(self, method: str, params: Json, result: Json) -> Json:
        self._state.transcript.add(self._state.now(), "in", method, params, result)
        self._state.changes.notify()
        return result
