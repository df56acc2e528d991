"""Rate limits by sliding windows, and recent times by key. Both are kept in memory, for this process only."""

from __future__ import annotations

from collections import OrderedDict, deque
from datetime import datetime, timedelta

MAX_KEYS = 10_000
"""How many keys are kept; beyond that the least recently used is dropped."""


class SlidingWindow:
    """At most `limit` events in any stretch of the length `window`."""

    __slots__ = ("_limit", "_times", "_window")

    def __init__(self, limit: int, window: timedelta) -> None:
        self._limit = limit
        self._window = window
        self._times: deque[datetime] = deque(maxlen=limit)

    def wait(self, now: datetime, *, spare: int = 0) -> timedelta:
        """The time until another event is allowed that leaves room for `spare` more; zero if it is allowed now."""
        limit = max(self._limit - spare, 1)
        if len(self._times) < limit:
            return timedelta(0)
        return max(self._times[-limit] + self._window - now, timedelta(0))

    def add(self, now: datetime) -> None:
        """Counts an event that `wait` allowed."""
        self._times.append(now)

    def is_idle(self, now: datetime) -> bool:
        """Whether no event is in the window any more."""
        return not self._times or self._times[-1] + self._window <= now


class RateLimiter:
    """A sliding window for each key, such as a user or an address."""

    def __init__(self, limit: int, window_seconds: float, *, max_keys: int = MAX_KEYS) -> None:
        """Allows `limit` events in any `window_seconds` for each key."""
        self._limit = limit
        self._window = timedelta(seconds=window_seconds)
        self._max_keys = max_keys
        self._windows: OrderedDict[str, SlidingWindow] = OrderedDict()

    def __len__(self) -> int:
        """How many keys are kept."""
        return len(self._windows)

    def acquire(self, key: str, now: datetime) -> float:
        """Counts an event and returns 0.0 if it is allowed now; otherwise the seconds until it would be."""
        window = self._windows.setdefault(key, SlidingWindow(self._limit, self._window))
        self._windows.move_to_end(key)
        if wait := window.wait(now):
            return wait.total_seconds()
        window.add(now)
        if len(self._windows) > self._max_keys:
            self._windows.popitem(last=False)
        return 0.0


class RecentTimes:
    """A map from keys to times that drops entries older than `ttl`. `set` drops them, `get` does not."""

    def __init__(self, ttl: timedelta, *, max_keys: int = MAX_KEYS) -> None:
        self._ttl = ttl
        self._max_keys = max_keys
        self._times: dict[str, datetime] = {}

    def __len__(self) -> int:
        """How many keys are kept."""
        return len(self._times)

    def get(self, key: str) -> datetime | None:
        """The time last set for the key; None if there is none, or it was dropped."""
        return self._times.get(key)

    def set(self, key: str, at: datetime, *, now: datetime) -> None:
        """Stores the time, and drops entries that are too old or too many, the oldest first."""
        self._times.pop(key, None)
        while self._times and (len(self._times) >= self._max_keys or self._oldest() < now - self._ttl):
            del self._times[next(iter(self._times))]
        self._times[key] = at

    def _oldest(self) -> datetime:
        return next(iter(self._times.values()))
