"""What a change of a chat does to its messages: it migrated to another id, or it accepts messages again."""

from __future__ import annotations

import json

from handlers.clock import Clock
from handlers.messages.outbox_message import CHAT_UNAVAILABLE, asks_nothing
from storage.chats import ChatRepository
from storage.database.database import Database
from storage.job_queue import JobQueue
from storage.messages import chat_ordering_key
from storage.models.job import DeadJob


class ChatChanges:
    """Each change is one transaction with the jobs that follow from it."""

    def __init__(self, db: Database, chats: ChatRepository, outbox: JobQueue, clock: Clock) -> None:
        self._db = db
        self._chats = chats
        self._outbox = outbox
        self._clock = clock

    async def migrate(self, chat_id: int, moved_to: int) -> None:
        """Move everything of a group to its new id, and show its open payments there; again it changes nothing."""
        await self._db.write(self._chats.migrate, chat_id, moved_to, now=self._clock.now())

    async def reopen(self, chat_id: int) -> None:
        """Record that the chat accepts messages; if it did not, show its payments and send its notifications."""
        await self._db.write(self._chats.reopen, chat_id, now=self._clock.now())

    async def has_pending(self, chat_id: int) -> bool:
        """Whether messages to the chat are pending, reposts aside."""
        return await self._outbox.oldest_created_at(chat_ordering_key(chat_id)) is not None


def is_worth_sending(job: DeadJob, payload: bytes) -> bool:
    """Whether a dead job is worth sending once its chat accepts messages: it shows a payment or notifies.

    Answers and questions are stale by then. A job that is dead for another reason may have been delivered.
    """
    if not job.reason.startswith(CHAT_UNAVAILABLE):
        return False
    return job.kind in {"payment_message", "notification"} or (
        job.kind == "message" and asks_nothing(json.loads(payload))
    )
