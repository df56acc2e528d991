"""Background tasks and timers of a fake service; `stop()` leaves none running."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from datetime import datetime
from itertools import count
from typing import Any, TypeVar

from bot.sandbox.shared.fake_clock import FakeClock

T = TypeVar("T")


class BackgroundTasks:
    """Tasks that run until they return or `stop()` cancels them; `stop()` raises the first error of a task."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._errors: list[BaseException] = []

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._errors.append(error)

    async def stop(self) -> None:
        """Cancel the running tasks and wait for them; raises the first error of any task so far."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._errors:
            raise self._errors[0]


class Timers:
    """Calls at a time of the fake clock: in the background, and at the latest in `run_due()`."""

    def __init__(self, clock: FakeClock, background_tasks: BackgroundTasks) -> None:
        self._clock = clock
        self._background_tasks = background_tasks
        self._heap: list[tuple[datetime, int, Callable[[datetime], None]]] = []
        self._sequence = count()

    def call_at(self, when: datetime, action: Callable[[datetime], None]) -> None:
        """Call `action(when)` once the clock has reached `when`."""
        heapq.heappush(self._heap, (when, next(self._sequence), action))
        self._background_tasks.start(self._run_at(when))

    async def _run_at(self, when: datetime) -> None:
        # A loop, because asyncio may wake a sleeper slightly before the clock has reached the time.
        while (left := (when - self._clock.now()).total_seconds()) > 0:
            await self._clock.sleep(left)
        self.run_due()

    def run_due(self) -> None:
        """Run the calls that are due, oldest first, each with its own time."""
        while self._heap and self._heap[0][0] <= self._clock.now():
            when, _, action = heapq.heappop(self._heap)
            action(when)
