"""Keeps one visitor, or one link, from being tapped without end: so many times in a sliding window, in this process."""

from __future__ import annotations

from collections import OrderedDict, deque
from datetime import datetime, timedelta


class RateLimiter:
    """Counts what was let through by key; the longest unused key is forgotten where there are too many."""

    def __init__(self, limit: int, seconds: float, *, keys: int = 10_000) -> None:
        """`most` pass in `seconds`; `keys` bounds what is remembered."""
        self._most = limit
        self._window = timedelta(seconds=seconds)
        self._keys = keys
        self._passed: OrderedDict[str, deque[datetime]] = OrderedDict()

    def retry_after(self, key: str, now: datetime) -> float:
        """Seconds until the key may pass; 0 lets it pass now, and counts that."""
        passed = self._passed.setdefault(key, deque(maxlen=self._most))
        self._passed.move_to_end(key)
        if len(passed) == self._most and (free_at := passed[0] + self._window) > now:
            return (free_at - now).total_seconds()
        passed.append(now)
        if len(self._passed) > self._keys:
            self._passed.popitem(last=False)
        return 0.0


MOST = 10_000
"""Keys that are remembered at the most; where there are more, the oldest go."""


class RecentTimes:
    """Times by key, the oldest first; what is older than `kept` is forgotten as something new is noted."""

    def __init__(self, kept: timedelta, *, most: int = MOST) -> None:
        self._kept = kept
        self._most = most
        self._timing: dict[str, datetime] = {}

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._timing)

    def get(self, key: str) -> datetime | None:
        """The time that was noted last; None if there is none, or it was forgotten."""
        return self._timing.get(key)

    def set(self, key: str, at: datetime, *, now: datetime) -> None:
        """Remember this time, and forget what is too old or too much."""
        self._timing.pop(key, None)
        while self._timing and (len(self._timing) >= self._most or self._oldest() < now - self._kept):
            del self._timing[next(iter(self._timing))]
        self._timing[key] = at

    def _oldest(self) -> datetime:
        return next(iter(self._timing.values()))
