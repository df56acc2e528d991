"""One call of a Bot API method, without HTTP: its parameters, the chat and the message that it names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bot.sandbox.fake_telegram.api_error import Json, bad_request, forbidden
from bot.sandbox.fake_telegram.params import Params
from bot.sandbox.fake_telegram.state import Chat, FakeTelegramState


@dataclass(frozen=True)
class Call:
    """The arguments of a method."""

    state: FakeTelegramState
    params: Params

    def chat(self, name: str = "chat_id") -> Chat:
        """The chat; raises ApiError for an unknown one."""
        if not self.params.text(name):
            raise bad_request("chat_id is empty")
        number = self.params.number(name)
        chat = self.state.chats.get(number)
        if chat is None and number in self.state.users and number > 0:
            raise forbidden("bot can't initiate conversation with a user")
        if chat is None:
            raise bad_request("chat not found")
        return chat

    def editable_chat(self) -> Chat:
        """The chat; raises ApiError if the bot is blocked or not a member."""
        chat = self.chat()
        if chat.id in self.state.blocked:
            raise forbidden("bot was blocked by the user")
        if chat.bot_status == "kicked":
            raise forbidden(f"bot was kicked from the {chat.type} chat")
        if chat.bot_status == "left":
            raise forbidden(f"bot is not a member of the {chat.type} chat")
        return chat

    def writable_chat(self) -> Chat:
        """The chat, if the bot can send to it; the error of a migrated group has the new chat id."""
        chat = self.chat()
        if chat.migrated_to is not None:
            description = "group chat was upgraded to a supergroup chat"
            raise bad_request(description, migrate_to_chat_id=chat.migrated_to)
        chat = self.editable_chat()
        if chat.bot_status == "restricted":
            raise bad_request("not enough rights to send text messages to the chat")
        return chat

    def message(self, chat: Chat, purpose: str) -> Json:
        """The message with `message_id`; raises "message to PURPOSE not found"."""
        if not self.params.text("message_id"):
            raise bad_request("message identifier is not specified")
        found = chat.messages.get(self.params.number("message_id"))
        if found is None:
            raise bad_request(f"message to {purpose} not found")
        return found


Method = Callable[[Call], Any]
