"""What Kvit asks a person by buttons, kept so that a restart, a second tap or a stranger changes nothing."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from storage.database.database import CHUNK_SIZE, Database
from storage.models.payment import ChatTarget
from storage.schema.chats import questions


@dataclass(frozen=True)
class Prompt:
    """`kind` says what is asked, `body` is what the answer needs (JSON), `answer` the number of the chosen button."""

    id: str
    kind: str
    chat: ChatTarget
    user_id: int
    payload: dict[str, Any]
    created_at: datetime
    answer: int | None = None


class PromptRepository:
    """Questions by their id; every change is one transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def create(
        self, key: str, kind: str, place: ChatTarget, user_id: int, body: dict[str, Any], *, now: datetime
    ) -> Prompt:
        """Keep a question to a person; the same `key` gives the same question."""
        async with self._db.transaction() as tx:
            known = (await tx.execute(sa.select(questions).where(questions.c.key == key))).mappings().first()
            if known is not None:
                return _to_question(known)
            writing = questions.insert().returning(questions)
            row = await tx.execute(
                writing.values(
                    id=secrets.token_urlsafe(9),
                    key=key,
                    kind=kind,
                    chat_id=place.chat_id,
                    thread_id=place.thread_id,
                    user_id=user_id,
                    body=json.dumps(body, sort_keys=True),
                    asked_at=now,
                )
            )
            return _to_question(row.mappings().one())

    async def find(self, question_id: str) -> Prompt | None:
        """A question by its id."""
        async with self._db.glance() as tx:
            query = sa.select(questions).where(questions.c.id == question_id)
            row = (await tx.execute(query)).mappings().first()
        return None if row is None else _to_question(row)

    async def answer(self, question_id: str, choice: int, *, now: datetime) -> Prompt:
        """Write the answer down and return the question with the answer that counts: the first one."""
        which = questions.c.id == question_id
        async with self._db.transaction() as tx:
            first = questions.update().where(which, questions.c.answer.is_(None))
            await tx.execute(first.values(answer=choice, answered_at=now))
            return _to_question((await tx.execute(sa.select(questions).where(which))).mappings().one())

    async def prune(self, *, before: datetime) -> int:
        """Forget the questions that were asked before that time, at most `FEW` of them; returns how many."""
        old = sa.select(questions.c.id).where(questions.c.asked_at < before).limit(CHUNK_SIZE)
        async with self._db.transaction() as tx:
            return (await tx.execute(questions.delete().where(questions.c.id.in_(old.scalar_subquery())))).rowcount


def _to_question(row: sa.RowMapping) -> Prompt:
    return Prompt(
        id=row["id"],
        kind=row["kind"],
        chat=ChatTarget(row["chat_id"], row["thread_id"]),
        user_id=row["user_id"],
        payload=json.loads(row["body"]),
        created_at=row["asked_at"],
        answer=row["answer"],
    )
