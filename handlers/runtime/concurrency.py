"""Concurrent work: waiting for several coroutines, tasks in the background, locks by key."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any
from weakref import WeakValueDictionary

log = logging.getLogger(__name__)

USER_WAIT_TIMEOUT = 3.0
"""Seconds that a user waits for Stripe. After that the work goes on in the background, and the reply says so."""


async def gather_all(work: Sequence[Coroutine[Any, Any, object]]) -> None:
    """Returns when all of them have ended. The first exception is raised then, so that none keeps running alone."""
    for error in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(error, BaseException):
            raise error


async def wait_first(*coroutines: Coroutine[Any, Any, object]) -> None:
    """Returns when the first of them ends, and cancels the others."""
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class BackgroundTasks:
    """Tasks that may outlive their caller. `close` waits for them; their exceptions are logged."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    async def run_with_timeout(self, timeout_seconds: float, work: Coroutine[Any, Any, object]) -> bool:
        """Starts the work and waits this long for it; False if it goes on in the background."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._on_done)
        done, _ = await asyncio.wait({task}, timeout=timeout_seconds)
        return bool(done)

    async def close(self, timeout_seconds: float) -> None:
        """Waits for all tasks, then cancels the rest. The reconciler completes those after the next start."""
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=timeout_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a background task failed", exc_info=error)


class KeyedLocks:
    """One lock per key. A payment's id as the key makes each retrieve of it newer than the one before."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def lock(self, key: str) -> asyncio.Lock:
        """The lock of this key. It exists while a task holds or awaits it."""
        return self._locks.setdefault(key, asyncio.Lock())
