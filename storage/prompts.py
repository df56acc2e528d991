"""Prompts: questions with buttons, stored so that restarts, second presses and other people change nothing."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from storage.database.database import CHUNK_SIZE
from storage.models.payment import ChatTarget
from storage.schema.chats import prompts


@dataclass(frozen=True)
class Prompt:
    """`kind` chooses the handler, `payload` is what it needs (JSON), `answer` the index of the pressed button."""

    id: str
    kind: str
    chat: ChatTarget
    user_id: int
    payload: dict[str, Any]
    created_at: datetime
    answer: int | None = None


def create(
    tx: sa.Connection, key: str, kind: str, chat: ChatTarget, user_id: int, body: dict[str, Any], *, now: datetime
) -> Prompt:
    """Store a prompt to a person; the same `key` returns the stored one."""
    known = tx.execute(sa.select(prompts).where(prompts.c.key == key)).mappings().first()
    if known is not None:
        return _to_question(known)
    writing = prompts.insert().returning(prompts)
    row = tx.execute(
        writing.values(
            id=secrets.token_urlsafe(9),
            key=key,
            kind=kind,
            chat_id=chat.chat_id,
            thread_id=chat.thread_id,
            user_id=user_id,
            payload=json.dumps(body, sort_keys=True),
            created_at=now,
        )
    )
    return _to_question(row.mappings().one())


def find(tx: sa.Connection, question_id: str) -> Prompt | None:
    """A prompt by its id."""
    query = sa.select(prompts).where(prompts.c.id == question_id)
    row = tx.execute(query).mappings().first()
    return None if row is None else _to_question(row)


def answer(tx: sa.Connection, question_id: str, choice: int, *, now: datetime) -> Prompt:
    """Store the answer if it is the first one, and return the prompt with the answer that counts."""
    which = prompts.c.id == question_id
    first = prompts.update().where(which, prompts.c.answer.is_(None))
    tx.execute(first.values(answer=choice, answered_at=now))
    return _to_question(tx.execute(sa.select(prompts).where(which)).mappings().one())


def delete_old(tx: sa.Connection, *, before: datetime) -> int:
    """Delete prompts created before that time, at most `CHUNK_SIZE`; returns how many."""
    old = sa.select(prompts.c.id).where(prompts.c.created_at < before).limit(CHUNK_SIZE)
    return (tx.execute(prompts.delete().where(prompts.c.id.in_(old.scalar_subquery())))).rowcount


def _to_question(row: sa.RowMapping) -> Prompt:
    return Prompt(
        id=row["id"],
        kind=row["kind"],
        chat=ChatTarget(row["chat_id"], row["thread_id"]),
        user_id=row["user_id"],
        payload=json.loads(row["payload"]),
        created_at=row["created_at"],
        answer=row["answer"],
    )
