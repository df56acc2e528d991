"""Chats: what Telegram said about each, and prompts."""

from __future__ import annotations

import sqlalchemy as sa

from storage.schema.types import STRICT, BigInt, UtcTimestamp, metadata

posts = sa.Table(
    "posts",
    metadata,
    sa.Column("chat_id", BigInt, primary_key=True, autoincrement=False),
    sa.Column("not_before", UtcTimestamp),
    sa.Column("moved_to", BigInt),
    sa.Column("closed_because", sa.Text),
    **STRICT,
)
"""What Telegram said about a chat: wait until then, it moved there, it is closed to us."""


questions = sa.Table(
    "questions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("chat_id", BigInt, nullable=False),
    sa.Column("thread_id", BigInt),
    sa.Column("user_id", BigInt, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("asked_at", UtcTimestamp, nullable=False),
    sa.Column("answer", sa.Integer),
    sa.Column("answered_at", UtcTimestamp),
    sa.CheckConstraint("(answer IS NULL) = (answered_at IS NULL)", name="answered_once"),
    sa.Index("ix_questions_chat_id", "chat_id"),
    sa.Index("ix_questions_asked_at", "asked_at"),
    **STRICT,
)
"""What Kvit asked a person by buttons; the first answer stays, and only he gives it."""
