"""The clock of the sandbox: real or frozen time that can be moved forward."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

MAX_TIME = datetime(9000, 1, 1, tzinfo=UTC)
"""The clock cannot be advanced beyond this, so that times computed from it still fit into `datetime`."""


class FakeClock:
    """A clock that can be advanced; sleepers wake when their time has come.

    `frozen=True` stands still between calls of `advance` (tests). Otherwise real time passes as well (demo, sandbox).
    """

    def __init__(self, start: datetime | None = None, *, frozen: bool = False) -> None:
        self._start = start or datetime.now(UTC)
        self._started_at = None if frozen else datetime.now(UTC)
        self._offset = timedelta()
        self._advanced = asyncio.Event()

    def now(self) -> datetime:
        """The fake time, aware UTC."""
        elapsed = datetime.now(UTC) - self._started_at if self._started_at else timedelta()
        return self._start + elapsed + self._offset

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds`.

        Raises ValueError for a negative number and OverflowError beyond the year 9000; the time is then unchanged.
        """
        if seconds < 0:
            raise ValueError("the clock cannot be turned back")
        step = timedelta(seconds=seconds)
        if step > MAX_TIME - self.now():
            raise OverflowError("the clock cannot be advanced beyond the year 9000")
        self._offset += step
        advanced, self._advanced = self._advanced, asyncio.Event()
        advanced.set()

    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]:
        """Return once `now()` has moved on by `seconds`, by real time or by `advance`.

        The time counts from the call, not from when the coroutine first runs: the clock may be advanced in between.
        """
        return self._sleep_until(self.now() + timedelta(seconds=seconds))

    async def _sleep_until(self, until: datetime) -> None:
        while (left := (until - self.now()).total_seconds()) > 0:
            try:
                await asyncio.wait_for(self._advanced.wait(), None if self._started_at is None else left)
            except TimeoutError:
                return
