"""One clock for the pretend state: real or frozen time that can be moved forward by hand."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

MAX_TIME = datetime(9000, 1, 1, tzinfo=UTC)
"""As far as a clock can be turned; what is reckoned from there still fits into the calendar."""


class FakeClock:
    """A clock that can be advanced; everything asleep on it wakes when its time has come.

    `frozen=True` stands still between advances (tests); otherwise real time goes on as well (demo, sandbox).
    """

    def __init__(self, start: datetime | None = None, *, frozen: bool = False) -> None:
        self._start = start or datetime.now(UTC)
        self._started_at = None if frozen else datetime.now(UTC)
        self._offset = timedelta()
        self._advanced = asyncio.Event()

    def now(self) -> datetime:
        """The pretend time, aware UTC."""
        real = datetime.now(UTC) - self._started_at if self._started_at else timedelta()
        return self._start + real + self._offset

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds`; time never goes back.

        Raises ValueError for that, OverflowError beyond the year 9000; then the clock goes on as before.
        """
        if seconds < 0:
            raise ValueError("a clock cannot be turned back")
        step = timedelta(seconds=seconds)
        if step > MAX_TIME - self.now():
            raise OverflowError("a clock can be turned until the year 9000")
        self._offset += step
        turned, self._advanced = self._advanced, asyncio.Event()
        turned.set()

    async def sleep(self, seconds: float) -> None:
        """Return once `now()` has moved on by `seconds`, by waiting or by turning."""
        until = self.now() + timedelta(seconds=seconds)
        while (left := (until - self.now()).total_seconds()) > 0:
            try:
                await asyncio.wait_for(self._advanced.wait(), None if self._started_at is None else left)
            except TimeoutError:
                return
