"""Jobs of the queue, and the outcomes that a handler returns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class NewJob:
    """A job to enqueue.

    `key` is unique in its queue. Jobs with the same `ordering_key` run one at a time, in order of creation.
    `scheduled_at` (aware UTC) is the earliest time it may run; None means at once.
    """

    key: str
    ordering_key: str
    kind: str
    payload: bytes = b""
    scheduled_at: datetime | None = None


@dataclass(frozen=True)
class Job:
    """A claimed job. `attempts` counts the failed ones before this; `lease` identifies this claim."""

    id: int
    queue: str
    key: str
    ordering_key: str
    kind: str
    payload: bytes
    created_at: datetime
    attempts: int
    lease: str


@dataclass(frozen=True)
class DeadJob:
    """A dead-lettered job. It waits for the operator."""

    id: int
    queue: str
    key: str
    ordering_key: str
    kind: str
    reason: str
    attempts: int
    created_at: datetime
    finished_at: datetime


@dataclass(frozen=True)
class Done:
    """The job is done. Its key is kept, so that the same job is not enqueued again."""

    reason: str = ""


@dataclass(frozen=True)
class Retry:
    """The attempt failed and counts. The job runs again in `delay_seconds`."""

    reason: str
    delay_seconds: float


@dataclass(frozen=True)
class Snooze:
    """The job runs again in `delay_seconds`, without counting an attempt."""

    delay_seconds: float


@dataclass(frozen=True)
class DeadLetter:
    """The job cannot succeed and is not retried. The operator is notified."""

    reason: str


Outcome = Done | Retry | Snooze | DeadLetter
