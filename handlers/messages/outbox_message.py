"""A message in the outbox: its text and target as JSON, so that a restart sends the same one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from handlers.telegram.messenger import Button, Message
from storage.messages import chat_ordering_key
from storage.models.job import DeadLetter, Done, Job, NewJob
from storage.models.payment import ChatTarget


@dataclass(frozen=True)
class OutboxMessage:
    """A message to send, or to show instead of the message `edit_message_id`.

    `question` is what it asks, if several people can decide it, and the language in which it asks.
    With a `shop` it is sent only if the chat may still read about that shop. A `best_effort` message is not missed if
    it cannot be sent.
    """

    chat: ChatTarget
    message: Message
    reply_to: int | None = None
    silent: bool = False
    edit_message_id: int | None = None
    shop: int | None = None
    best_effort: bool = False
    question: tuple[str, str] | None = None


CHAT_UNAVAILABLE = "the chat is unavailable"
"""How the reason begins for which a job to a chat that the bot cannot send to is dead-lettered."""


class MessageBuilder(Protocol):
    """Builds the message of a kind of job when it is sent, because its text must not be stored."""

    async def build_message(self, job: Job) -> OutboxMessage | None:
        """The message; None if it is not needed any more."""

    async def on_sent(self, job: Job) -> None:
        """Called once it was sent."""

    async def on_chat_unavailable(self, job: Job) -> None:
        """Called if the bot cannot send to the chat."""


def to_job(outgoing: OutboxMessage, *, key: str) -> NewJob:
    """The job for the message; the same `key` is sent once."""
    body = json.dumps(asdict(outgoing), ensure_ascii=False, separators=(",", ":"))
    return NewJob(key, chat_ordering_key(outgoing.chat.chat_id), "message", body.encode(errors="replace"))


def from_job(job: Job) -> OutboxMessage:
    """The message of a job."""
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
        tuple(said["question"]) if said.get("question") else None,
    )


def asks_nothing(stored: Mapping[str, Any]) -> bool:
    """Whether the stored message is about a shop and has no button with a question that may be decided by now."""
    return stored["shop"] is not None and not any(
        button["data"] for row in stored["message"]["keyboard"] for button in row
    )


def undeliverable(job: Job, reason: str) -> Done | DeadLetter:
    """The outcome of a message that Telegram rejects: edits and best-effort messages need no operator."""
    outgoing = from_job(job) if job.kind == "message" else None
    may_be_lost = outgoing is not None and (outgoing.edit_message_id is not None or outgoing.best_effort)
    return Done(f"not sent: {reason}") if may_be_lost else DeadLetter(reason)
