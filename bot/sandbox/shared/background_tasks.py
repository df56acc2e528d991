"""Owns every background task and every alarm of the pretend Stripe, so that `stop()` leaves nothing running."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from datetime import datetime
from itertools import count
from typing import Any, TypeVar

from bot.sandbox.shared.fake_clock import TurnedClock

T = TypeVar("T")


class Errands:
    """Background tasks that end with `end()`; a failure in one is raised there."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._broken: list[BaseException] = []

    def start(self, errand: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(errand)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken.append(error)

    async def end(self) -> None:
        """Cancel what is running and wait for it; raises the first failure of any errand."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._broken:
            raise self._broken[0]


class Alarms:
    """Things that happen at their time: on their own, and at the latest when `ring()` is called."""

    def __init__(self, clock: TurnedClock, background_tasks: Errands) -> None:
        self._clock = clock
        self._background_tasks = background_tasks
        self._set: list[tuple[datetime, int, Callable[[datetime], None]]] = []
        self._number = count()

    def at(self, when: datetime, action: Callable[[datetime], None]) -> None:
        """Call `action(when)` once the clock has reached `when`."""
        heapq.heappush(self._set, (when, next(self._number), action))
        self._background_tasks.start(self._wake(when))

    async def _wake(self, when: datetime) -> None:
        while (
            left := (when - self._clock.now()).total_seconds()
        ) > 0:  # timers may fire a tick before the clock says so
            await self._clock.sleep(left)
        self.ring()

    def ring(self) -> None:
        """Do everything that is due, oldest first, as of its own time."""
        while self._set and self._set[0][0] <= self._clock.now():
            when, _, action = heapq.heappop(self._set)
            action(when)
