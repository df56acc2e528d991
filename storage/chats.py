"""Writes what follows from a change of a chat, in the transaction of the change."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import sqlalchemy as sa

from storage import messages
from storage.job_queue import JobQueue
from storage.messages import chat_ordering_key, repost_ordering_key
from storage.models.job import DeadJob
from storage.payments import PaymentRepository

MAX_SHOWN_AT_ONCE = 5
"""Payment messages that are shown again in their chat's order; more of them wait for all its other messages."""


class ChatRepository:
    """Its methods are units of work: pass them to `Database.write`.

    `is_worth_sending` returns whether a dead job, with its payload, is worth sending once its chat accepts messages.
    """

    def __init__(
        self, payments: PaymentRepository, outbox: JobQueue, is_worth_sending: Callable[[DeadJob, bytes], bool]
    ) -> None:
        self._payments = payments
        self._outbox = outbox
        self._is_worth_sending = is_worth_sending

    def migrate(self, tx: sa.Connection, chat_id: int, moved_to: int, *, now: datetime) -> None:
        """Move everything of a group to its new id, and show its open payments there; again it changes nothing."""
        found = messages.migrate_chat(tx, chat_id, moved_to)
        for payment_id in found:
            self._payments.request_redraw(tx, payment_id, now=now, ordering_key=_ordering_key(moved_to, len(found)))

    def reopen(self, tx: sa.Connection, chat_id: int, *, now: datetime) -> None:
        """Record that the chat accepts messages; if it did not, retry the dead jobs that are still worth sending.

        Payment messages come after the notifications, in whatever order the jobs became dead letters.
        """
        if not messages.mark_unblocked(tx, chat_id):
            return
        dead = [
            job
            for key in (chat_ordering_key(chat_id), repost_ordering_key(chat_id))
            for job in self._outbox.dead_in(tx, key)
            if self._is_worth_sending(*job)
        ]
        shown = [job for job in dead if job[0].kind == "payment_message"]
        for job, _ in dead:
            if job.kind != "payment_message":
                self._outbox.retry_in(tx, job, now=now)
        for job, payload in shown:
            self._outbox.requeue_in(tx, job, payload, ordering_key=_ordering_key(chat_id, len(shown)), now=now)


def _ordering_key(chat_id: int, number: int) -> str:
    return chat_ordering_key(chat_id) if number <= MAX_SHOWN_AT_ONCE else repost_ordering_key(chat_id)
