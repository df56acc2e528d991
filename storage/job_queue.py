"""The job queue: durable jobs, strict in order per ordering key, claimed under leases with fences."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from storage.database.database import CHUNK_SIZE, Database
from storage.database.engine import JobRow
from storage.models.job import DeadJob, DeadLetter, Done, Job, NewJob, Outcome, Retry, Snooze
from storage.schema.queue import jobs
from storage.schema.types import EPOCH

_MICROSECOND = timedelta(microseconds=1)

_JOB = (
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
# Literals, for SQLite uses a partial index only where the statement itself has the index's condition.
_PENDING = sa.literal_column("state") == sa.literal_column("'pending'")
_DONE = sa.literal_column("state") == sa.literal_column("'done'")
_DEAD = sa.literal_column("state") == sa.literal_column("'dead'")
_FINISH = jobs.update().where(jobs.c.id == sa.bindparam("which"), jobs.c.lease == sa.bindparam("ours"), _PENDING)


class JobQueue:
    """The jobs of one queue. Jobs with the same ordering key run one at a time, in order of creation.

    Of a finished job only the key is kept, so that a repetition is recognised; its payload is deleted.
    """

    def __init__(self, db: Database, queue: str) -> None:
        self.queue = queue
        self._db = db
        self._sql = db.queue_statements
        self._claim_oldest = sa.text(self._sql.CLAIM).columns(*_JOB)
        self._next_due, self._oldest = sa.text(self._sql.NEXT_DUE), sa.text(self._sql.OLDEST_PENDING)
        self._finish_done = _FINISH.values(**self._sql.DONE_VALUES)
        self._wake_up = db.event(queue)
        self.last_enqueued_at: datetime | None = None
        """When this process, or one that it knows of, last called `enqueue`; None before the first call."""

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
        number = self._sql.insert_jobs(tx, self._rows(new, now)) if new else 0
        if number:
            self._db.wake_up(tx, self.queue)
        return number

    async def claim(self, *, now: datetime, limit: int, lease_seconds: float) -> list[Job]:
        """Lease the oldest job of each ordering key, if it is due and not leased; at most `limit`, oldest first.

        A job that is not finished within `lease_seconds` can be claimed again.
        """
        self._wake_up.clear()
        due = await self.next_due(now)
        if due is None or due > now:
            return []
        values = {
            "queue": self.queue,
            "now": _micros(now),
            "lease_micros": round(lease_seconds * 1_000_000),
            "limit": limit,
            "lease": self._db.process_id + secrets.token_hex(8),
        }
        return await self._db.write(self._claim, values)

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
        change = self._finish_done if isinstance(outcome, Done) else _FINISH
        lease = {"which": job.id, "ours": job.lease, "lease": None, "lease_until": None}
        return await self._db.write(self._finish, change, {**_values(job, outcome, now), **lease}, in_transaction)

    def note_enqueued(self, at: datetime) -> None:
        """Take note that another process called `enqueue` then."""
        self.last_enqueued_at = max(at, self.last_enqueued_at or at)

    async def release_leases(self) -> None:
        """End every lease: for a caller that knows that no other process holds one, so that a crash costs no wait."""
        await self._db.write(self._release_leases)

    async def next_due(self, now: datetime) -> datetime | None:
        """When the next job can be claimed (it is due, or a lease ends); None if none is pending."""
        values = {"queue": self.queue, "now": _micros(now)}
        return await self._db.read(_time_of, self._next_due, values)

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
        oldest = await self._db.read(_time_of, self._oldest, {"queue": self.queue})
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

    def dead_in(self, tx: sa.Connection, ordering_key: str) -> Sequence[tuple[DeadJob, bytes]]:
        """The dead jobs of an ordering key with their payloads, oldest first, as a part of the transaction `tx`."""
        mine = (jobs.c.queue == self.queue) & _DEAD & (jobs.c.ordering_key == ordering_key)
        found = tx.execute(sa.select(jobs).where(mine).order_by(jobs.c.id)).mappings()
        return [(_to_dead_job(row), row["payload"]) for row in found]

    def retry_in(self, tx: sa.Connection, job: DeadJob, *, now: datetime) -> None:
        """Make a dead job pending again, in its old place, as a part of the transaction `tx`."""
        tx.execute(jobs.update().where(jobs.c.id == job.id, _DEAD).values(_revived(now)))
        self._db.wake_up(tx, self.queue)

    def requeue_in(self, tx: sa.Connection, job: DeadJob, payload: bytes, *, ordering_key: str, now: datetime) -> None:
        """Make a dead job pending again, after all other jobs, as a part of the transaction `tx`."""
        tx.execute(jobs.delete().where(jobs.c.id == job.id, _DEAD))
        self.enqueue_in(tx, NewJob(job.key, ordering_key, job.kind, payload), now=now)

    async def delete_done(self, *, before: datetime) -> int:
        """Delete jobs (and their keys) that were done before that time, at most `CHUNK_SIZE`; returns how many."""
        return await self._db.write(_delete, self.queue, _DONE, before)

    async def delete_dead(self, *, before: datetime) -> int:
        """Delete jobs that died before that time and were not retried, at most `CHUNK_SIZE`; returns how many."""
        return await self._db.write(_delete, self.queue, _DEAD, before)

    def _rows(self, new: tuple[NewJob, ...], now: datetime) -> list[JobRow]:
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
            self._db.wake_up(tx, self.queue)
            if in_transaction is not None:
                in_transaction(tx)
        return changed

    def _release_leases(self, tx: sa.Connection) -> None:
        leased = (jobs.c.queue == self.queue) & _PENDING & jobs.c.lease.is_not(None)
        if tx.execute(jobs.update().where(leased).values(lease=None, lease_until=None)).rowcount:
            self._db.wake_up(tx, self.queue)

    def _retry_dead(self, tx: sa.Connection, now: datetime) -> int:
        number = tx.execute(jobs.update().where(jobs.c.queue == self.queue, _DEAD).values(_revived(now))).rowcount
        self._db.wake_up(tx, self.queue)
        return number

    def _claim(self, tx: sa.Connection, values: dict[str, Any]) -> list[Job]:
        self._sql.before_claim(tx, self.queue)
        found = tx.execute(self._claim_oldest, values).all()
        return [Job(*row) for row in sorted(found)]


def _time_of(tx: sa.Connection, statement: sa.TextClause, values: dict[str, Any]) -> datetime | None:
    found: int | None = tx.execute(statement, values).scalar()
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


def move_ordering_key(tx: sa.Connection, queue: str, ordering_key: str, to: str) -> None:
    """Move the pending and dead jobs of an ordering key to another one; they keep their order."""
    for state in (_PENDING, _DEAD):
        tx.execute(
            jobs.update()
            .where(jobs.c.queue == queue, jobs.c.ordering_key == ordering_key, state)
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


def _revived(now: datetime) -> dict[str, Any]:
    return {"state": "pending", "scheduled_at": now, "attempts": 0, "finished_at": None}


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
