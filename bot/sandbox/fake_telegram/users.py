"""Actions of users: send and edit messages, press buttons, delete messages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from bot.sandbox.fake_telegram import entities
from bot.sandbox.fake_telegram.api_error import Json
from bot.sandbox.fake_telegram.send_methods import without_reply
from bot.sandbox.fake_telegram.state import (
    ANONYMOUS_ADMIN,
    CHANNEL_BOT,
    SUPERGROUP,
    Chat,
    FakeTelegramState,
    PendingQuery,
)

CALLBACK_TTL_SECONDS = 300
"""Seconds for which a callback query can be answered. Telegram does not document it; reports say some minutes."""

ANONYMOUS = (ANONYMOUS_ADMIN, "Group", "GroupAnonymousBot")
CHANNEL = (CHANNEL_BOT, "Channel", "Channel_Bot")
CHAT_TYPES = ("private", "group", "supergroup", "channel")
CALLBACK_KEY_OFFSET = 3 << 33
"""Callback queries have their own ordering key per user (Bot API server, Client.cpp)."""


@dataclass(frozen=True)
class UserMessage:
    """A message that a user sends, or with `edit_message_id` an edit of an earlier message.

    `sender_chat` is the chat on whose behalf the user writes: the group itself for an anonymous admin. `is_bot` makes
    the sender another bot. A `message_thread_id` makes a supergroup a forum with this topic.
    """

    chat_id: int
    from_id: int
    text: str
    reply_to_message_id: int | None = None
    edit_message_id: int | None = None
    message_thread_id: int | None = None
    language_code: str | None = None
    first_name: str | None = None
    sender_chat: int | None = None
    chat_type: str | None = None
    is_bot: bool | None = None


class FakeUsers:
    """Each action returns the response of the control route, with the `update_id` (None: the bot gets no update).

    Raises LookupError for an unknown chat or message, ValueError for an impossible action.
    """

    def __init__(self, state: FakeTelegramState) -> None:
        self._state = state
        self._last_callback_id = 4_382_001_993_000_000_000

    def send(self, sent: UserMessage) -> Json:
        """Send or edit a message. Unknown chats and users are created."""
        chat = self._chat_to_write_in(sent)
        user = self._state.ensure_user(
            sent.from_id, language_code=sent.language_code, first_name=sent.first_name, is_bot=sent.is_bot
        )
        if chat.type == "private":
            chat.info["first_name"] = user["first_name"]
        else:
            chat.members.setdefault(sent.from_id, "member")
        found = entities.find_entities(sent.text, [])
        content: Json = {"text": sent.text} | ({"entities": found} if found else {})
        if sent.edit_message_id is not None:
            return self._edit(chat, sent, content)
        message = self._state.add_message(
            chat, self._author(chat, sent) | self._reply(chat, sent) | content, thread=sent.message_thread_id
        )
        kind = "channel_post" if chat.type == "channel" else "message"
        return self._record_message(kind, chat, message, vars(sent), bot_receives=self._bot_receives(chat, message))

    def press_button(self, message_id: int, from_id: int, data: str, chat_id: int | None = None) -> Json:
        """Press a button; any `data` is possible, because a client can forge it."""
        chat = self._chat_with_message(message_id, from_id, chat_id)
        shown = chat.messages.get(message_id)
        message: Json = shown or {"chat": dict(chat.info), "message_id": message_id, "date": 0}
        content = {"message": message, "chat_instance": str(7_000_000_000 + abs(chat.id)), "data": data}
        params = {"chat_id": chat.id, "message_id": message_id, "from_id": from_id, "data": data}
        return self._add_callback_query(from_id, content, params)

    def press_inline_button(self, inline_message_id: str, from_id: int, data: str) -> Json:
        """Press a button of a message that was sent in inline mode."""
        if inline_message_id not in self._state.inline_messages:
            raise LookupError("no such inline message")
        content = {"inline_message_id": inline_message_id, "chat_instance": "6000000001", "data": data}
        params = {"inline_message_id": inline_message_id, "from_id": from_id, "data": data}
        return self._add_callback_query(from_id, content, params)

    def delete_message(self, chat_id: int, message_id: int) -> Json:
        """Delete a message; a bot gets no update about it."""
        self._state.delete_message(self.chat(chat_id), message_id)
        return self._record("delete", {"chat_id": chat_id, "message_id": message_id}, {"deleted": True})

    def chat(self, chat_id: int) -> Chat:
        """The chat; raises LookupError for an unknown one."""
        if chat_id not in self._state.chats:
            raise LookupError("no such chat")
        return self._state.chats[chat_id]

    def private_chat(self, user_id: int) -> Chat:
        """The private chat of a user with the bot, created if missing."""
        user = self._state.ensure_user(user_id)
        info = {"id": user_id, "type": "private", "first_name": user["first_name"]}
        return self._state.chats.setdefault(user_id, Chat(info, members={user_id: "member"}))

    def group(self, chat_id: int, kind: str | None) -> Chat:
        """The group, supergroup or channel, created if missing; without `kind` its id decides."""
        if kind is not None and kind not in CHAT_TYPES:
            raise ValueError(f"chat_type is one of {', '.join(CHAT_TYPES)}")
        kind = kind or ("supergroup" if chat_id < SUPERGROUP else "group")
        if kind == "private" or chat_id >= 0:
            raise ValueError("a private chat has the id of its user, every other chat a negative id")
        info = {"id": chat_id, "type": kind, "title": f"{kind.capitalize()} {abs(chat_id)}"}
        return self._state.chats.setdefault(chat_id, Chat(info))

    def _chat_to_write_in(self, sent: UserMessage) -> Chat:
        if sent.chat_id > 0:
            return self._private_chat_to_write_in(sent)
        chat = self.group(sent.chat_id, sent.chat_type)
        if chat.migrated_to is not None:
            raise ValueError(f"the group has moved to {chat.migrated_to}")
        if sent.message_thread_id and chat.type == "supergroup":
            chat.info["is_forum"] = True
            chat.topics.add(sent.message_thread_id)
        return chat

    def _private_chat_to_write_in(self, sent: UserMessage) -> Chat:
        if sent.chat_id != sent.from_id or sent.chat_type not in (None, "private"):
            raise ValueError("in a private chat only its user can write: chat_id must be from_id")
        if sent.from_id in self._state.blocked:
            raise ValueError("this user has blocked the bot")
        return self.private_chat(sent.from_id)

    def _author(self, chat: Chat, sent: UserMessage) -> Json:
        if chat.type == "channel":
            return {"sender_chat": dict(chat.info)}
        if sent.sender_chat is None:
            return {"from": dict(self._state.users[sent.from_id])}
        own = sent.sender_chat == chat.id
        number, first, name = ANONYMOUS if own else CHANNEL
        placeholder = self._state.ensure_user(number, is_bot=True, first_name=first, username=name)
        foreign = {"id": sent.sender_chat, "type": "channel", "title": f"Channel {abs(sent.sender_chat)}"}
        return {"from": dict(placeholder), "sender_chat": dict(chat.info) if own else foreign}

    def _reply(self, chat: Chat, sent: UserMessage) -> Json:
        if sent.reply_to_message_id is None:
            return {}
        if sent.reply_to_message_id not in chat.messages:
            raise LookupError("no such message to reply to")
        return {"reply_to_message": without_reply(chat.messages[sent.reply_to_message_id])}

    def _edit(self, chat: Chat, sent: UserMessage, content: Json) -> Json:
        message = chat.messages.get(sent.edit_message_id or 0)
        if message is None or message["message_id"] in chat.bot_message_ids:
            raise LookupError("no such message of a user")
        message.pop("entities", None)
        message |= content | {"edit_date": self._state.unix_time()}
        kind = "edited_channel_post" if chat.type == "channel" else "edited_message"
        return self._record_message(kind, chat, message, vars(sent), bot_receives=self._bot_receives(chat, message))

    def _bot_receives(self, chat: Chat, message: Json) -> bool:
        if chat.bot_status == "kicked" or chat.bot_status == "left":
            return False
        if not self._state.privacy or chat.type not in ("group", "supergroup"):
            return True
        replied = message.get("reply_to_message", {}).get("message_id")
        return replied in chat.bot_message_ids or message["text"].startswith("/")

    def _record_message(self, kind: str, chat: Chat, message: Json, params: Json, *, bot_receives: bool) -> Json:
        update = self._state.add_update(kind, message, chat.id) if bot_receives else None
        known = {name: value for name, value in params.items() if value is not None}
        return self._record(kind, known, {"message_id": message["message_id"], "update_id": update})

    def _chat_with_message(self, message_id: int, from_id: int, chat_id: int | None) -> Chat:
        """The chat with this message: the given one; otherwise the user's private chat, then any with a bot message."""
        if chat_id is not None:
            chat = self.chat(chat_id)
            if message_id in chat.messages or message_id in chat.deleted_ids:
                return chat
        else:
            chats = sorted(self._state.chats.values(), key=lambda chat: chat.id != from_id)
            matching = [chat for chat in chats if message_id in chat.bot_message_ids]
            if matching:
                return matching[0]
        raise LookupError("no such message")

    def _add_callback_query(self, from_id: int, content: Json, params: Json) -> Json:
        self._last_callback_id += 1
        query = PendingQuery(
            str(self._last_callback_id), from_id, self._state.now() + timedelta(seconds=CALLBACK_TTL_SECONDS)
        )
        self._state.callback_queries[query.id] = query
        content = {"id": query.id, "from": dict(self._state.ensure_user(from_id))} | content
        update = self._state.add_update("callback_query", content, from_id + CALLBACK_KEY_OFFSET)
        return self._record("callback_query", params, {"callback_query_id": query.id, "update_id": update})

    def _record(self, method: str, params: Json, result: Json) -> Json:
        self._state.transcript.add(self._state.now(), "in", method, params, result)
        return result
