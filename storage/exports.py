"""Exports that people asked for."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from storage import audit_log
from storage.job_queue import JobQueue
from storage.models.job import NewJob

EXPORTED = "exported"


def request_export(
    tx: sa.Connection,
    outbox: JobQueue,
    job: NewJob,
    *,
    shop_id: int,
    actor: str,
    detail: dict[str, str],
    now: datetime,
) -> None:
    """Enqueue the job that sends a file, and record who asked for it; the same job is recorded once."""
    if outbox.enqueue_in(tx, job, now=now):
        audit_log.record(tx, shop_id, actor, EXPORTED, detail, now)
