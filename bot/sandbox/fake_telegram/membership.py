"""Who lets the bot in and who shows it the door, groups that become supergroups, and topics that are closed."""

from __future__ import annotations

from bot.sandbox.fake_telegram.api_error import Json
from bot.sandbox.fake_telegram.read_methods import member
from bot.sandbox.fake_telegram.state import SUPERGROUP, Chat, FakeTelegramState
from bot.sandbox.fake_telegram.users import FakeUsers

MEMBER_KEY_OFFSET = 5 << 33
"""Changes of membership keep an order of their own (Bot API server, Client.cpp)."""


class Membership:
    """Each act returns what the control route answers; raises LookupError for an unknown chat, ValueError for nonsense.

    The bot hears of each as `my_chat_member`, of a migration as the two service messages.
    """

    def __init__(self, state: FakeTelegramState, people: FakeUsers) -> None:
        self._state = state
        self._users = people

    def block(self, user_id: int, blocked: bool) -> Json:
        """Let a person block the bot in their private chat, or start it again."""
        if user_id not in self._state.users:
            raise LookupError("no such person")
        chat = self._users.private_chat(user_id)
        if blocked == (user_id in self._state.blocked):
            return {"blocked": blocked, "update_id": None}
        self._state.blocked ^= {user_id}
        update = self._change_status(chat, user_id, "kicked" if blocked else "member")
        return self._record("block", {"user_id": user_id}, {"blocked": blocked, "update_id": update})

    def kick(self, chat_id: int, from_id: int | None = None) -> Json:
        """Throw the bot out of a group or channel; `from_id` does it, or else the first member."""
        chat = self._group(chat_id)
        update = self._change_status(chat, from_id or next(iter(chat.members), None), "kicked")
        return self._record("kick", {"chat_id": chat_id}, {"kicked": True, "update_id": update})

    def add(self, chat_id: int, from_id: int) -> Json:
        """Let `from_id` bring the bot into a group, which appears if it is new."""
        self._state.ensure_user(from_id)
        chat = self._users.group(chat_id, None)
        if chat.bot_status == "member" and chat.last_id:
            raise ValueError("the bot is there already")
        chat.members.setdefault(from_id, "member")
        chat.bot_status = "left"
        update = self._change_status(chat, from_id, "member")
        came = {"from": dict(self._state.users[from_id]), "new_chat_members": [dict(self._state.bot)]}
        self._state.add_update("message", self._state.add_message(chat, came), chat.id)
        return self._record("add", {"chat_id": chat_id, "from_id": from_id}, {"added": True, "update_id": update})

    def migrate(self, chat_id: int) -> Json:
        """Make a group a supergroup with another id; the old one takes no messages any more."""
        old = self._group(chat_id)
        if old.type != "group" or old.migrated_to is not None:
            raise ValueError("only a group can become a supergroup, and only once")
        number = SUPERGROUP - 1_500_000_000 - abs(chat_id)
        new = Chat({"id": number, "type": "supergroup", "title": old.info["title"]}, members=dict(old.members))
        self._state.chats[number] = new
        author = {"from": dict(self._state.users[next(iter(old.members), self._state.bot["id"])])}
        left = self._state.add_message(old, author | {"migrate_to_chat_id": number})
        came = self._state.add_message(new, author | {"migrate_from_chat_id": chat_id})
        old.migrated_to = number
        self._state.add_update("message", left, chat_id)
        self._state.add_update("message", came, number)
        return self._record("migrate", {"chat_id": chat_id}, {"chat_id": number})

    def close_topic(self, chat_id: int, thread: int, closed: bool) -> Json:
        """Let nobody but admins write in a topic of a forum, or everybody again."""
        chat = self._group(chat_id)
        if thread not in chat.topics:
            raise LookupError("no such topic")
        answer: Json = {"closed": closed, "update_id": None}
        if closed != (thread in chat.closed_topics):
            chat.closed_topics ^= {thread}
            word = "forum_topic_closed" if closed else "forum_topic_reopened"
            author = {"from": dict(self._state.users[next(iter(chat.members), self._state.bot["id"])])}
            told = self._state.add_message(chat, author | {word: {}}, thread=thread)
            answer["update_id"] = self._state.add_update("message", told, chat_id)
        return self._record("topics", {"chat_id": chat_id, "message_thread_id": thread}, answer)

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
