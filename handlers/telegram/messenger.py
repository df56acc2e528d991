"""What the application needs from Telegram: sending and editing messages, and how that fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from storage.models.payment import ChatTarget


@dataclass(frozen=True)
class Button:
    """One inline button. Exactly one of `url`, `copy` and `data` is set.

    `data` is Telegram's callback data (1 to 64 bytes), `copy` the text that a tap copies (1 to 256 characters),
    `style` one of primary, success, danger or empty.
    """

    label: str
    url: str | None = None
    copy: str | None = None
    data: str | None = None
    style: str = ""


Keyboard = tuple[tuple[Button, ...], ...]


@dataclass(frozen=True)
class Message:
    """The content of a message: Telegram's HTML, and rows of buttons."""

    html: str
    keyboard: Keyboard = ()


@dataclass(frozen=True)
class InlineResult:
    """One result of an inline query: what the list shows, and the message that is sent when it is chosen."""

    id: str
    title: str
    description: str
    message: Message


class DeliveryError(Exception):
    """Telegram did not accept a message.

    `permanent`: it never will (blocked, kicked, chat not found, bad request). `retry_after`: the seconds that Telegram
    asked us to wait. `outcome_unknown`: the message may have been delivered. `moved_to`: the group's new id.
    `message_gone`: the message to edit, or its topic, does not exist any more. `chat_unavailable`: the chat accepts no
    messages from this bot. `topic_closed`: only this topic accepts none.
    """

    def __init__(
        self,
        reason: str,
        *,
        permanent: bool = False,
        retry_after: float | None = None,
        outcome_unknown: bool = False,
        moved_to: int | None = None,
        message_gone: bool = False,
        chat_unavailable: bool = False,
        topic_closed: bool = False,
    ) -> None:
        super().__init__(reason)
        self.permanent = permanent
        self.retry_after = retry_after
        self.outcome_unknown = outcome_unknown
        self.moved_to = moved_to
        self.message_gone = message_gone
        self.chat_unavailable = chat_unavailable
        self.topic_closed = topic_closed


class Messenger(Protocol):
    """Telegram's Bot API, as far as the application needs it. Every method raises `DeliveryError`."""

    username: str

    async def get_me(self) -> None:
        """Calls `getMe`, which shows that Telegram can be reached."""

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        """Sends a message and returns its id. If the message `reply_to` is gone, it is sent without a reply."""

    async def send_photo(self, chat: ChatTarget, png: bytes, message: Message, *, reply_to: int | None = None) -> int:
        """Sends a picture with the message as its caption, and returns its id; `reply_to` as in `send`."""

    async def send_document(
        self, chat: ChatTarget, content: bytes, name: str, message: Message, *, reply_to: int | None = None
    ) -> int:
        """Sends a file of this name with the message as its caption, and returns its id; `reply_to` as in `send`."""

    async def delete(self, chat: ChatTarget, message_id: int) -> None:
        """Deletes one of the bot's messages. One that is gone already is no error."""

    async def edit(self, chat: ChatTarget, message_id: int | None, message: Message) -> None:
        """Replaces the content of a message. "Not modified" is success.

        A chat with an `inline_message_id` needs no `message_id`.
        """

    async def answer_inline_query(self, query_id: str, results: Sequence[InlineResult]) -> None:
        """Answers an inline query, uncached and for this user only. A query that is too old is no error."""

    async def answer_callback(self, callback_id: str, text: str = "", *, alert: bool = False) -> None:
        """Answers a callback query, which ends the button's spinner. A query that is too old is no error."""
