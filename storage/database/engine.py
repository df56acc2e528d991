"""What both databases offer: `sqlite.py` and `postgres.py` each have an engine, and the job queue's statements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

T = TypeVar("T")
Unit = Callable[[sa.Connection], Any]

JobRow = tuple[str, str, str, str, bytes, int, int]
"""A job to insert: queue, key, ordering key, kind, payload, created_at, scheduled_at (microseconds since 1970)."""

SERVER_CLOCK = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)"
"""PostgreSQL's time in microseconds since 1970: leases end by it, whatever time the replicas have."""

NOTIFICATIONS = "notifications"
"""The key of a connection's `info` for the notifications of its unit of work: pairs of channel and payload."""


class Engine(Protocol):
    """Runs units of work."""

    async def write(self, unit: Unit, on_commit: Callable[[bool], None]) -> Any:
        """Run a unit in a transaction, then `on_commit`, with whether it changed a row.

        Raises:
            DatabaseUnavailable: nothing was written.
        """

    async def read(self, unit: Callable[[sa.Connection], T]) -> T:
        """Run a unit on a snapshot.

        Raises:
            DatabaseUnavailable: the database cannot be read.
        """

    async def migrate(self, unit: Callable[[sa.Connection], T]) -> T:
        """Run a unit alone, in a transaction that may rebuild tables.

        Raises:
            DatabaseUnavailable, ValueError, UnsupportedDatabase: nothing was written.
        """

    async def probe(self) -> None:
        """Check whether the program can work on this database.

        Raises:
            DatabaseUnavailable: it cannot be reached.
            UnsupportedDatabase: it lacks something; the text is for the operator.
        """

    async def listen(
        self, on_event: Callable[[str], None], on_payment: Callable[[str], None], on_missed: Callable[[], None]
    ) -> None:
        """Pass on what other processes commit, until cancelled; returns at once where there are none."""

    async def close(self) -> None:
        """Finish what began, and close all connections."""


class QueueStatements(Protocol):
    """The statements of the job queue. They take the parameters queue, now, limit, lease and lease_micros."""

    QUEUE_HEADS: str
    """A common table expression `heads`: the oldest pending job of each ordering key, one index look-up per key."""

    CLAIM: str
    NEXT_DUE: str
    OLDEST_PENDING: str
    DONE_VALUES: dict[str, Any]
    """What a job gets when it is done, beside its state."""

    @staticmethod
    def before_claim(connection: sa.Connection, queue: str) -> None:
        """Prepare a claim within its transaction."""

    @staticmethod
    def insert_jobs(connection: sa.Connection, rows: Sequence[JobRow]) -> int:
        """Insert the jobs whose key is new, and return how many those were."""
