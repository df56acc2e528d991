"""The table of the job queue."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from storage.schema.types import STRICT, BigInt, UtcTimestamp, check_in, metadata, partial_index

OFTEN_CHANGED: dict[str, Any] = {
    "postgresql_with": {
        "fillfactor": 70,
        "autovacuum_vacuum_scale_factor": 0.01,
        "autovacuum_vacuum_threshold": 500,
        "autovacuum_vacuum_insert_scale_factor": 0.05,
        "autovacuum_analyze_scale_factor": 0.02,
    }
}
"""Storage settings for PostgreSQL: each job is written about three times, so there is room for it on its page, and dead
rows are removed long before a fifth of the table is dead."""

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", BigInt, primary_key=True, autoincrement=True),
    sa.Column("queue", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("ordering_key", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("created_at", UtcTimestamp, nullable=False),
    sa.Column("scheduled_at", UtcTimestamp, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("lease_until", UtcTimestamp),
    sa.Column("lease", sa.Text),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("finished_at", UtcTimestamp),
    sa.UniqueConstraint("queue", "key"),
    check_in("state", "pending", "done", "dead"),
    sa.Index("ix_jobs_pending", "queue", "ordering_key", "id", **partial_index("state = 'pending'")),
    sa.Index("ix_jobs_done", "queue", "finished_at", **partial_index("state = 'done'")),
    sa.Index("ix_jobs_dead", "queue", "id", **partial_index("state = 'dead'")),
    sa.Index(
        "ix_jobs_leased", "queue", "ordering_key", **partial_index("state = 'pending' AND lease_until IS NOT NULL")
    ).ddl_if(dialect="postgresql"),
    **STRICT,
    **OFTEN_CHANGED,
)
"""Jobs of all queues: Stripe's events, Telegram's updates, outgoing messages."""
