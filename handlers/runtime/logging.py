"""Warnings that a client can cause at will, logged at most once a minute each."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

INTERVAL_SECONDS = 60.0
MAX_DETAILS = 1000
"""How many different details are remembered."""


class ThrottledLogger:
    """Logs the same warning once per interval and counts the repetitions, so that clients cannot fill the disk.

    The interval is in real seconds: the disk does not follow a clock that tests turn.
    """

    def __init__(self, interval_seconds: float = INTERVAL_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = interval_seconds
        self._clock = clock
        self._logged_at: dict[str, float] = {}
        self._suppressed: Counter[str] = Counter()

    def warning(self, log: logging.Logger, message: str, detail: str) -> None:
        """Logs the message, whose one `%s` is the detail, unless the same detail was logged within the interval."""
        last, now = self._logged_at.get(detail), self._clock()
        if last is not None and now - last < self._interval:
            self._suppressed[detail] += 1
            return
        if len(self._logged_at) >= MAX_DETAILS:
            self._logged_at.clear()
            self._suppressed.clear()
        self._logged_at[detail] = now
        if repeated := self._suppressed.pop(detail, 0):
            log.warning(f"{message} (and %s more since the last line)", detail, repeated)
        else:
            log.warning(message, detail)
