"""The job queue's table."""

from __future__ import annotations

import sqlalchemy as sa

from storage.schema.types import STRICT, BigInt, UtcTimestamp, check_in, metadata, partial_index

mail = sa.Table(
    "mail",
    metadata,
    sa.Column("id", BigInt, primary_key=True, autoincrement=True),
    sa.Column("box", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("lane", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("put_at", UtcTimestamp, nullable=False),
    sa.Column("due_at", UtcTimestamp, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("lease_until", UtcTimestamp),
    sa.Column("lease", sa.Text),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("settled_at", UtcTimestamp),
    sa.UniqueConstraint("box", "key"),
    check_in("state", "waiting", "done", "set_aside"),
    sa.Index("ix_mail_waiting", "box", "lane", "id", **partial_index("state = 'waiting'")),
    sa.Index("ix_mail_done", "box", "settled_at", **partial_index("state = 'done'")),
    sa.Index("ix_mail_set_aside", "box", "id", **partial_index("state = 'set_aside'")),
    **STRICT,
)
"""Durable belts: Stripe's events in, Telegram's updates in, messages out."""
