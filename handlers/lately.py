"""What happened lately, by key: for what need not be done again so soon, in this process only."""

from __future__ import annotations

from datetime import datetime, timedelta

MOST = 10_000
"""Keys that are remembered at the most; where there are more, the oldest go."""


class Lately:
    """Times by key, the oldest first; what is older than `kept` is forgotten as something new is noted."""

    def __init__(self, kept: timedelta, *, most: int = MOST) -> None:
        self._kept = kept
        self._most = most
        self._times: dict[str, datetime] = {}

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._times)

    def when(self, key: str) -> datetime | None:
        """The time that was noted last; None if there is none, or it was forgotten."""
        return self._times.get(key)

    def note(self, key: str, at: datetime, *, now: datetime) -> None:
        """Remember this time, and forget what is too old or too much."""
        self._times.pop(key, None)
        while self._times and (len(self._times) >= self._most or self._oldest() < now - self._kept):
            del self._times[next(iter(self._times))]
        self._times[key] = at

    def _oldest(self) -> datetime:
        return next(iter(self._times.values()))
