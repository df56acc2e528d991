"""The messages with questions that several people can decide, so that all are edited once it is decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from storage.models.payment import ChatTarget
from storage.schema.chats import question_messages


@dataclass(frozen=True)
class QuestionMessage:
    """A message that asks the question `subject`, in the language of its reader."""

    subject: str
    chat: ChatTarget
    message_id: int
    language: str


def store(tx: sa.Connection, question: QuestionMessage) -> None:
    """Store a message that asks the question; the same message again changes nothing."""
    remove(tx, question.chat.chat_id, question.message_id)
    values = {"subject": question.subject, "chat_id": question.chat.chat_id, "message_id": question.message_id}
    tx.execute(question_messages.insert().values(**values, language=question.language))


def find(tx: sa.Connection, subject: str) -> Sequence[QuestionMessage]:
    """The messages that ask this question."""
    query = sa.select(question_messages).where(question_messages.c.subject == subject)
    query = query.order_by(question_messages.c.chat_id, question_messages.c.message_id)
    return [
        QuestionMessage(row.subject, ChatTarget(row.chat_id), row.message_id, row.language) for row in tx.execute(query)
    ]


def remove(tx: sa.Connection, chat_id: int, message_id: int) -> None:
    """Forget a message."""
    where = (question_messages.c.chat_id == chat_id) & (question_messages.c.message_id == message_id)
    tx.execute(question_messages.delete().where(where))
