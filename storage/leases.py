"""Leases between replicas, on PostgreSQL alone: each has one holder, and ends by the database's clock."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from storage.database.database import Database
from storage.database.engine import SERVER_CLOCK
from storage.schema.leases import leases
from storage.schema.types import EPOCH

RELEASED = "leader"
"""The event that is set when the leader gives its lease back."""

REPLICA = "replica:"
"""The prefix, before the process id, of the lease by which a process shows the other replicas that it runs."""


def take(tx: sa.Connection, name: str, holder: str, seconds: float) -> bool:
    """Take a lease that is free or has ended, or renew one's own; False if another holds it."""
    values = {"name": name, "holder": holder, "micros": round(seconds * 1_000_000)}
    return tx.execute(_TAKE, values).first() is not None


def give_back(tx: sa.Connection, name: str, holder: str) -> None:
    """End a lease, if it is still this holder's."""
    tx.execute(leases.delete().where(leases.c.name == name, leases.c.holder == holder))


def give_back_leadership(tx: sa.Connection, db: Database, name: str, holder: str) -> None:
    """End a lease, and wake those that wait for it."""
    give_back(tx, name, holder)
    db.wake_up(tx, RELEASED)


def server_time(tx: sa.Connection) -> datetime:
    """What the database's clock shows (UTC)."""
    micros: int = tx.execute(_NOW).scalar_one()
    return EPOCH + timedelta(microseconds=micros)


def release_jobs_of_dead_processes(tx: sa.Connection, db: Database) -> int:
    """End the leases of jobs whose process gives no sign of life any more; returns how many."""
    number = 0
    for queue in tx.execute(_FREE_JOBS).scalars().all():
        db.wake_up(tx, queue)
        number += 1
    tx.execute(_FORGET)
    return number


_TAKE = sa.text(f"""
INSERT INTO leases (name, holder, until) VALUES (:name, :holder, {SERVER_CLOCK} + :micros)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
WHERE leases.holder = excluded.holder OR leases.until <= {SERVER_CLOCK}
RETURNING name
""")  # noqa: S608 - a constant
_NOW = sa.text(f"SELECT {SERVER_CLOCK}")
_FREE_JOBS = sa.text(f"""
UPDATE jobs SET lease = NULL, lease_until = NULL WHERE id IN (
    SELECT id FROM jobs WHERE state = 'pending' AND lease_until IS NOT NULL AND NOT EXISTS (
        SELECT FROM leases WHERE name = 'replica:' || left(lease, 16) AND until > {SERVER_CLOCK}
    )
    FOR UPDATE SKIP LOCKED
)
RETURNING queue
""")  # noqa: S608 - a constant
_FORGET = sa.text(f"DELETE FROM leases WHERE until < {SERVER_CLOCK} - 3600000000")  # noqa: S608 - a constant
