"""The job queue: durable jobs, strict in order per ordering key, claimed under leases with fences."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from storage.database import sqlite
from storage.database.database import CHUNK_SIZE, Database, after_commit
from storage.models.job import DeadJob, DeadLetter, Done, Job, NewJob, Outcome, Retry, Snooze
from storage.schema.queue import jobs
from storage.schema.types import EPOCH

_MICROSECOND = timedelta(microseconds=1)

# Literals, for SQLite uses a partial index only where the statement itself has the index's condition.
_PENDING = sa.literal_column("state") == sa.literal_column("'pending'")
_DONE = sa.literal_column("state") == sa.literal_column("'done'")
_DEAD = sa.literal_column("state") == sa.literal_column("'dead'")
_FINISH = jobs.update().where(jobs.c.id == sa.bindparam("which"), jobs.c.lease == sa.bindparam("ours"), _PENDING)
_FINISH_DONE = _FINISH.values(id=sa.select(sa.func.max(jobs.c.id) + 1).scalar_subquery(), payload=b"")
# A job that loses its payload gets a new id: in its old place it would keep the page that it had filled.


class JobQueue:
    """The jobs of one queue. Jobs with the same ordering key run one at a time, in order of creation.

    Of a finished job only the key is kept, so that a repetition is recognised; its payload is deleted.
    """

    def __init__(self, db: Database, queue: str) -> None:
        self.queue = queue
        self._db = db
        self._wake_up = db.event(queue)
        self.last_enqueued_at: datetime | None = None
        """When this process last called `enqueue`; None before the first call."""

    async def enqueue(self, *new: NewJob, now: datetime) -> int:
        """Store the jobs and return how many were new, after the commit. Calls at the same time share a commit.

        A job whose key exists, in whatever state, is not stored again.

        Raises:
            DatabaseUnavailable: nothing was stored.
        """
        if not new:
            return 0
        number = await self._db.write(self.enqueue_in, *new, now=now)
        self.last_enqueued_at = now
        return number

    def enqueue_in(self, tx: sa.Connection, *new: NewJob, now: datetime) -> int:
        """Store the jobs as a part of the transaction `tx` and return how many were new; the worker wakes after it."""
        number = 0
        for statement, values in sqlite.insert_statements(self._rows(new, now)):
            number += len(tx.exec_driver_sql(statement, values).all())
        if number:
            after_commit(tx, self.notify)
        return number

    async def claim(self, *, now: datetime, limit: int, lease_seconds: float) -> list[Job]:
        """Lease the oldest job of each ordering key, if it is due and not leased; at most `limit`, oldest first.

        A job that is not finished within `lease_seconds` can be claimed again.
        """
        self._wake_up.clear()
        due = await self.next_due()
        if due is None or due > now:
            return []
        at = _micros(now)
        values = {
            "queue": self.queue,
            "now": at,
            "until": at + round(lease_seconds * 1_000_000),
            "limit": limit,
            "lease": secrets.token_hex(16),
        }
        return await self._db.write(_claim, values)

    async def finish(
        self,
        job: Job,
        outcome: Outcome,
        *,
        now: datetime,
        in_transaction: Callable[[sa.Connection], object] | None = None,
    ) -> bool:
        """Store the outcome of a claimed job; False, and nothing is written, if the lease is not ours any more.

        `in_transaction` writes in the same transaction, so that neither exists without the other.
        """
        change = _FINISH_DONE if isinstance(outcome, Done) else _FINISH
        lease = {"which": job.id, "ours": job.lease, "lease": None, "lease_until": None}
        return await self._db.write(self._finish, change, {**_values(job, outcome, now), **lease}, in_transaction)

    async def release_leases(self) -> None:
        """End every lease: for a caller that knows that no other process holds one, so that a crash costs no wait."""
        await self._db.write(self._release_leases)

    async def next_due(self) -> datetime | None:
        """When the next job can be claimed (it is due, or its lease ends); None if none is pending."""
        return await self._db.read(_time_of, _NEXT_DUE, self.queue)

    async def wait(self) -> None:
        """Return when this process enqueued or finished a job of this queue since the last `claim`."""
        await self._wake_up.wait()

    def notify(self) -> None:
        """Wake the worker; `enqueue`, `enqueue_in` and `finish` do so themselves."""
        self._wake_up.set()

    async def depth(self) -> int:
        """The number of pending jobs, leased ones included."""
        return await self._db.read(_count, self.queue, _PENDING)

    async def dead_count(self) -> int:
        """The number of dead jobs, which wait for an operator."""
        return await self._db.read(_count, self.queue, _DEAD)

    async def oldest_age(self, now: datetime) -> float:
        """The age of the oldest pending job in seconds; 0 if none is pending."""
        oldest = await self._db.read(_time_of, _OLDEST, self.queue)
        return 0.0 if oldest is None else max((now - oldest).total_seconds(), 0.0)

    async def oldest_created_at(self, ordering_key: str) -> datetime | None:
        """When the oldest pending job with this ordering key was created; None if there is none."""
        return await self._db.read(_oldest_created_at, self.queue, ordering_key)

    async def dead_jobs(self, *, limit: int = 100, before: int | None = None) -> list[DeadJob]:
        """The dead jobs, newest first; `before` is the id with which the previous page ended."""
        return await self._db.read(_dead_jobs, self.queue, limit, before)

    async def retry_dead(self, *, now: datetime) -> int:
        """Make every dead job pending again, due at once; returns how many."""
        return await self._db.write(self._retry_dead, now)

    async def delete_done(self, *, before: datetime) -> int:
        """Delete jobs (and their keys) that were done before that time, at most `CHUNK_SIZE`; returns how many."""
        return await self._db.write(_delete, self.queue, _DONE, before)

    async def delete_dead(self, *, before: datetime) -> int:
        """Delete jobs that died before that time and were not retried, at most `CHUNK_SIZE`; returns how many."""
        return await self._db.write(_delete, self.queue, _DEAD, before)

    def _rows(self, new: tuple[NewJob, ...], now: datetime) -> list[sqlite.Row]:
        at = _micros(now)
        return [
            (
                self.queue,
                job.key,
                job.ordering_key,
                job.kind,
                job.payload,
                at,
                at if job.scheduled_at is None else _micros(job.scheduled_at),
            )
            for job in new
        ]

    def _finish(
        self,
        tx: sa.Connection,
        change: sa.Update,
        values: dict[str, Any],
        in_transaction: Callable[[sa.Connection], object] | None,
    ) -> bool:
        changed = bool(tx.execute(change, values).rowcount)
        if changed:
            after_commit(tx, self.notify)
            if in_transaction is not None:
                in_transaction(tx)
        return changed

    def _release_leases(self, tx: sa.Connection) -> None:
        leased = (jobs.c.queue == self.queue) & _PENDING & jobs.c.lease.is_not(None)
        if tx.execute(jobs.update().where(leased).values(lease=None, lease_until=None)).rowcount:
            after_commit(tx, self.notify)

    def _retry_dead(self, tx: sa.Connection, now: datetime) -> int:
        values = {"state": "pending", "scheduled_at": now, "attempts": 0, "finished_at": None}
        number = tx.execute(jobs.update().where(jobs.c.queue == self.queue, _DEAD).values(values)).rowcount
        after_commit(tx, self.notify)
        return number


def _claim(tx: sa.Connection, values: dict[str, Any]) -> list[Job]:
    return [Job(*row) for row in sorted(tx.execute(_CLAIM, values).all())]


def _time_of(tx: sa.Connection, statement: sa.TextClause, queue: str) -> datetime | None:
    found: int | None = tx.execute(statement, {"queue": queue}).scalar()
    return None if found is None else _time(found)


def _count(tx: sa.Connection, queue: str, state: sa.ColumnElement[bool]) -> int:
    query = sa.select(sa.func.count()).select_from(jobs).where(jobs.c.queue == queue, state)
    return tx.execute(query).scalar_one()


def _oldest_created_at(tx: sa.Connection, queue: str, ordering_key: str) -> datetime | None:
    mine = (jobs.c.queue == queue) & _PENDING & (jobs.c.ordering_key == ordering_key)
    found: datetime | None = tx.execute(sa.select(sa.func.min(jobs.c.created_at)).where(mine)).scalar_one()
    return found


def _dead_jobs(tx: sa.Connection, queue: str, limit: int, before: int | None) -> list[DeadJob]:
    query = sa.select(jobs).where(jobs.c.queue == queue, _DEAD).order_by(jobs.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(jobs.c.id < before)
    return [_to_dead_job(row) for row in tx.execute(query).mappings()]


def _delete(tx: sa.Connection, queue: str, state: sa.ColumnElement[bool], before: datetime) -> int:
    old = sa.select(jobs.c.id).where(jobs.c.queue == queue, state, jobs.c.finished_at < before).limit(CHUNK_SIZE)
    return tx.execute(jobs.delete().where(jobs.c.id.in_(old.scalar_subquery()))).rowcount


_CLAIM = sa.text(sqlite.CLAIM).columns(
    jobs.c.id,
    jobs.c.queue,
    jobs.c.key,
    jobs.c.ordering_key,
    jobs.c.kind,
    jobs.c.payload,
    jobs.c.created_at,
    jobs.c.attempts,
    jobs.c.lease,
)
_NEXT_DUE = sa.text(sqlite.NEXT_DUE)
_OLDEST = sa.text(sqlite.OLDEST)


def move_ordering_key(tx: sa.Connection, queue: str, ordering_key: str, to: str) -> None:
    """Move the pending jobs of an ordering key to another one; they keep their order."""
    tx.execute(
        jobs.update()
        .where(jobs.c.queue == queue, jobs.c.ordering_key == ordering_key, _PENDING)
        .values(ordering_key=to)
    )


def _values(claimed: Job, outcome: Outcome, now: datetime) -> dict[str, Any]:
    match outcome:
        case Done(reason):
            return {"state": "done", "reason": reason, "finished_at": now}
        case DeadLetter(reason):
            return {"state": "dead", "reason": reason, "finished_at": now}
        case Retry(reason, wait):
            return {"attempts": claimed.attempts + 1, "reason": reason, "scheduled_at": now + timedelta(seconds=wait)}
        case Snooze(wait):
            return {"scheduled_at": now + timedelta(seconds=wait)}


def _to_dead_job(row: Any) -> DeadJob:
    return DeadJob(
        id=row["id"],
        queue=row["queue"],
        key=row["key"],
        ordering_key=row["ordering_key"],
        kind=row["kind"],
        reason=row["reason"],
        attempts=row["attempts"],
        created_at=row["created_at"],
        finished_at=row["finished_at"],
    )


def _micros(time: datetime) -> int:
    return (time - EPOCH) // _MICROSECOND


def _time(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)
