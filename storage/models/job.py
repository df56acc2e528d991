"""What travels on a belt, and what can become of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Draft:
    """A mail to be put. `key` is unique in its box; mails of one `lane` leave in the order they were put.

    `due_at` (aware UTC) is when it may leave at the earliest; None means at once.
    """

    key: str
    lane: str
    kind: str
    body: bytes = b""
    due_at: datetime | None = None


@dataclass(frozen=True)
class Mail:
    """A claimed mail. `tries` counts the earlier ones that failed; `lease` proves that the claim is still ours."""

    id: int
    box: str
    key: str
    lane: str
    kind: str
    body: bytes
    put_at: datetime
    tries: int
    lease: str


@dataclass(frozen=True)
class SetAside:
    """A mail that waits for a human, and why."""

    id: int
    box: str
    key: str
    lane: str
    kind: str
    reason: str
    tries: int
    put_at: datetime
    set_aside_at: datetime


@dataclass(frozen=True)
class Done:
    """It has been dealt with; its key is kept so that the same mail is not put again."""

    note: str = ""


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
class Discard:
    """It will never work: set it aside for a human."""

    reason: str


Verdict = Done | Retry | Snooze | Discard
