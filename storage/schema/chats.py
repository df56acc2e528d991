"""Tables about chats: their delivery status, and prompts."""

from __future__ import annotations

import sqlalchemy as sa

from storage.schema.types import STRICT, BigInt, UtcTimestamp, metadata

chat_status = sa.Table(
    "chat_status",
    metadata,
    sa.Column("chat_id", BigInt, primary_key=True, autoincrement=False),
    sa.Column("not_before", UtcTimestamp),
    sa.Column("moved_to", BigInt),
    sa.Column("blocked_reason", sa.Text),
    **STRICT,
)
"""Telegram's errors for a chat: no messages before `not_before`, migrated to `moved_to`, bot blocked."""

question_messages = sa.Table(
    "question_messages",
    metadata,
    sa.Column("chat_id", BigInt, primary_key=True, autoincrement=False),
    sa.Column("message_id", BigInt, primary_key=True, autoincrement=False),
    sa.Column("subject", sa.Text, nullable=False, index=True),
    sa.Column("language", sa.Text, nullable=False),
    **STRICT,
)
"""The messages that ask a question which several people can decide, until it is decided."""

prompts = sa.Table(
    "prompts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("chat_id", BigInt, nullable=False),
    sa.Column("thread_id", BigInt),
    sa.Column("user_id", BigInt, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("created_at", UtcTimestamp, nullable=False),
    sa.Column("answer", sa.Integer),
    sa.Column("answered_at", UtcTimestamp),
    sa.CheckConstraint("(answer IS NULL) = (answered_at IS NULL)", name="answered_once"),
    sa.Index("ix_prompts_chat_id", "chat_id"),
    sa.Index("ix_prompts_created_at", "created_at"),
    **STRICT,
)
"""Questions with buttons. Only the user who was asked can answer, and the first answer stays."""
