"""A durable belt: what is put is kept until it was dealt with, once, in order, by whoever holds its lease."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database import sqlite
from storage.database.batch_insert import BatchInserter
from storage.database.database import CHUNK_SIZE, Database
from storage.models.job import DeadJob, DeadLetter, Done, Job, NewJob, Outcome, Retry, Snooze
from storage.schema.queue import jobs
from storage.schema.types import EPOCH

Also = Callable[[AsyncConnection], Awaitable[None]]
_MICROSECOND = timedelta(microseconds=1)

_WAITING = sa.literal_column("state") == sa.literal_column("'pending'")
_SETTLE = jobs.update().where(jobs.c.id == sa.bindparam("which"), jobs.c.lease == sa.bindparam("ours"), _WAITING)
_SETTLE_DONE = _SETTLE.values(id=sa.select(sa.func.max(jobs.c.id) + 1).scalar_subquery(), payload=b"")
_DONE = sa.literal_column("state") == sa.literal_column("'done'")
_SET_ASIDE = sa.literal_column("state") == sa.literal_column("'dead'")
# Literal, for SQLite takes a partial index only where the statement itself says the index's condition.
# A mail that loses its body gets a new id: in its old place it would keep the page that it had filled.


class JobQueue:
    """The mails of one box. A lane is strict: while its oldest mail waits or is leased, the later ones stay.

    Of what was done only the key is kept, so that it is known if it comes again: what people wrote is theirs.
    """

    def __init__(self, db: Database, queue: str) -> None:
        self.queue = queue
        self._db = db
        self._wake_up = db.event(queue)
        self._commits = BatchInserter(db)
        self.put_at: datetime | None = None
        """When this process last kept a draft, or had it already; None before the first."""

    async def enqueue(self, *drafts: NewJob, now: datetime) -> int:
        """Keep the drafts; returns how many were new, after the commit. Calls at the same time share a commit.

        A key that is there already, in whatever state, is not put again.

        Raises:
            DatabaseUnavailable: nothing was kept.
        """
        if not drafts:
            return 0
        new = await self._commits.insert(self._rows(drafts, now))
        self.put_at = now
        if new:
            self.notify()
        return new

    async def enqueue_in(self, tx: AsyncConnection, *drafts: NewJob, now: datetime) -> None:
        """Keep the drafts as a part of the transaction `tx`; whoever waits is woken after its commit."""
        if drafts:
            await sqlite.insert_mail(tx, self._rows(drafts, now))
            self._db.after_commit(tx, self.notify)

    async def claim(self, *, now: datetime, limit: int, lease_seconds: float) -> list[Job]:
        """Lease the oldest mail of each lane, if it is due and nobody holds it; at most `limit`, oldest first.

        Whoever does not settle it within `lease_seconds` loses it: it can be claimed again.
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
        async with self._db.transaction() as tx:
            found = (await tx.execute(_CLAIM, values)).all()
        return [Job(*row) for row in sorted(found)]

    async def finish(self, job: Job, verdict: Outcome, *, now: datetime, in_transaction: Also | None = None) -> bool:
        """Write what became of a claimed mail; False (and nothing is written) if the lease is not ours any more.

        `also` writes in the same transaction, so that neither is there without the other.
        """
        change = _SETTLE_DONE if isinstance(verdict, Done) else _SETTLE
        return await self._settle(job, _values(job, verdict, now), in_transaction, change)

    async def release(self, job: Job) -> bool:
        """Give a claimed mail back untouched; False if the lease is not ours any more."""
        return await self._settle(job, {})

    async def release_leases(self) -> None:
        """Void every lease: for whoever knows that nobody else can hold one, so that a crash costs no waiting."""
        leased = (jobs.c.queue == self.queue) & _WAITING & jobs.c.lease.is_not(None)
        await self._change(jobs.update().where(leased).values(lease=None, lease_until=None))

    async def next_due(self) -> datetime | None:
        """When the next mail can be claimed at the earliest (it is due, or its lease ends); None if none waits."""
        async with self._db.glance() as tx:
            found: int | None = (await tx.execute(_NEXT_DUE, {"queue": self.queue})).scalar()
        return None if found is None else _time(found)

    async def wait(self) -> None:
        """Return when this process put or settled something in this box since the last `claim`."""
        await self._wake_up.wait()

    def notify(self) -> None:
        """Wake whoever waits; `put`, `put_within` and `settle` do so themselves."""
        self._wake_up.set()

    async def depth(self) -> int:
        """How many mails wait, leased ones included."""
        query = sa.select(sa.func.count()).select_from(jobs).where(jobs.c.queue == self.queue, _WAITING)
        async with self._db.reading() as tx:
            return (await tx.execute(query)).scalar_one()

    async def dead_count(self) -> int:
        """How many mails wait for a human."""
        query = sa.select(sa.func.count()).select_from(jobs).where(jobs.c.queue == self.queue, _SET_ASIDE)
        async with self._db.reading() as tx:
            return (await tx.execute(query)).scalar_one()

    async def oldest_age(self, now: datetime) -> float:
        """For how many seconds the oldest waiting mail has been here; 0 if none waits."""
        async with self._db.glance() as tx:
            found: int | None = (await tx.execute(_OLDEST, {"queue": self.queue})).scalar()
        return 0.0 if found is None else max((now - _time(found)).total_seconds(), 0.0)

    async def oldest_created_at(self, ordering_key: str) -> datetime | None:
        """When the oldest mail was put that waits in a lane; None if none does."""
        query = sa.select(sa.func.min(jobs.c.created_at)).where(
            jobs.c.queue == self.queue, _WAITING, jobs.c.ordering_key == ordering_key
        )
        async with self._db.reading() as tx:
            found: datetime | None = (await tx.execute(query)).scalar_one()
        return found

    async def dead_jobs(self, *, limit: int = 100, before: int | None = None) -> list[DeadJob]:
        """The mails that wait for a human, newest first; `before` is the id that the page above ended with."""
        query = sa.select(jobs).where(jobs.c.queue == self.queue, _SET_ASIDE).order_by(jobs.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(jobs.c.id < before)
        async with self._db.reading() as tx:
            return [_to_set_aside(row) for row in (await tx.execute(query)).mappings()]

    async def retry_dead(self, *, now: datetime) -> int:
        """Have everything that was set aside tried anew, at once; returns how many mails that are."""
        anew = {"state": "pending", "scheduled_at": now, "attempts": 0, "finished_at": None}
        async with self._db.transaction() as tx:
            back = (await tx.execute(jobs.update().where(jobs.c.queue == self.queue, _SET_ASIDE).values(anew))).rowcount
            self._db.after_commit(tx, self.notify)
        return back

    async def delete_done(self, *, before: datetime) -> int:
        """Forget what was done before that time (and its keys), at most `FEW` of it; returns how many that were."""
        return await self._forget(_DONE, before)

    async def delete_dead(self, *, before: datetime) -> int:
        """The same of what was set aside, and what nobody has had tried again since."""
        return await self._forget(_SET_ASIDE, before)

    async def _forget(self, state: sa.ColumnElement[bool], before: datetime) -> int:
        old = (
            sa.select(jobs.c.id).where(jobs.c.queue == self.queue, state, jobs.c.finished_at < before).limit(CHUNK_SIZE)
        )
        async with self._db.transaction() as tx:
            return (await tx.execute(jobs.delete().where(jobs.c.id.in_(old.scalar_subquery())))).rowcount

    def _rows(self, drafts: tuple[NewJob, ...], now: datetime) -> list[sqlite.Row]:
        at = _micros(now)
        return [
            (
                self.queue,
                d.key,
                d.ordering_key,
                d.kind,
                d.payload,
                at,
                at if d.scheduled_at is None else _micros(d.scheduled_at),
            )
            for d in drafts
        ]

    async def _settle(
        self, claimed: Job, values: dict[str, Any], also: Also | None = None, change: sa.Update = _SETTLE
    ) -> bool:
        which = {"which": claimed.id, "ours": claimed.lease}
        return await self._change(change, {**values, **which, "lease": None, "lease_until": None}, also)

    async def _change(self, change: sa.Update, values: dict[str, Any] | None = None, also: Also | None = None) -> bool:
        async with self._db.transaction() as tx:
            changed = bool((await tx.execute(change, values)).rowcount)
            if changed and also is not None:
                await also(tx)
        if changed:
            self.notify()
        return changed


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


async def move_ordering_key(tx: AsyncConnection, queue: str, ordering_key: str, to: str) -> None:
    """Have what waits in a lane wait in another one, as a part of the transaction `tx`; it keeps its order."""
    await tx.execute(
        jobs.update()
        .where(jobs.c.queue == queue, jobs.c.ordering_key == ordering_key, _WAITING)
        .values(ordering_key=to)
    )


def _values(claimed: Job, verdict: Outcome, now: datetime) -> dict[str, Any]:
    match verdict:
        case Done(note):
            return {"state": "done", "reason": note, "finished_at": now}
        case DeadLetter(reason):
            return {"state": "dead", "reason": reason, "finished_at": now}
        case Retry(reason, wait):
            return {"attempts": claimed.attempts + 1, "reason": reason, "scheduled_at": now + timedelta(seconds=wait)}
        case Snooze(wait):
            return {"scheduled_at": now + timedelta(seconds=wait)}


def _to_set_aside(row: Any) -> DeadJob:
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
