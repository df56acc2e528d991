"""What the application needs from Telegram: messages out, and how a delivery fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from storage.models.payment import ChatTarget


@dataclass(frozen=True)
class Button:
    """One button under a message: exactly one of `url`, `copy` and `data` is set.

    `data` is Telegram's callback data (1 to 64 bytes), `copy` the text a tap copies (1 to 256 characters),
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
    """A message as it is to be shown: Telegram's HTML, and rows of buttons."""

    html: str
    keyboard: Keyboard = ()


@dataclass(frozen=True)
class InlineResult:
    """One result of an inline query: what the list shows, and the message that is sent when it is chosen."""

    id: str
    title: str
    description: str
    letter: Message


class DeliveryError(Exception):
    """Telegram did not take a message.

    `permanent`: it never will (blocked, kicked, chat not found, bad request); `wait`: seconds it asked us to wait;
    `unsure`: it may have been delivered all the same; `moved_to`: the group's new id; `gone`: the message to edit
    or the topic does not exist any more; `closed`: the chat as a whole does not take messages from us; `closed_topic`:
    only this topic does not.
    """

    def __init__(
        self,
        reason: str,
        *,
        permanent: bool = False,
        wait: float | None = None,
        unsure: bool = False,
        moved_to: int | None = None,
        gone: bool = False,
        closed: bool = False,
        closed_topic: bool = False,
    ) -> None:
        super().__init__(reason)
        self.permanent = permanent
        self.retry_after = wait
        self.outcome_unknown = unsure
        self.moved_to = moved_to
        self.message_gone = gone
        self.chat_unavailable = closed
        self.topic_closed = closed_topic


class Messenger(Protocol):
    """Telegram, as far as the use cases need it. Every method raises `DeliveryFailed`."""

    username: str

    async def get_me(self) -> None:
        """Ask Telegram who we are; shows that it can be reached."""

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        """Post a message and return its id; a `reply_to` that is gone does not hinder it."""

    async def send_photo(self, chat: ChatTarget, png: bytes, message: Message, *, reply_to: int | None = None) -> int:
        """Post a picture with the letter below it, and return its id; a `reply_to` that is gone does not hinder it."""

    async def delete(self, chat: ChatTarget, message_id: int) -> None:
        """Take a message of ours away; one that is gone is no failure."""

    async def edit(self, chat: ChatTarget, message_id: int | None, message: Message) -> None:
        """Show this instead; "not modified" is success. A place with an `inline_id` needs no `message_id`."""

    async def answer_inline_query(self, query_id: str, results: Sequence[InlineResult]) -> None:
        """Answer an inline query, for this person alone and unremembered; one that is too old is no failure."""

    async def answer_callback(self, callback_id: str, text: str = "", *, alert: bool = False) -> None:
        """End the waiting of a tapped button; one that is too old is no failure."""
