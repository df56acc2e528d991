"""How a message waits in the outbox: what it says and where it goes, as JSON, so that a restart sends the same one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Protocol

from handlers.telegram.messenger import Button, Message
from storage.models.job import DeadLetter, Done, Job, NewJob
from storage.models.payment import ChatTarget


@dataclass(frozen=True)
class OutboxMessage:
    """One message to be sent (`edits` is None) or to be shown instead of the message `edits`.

    With a `shop` it is said only where that shop may still be spoken of by then. What is said in `passing` is nobody's
    trouble if it cannot be said.
    """

    chat: ChatTarget
    message: Message
    reply_to: int | None = None
    silent: bool = False
    edit_message_id: int | None = None
    shop: int | None = None
    best_effort: bool = False


class MessageBuilder(Protocol):
    """Makes the words of a kind of mail when it is sent, because they must not be kept."""

    async def build_message(self, mail: Job) -> OutboxMessage | None:
        """The message; None if it is not wanted any more."""

    async def on_sent(self, mail: Job) -> None:
        """It was sent."""

    async def on_chat_unavailable(self, mail: Job) -> None:
        """The chat it should go to does not let us in."""


def chat_ordering_key(chat_id: int) -> str:
    """Messages of one chat leave in the order they were put."""
    return str(chat_id)


def to_job(outgoing: OutboxMessage, *, key: str) -> NewJob:
    """The mail that keeps the message; the same `key` is sent once."""
    body = json.dumps(asdict(outgoing), ensure_ascii=False, separators=(",", ":"))
    return NewJob(key, chat_ordering_key(outgoing.chat.chat_id), "message", body.encode(errors="replace"))


def from_job(job: Job) -> OutboxMessage:
    """The message that a mail keeps."""
    said = json.loads(job.payload)
    message = said["message"]
    keyboard = tuple(tuple(Button(**button) for button in row) for row in message["keyboard"])
    return OutboxMessage(
        ChatTarget(**said["chat"]),
        Message(message["html"], keyboard),
        said["reply_to"],
        said["silent"],
        said["edit_message_id"],
        said["shop"],
        said["best_effort"],
    )


def undeliverable(job: Job, reason: str) -> Done | DeadLetter:
    """What becomes of a message that Telegram refuses: no human has to see to an edit, or to a word in passing."""
    outgoing = from_job(job) if job.kind == "message" else None
    may_be_lost = outgoing is not None and (outgoing.edit_message_id is not None or outgoing.best_effort)
    return Done(f"not said: {reason}") if may_be_lost else DeadLetter(reason)
