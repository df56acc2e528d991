"""What travels on a belt, and what can become of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class NewJob:
    """A mail to be put. `key` is unique in its box; mails of one `lane` leave in the order they were put.

    `due_at` (aware UTC) is when it may leave at the earliest; None means at once.
    """

    key: str
    ordering_key: str
    kind: str
    payload: bytes = b""
    scheduled_at: datetime | None = None


@dataclass(frozen=True)
class Job:
    """A claimed mail. `tries` counts the earlier ones that failed; `lease` proves that the claim is still ours."""

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
    """A mail that waits for a human, and why."""

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
    """It has been dealt with; its key is kept so that the same mail is not put again."""

    reason: str = ""


@dataclass(frozen=True)
class Retry:
    """It failed: again in `wait` seconds, and count the try."""

    reason: str
    wait: float


@dataclass(frozen=True)
class Snooze:
    """Not now: again in `wait` seconds, at no cost."""

    wait: float


@dataclass(frozen=True)
class DeadLetter:
    """It will never work: set it aside for a human."""

    reason: str


Outcome = Done | Retry | Snooze | DeadLetter
