"""Keeps one visitor, or one link, from being tapped without end: so many times in a sliding window, in this process."""

from __future__ import annotations

from collections import OrderedDict, deque
from datetime import datetime, timedelta


class Turnstile:
    """Counts what was let through by key; the longest unused key is forgotten where there are too many."""

    def __init__(self, most: int, seconds: float, *, keys: int = 10_000) -> None:
        """`most` pass in `seconds`; `keys` bounds what is remembered."""
        self._most = most
        self._window = timedelta(seconds=seconds)
        self._keys = keys
        self._passed: OrderedDict[str, deque[datetime]] = OrderedDict()

    def wait(self, key: str, now: datetime) -> float:
        """Seconds until the key may pass; 0 lets it pass now, and counts that."""
        passed = self._passed.setdefault(key, deque(maxlen=self._most))
        self._passed.move_to_end(key)
        if len(passed) == self._most and (free_at := passed[0] + self._window) > now:
            return (free_at - now).total_seconds()
        passed.append(now)
        if len(self._passed) > self._keys:
            self._passed.popitem(last=False)
        return 0.0
