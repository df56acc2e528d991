"""Work beside work: waited for together, or going on by itself until the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any
from weakref import WeakValueDictionary

log = logging.getLogger(__name__)


async def gather_all(work: Sequence[Coroutine[Any, Any, object]]) -> None:
    """Return when all of them are over; an error of one is raised then, so that no other goes on unattended."""
    for error in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(error, BaseException):
            raise error


async def wait_first(*waiting: Coroutine[Any, Any, object]) -> None:
    """Return when the first of them does, and end the others."""
    tasks = [asyncio.ensure_future(each) for each in waiting]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class BackgroundTasks:
    """Work that outlives whoever began it; it is waited for at the end, and its failures are written down."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    async def run_with_timeout(self, seconds: float, work: Coroutine[Any, Any, object]) -> bool:
        """Begin the work and wait for it so long; False if it goes on by itself."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        done, _ = await asyncio.wait({task}, timeout=seconds)
        return bool(done)

    async def close(self, seconds: float) -> None:
        """Wait for all of it; what is not done then is cut short, and the next start goes on with it."""
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("work that went on by itself failed", exc_info=error)


USER_WAIT_TIMEOUT = 3.0
"""Seconds that a person waits for Stripe; after that the card says that it takes longer, and the work goes on."""


class KeyedLocks:
    """A lock for each payment: Stripe locks the intent as well, and a later look is then a newer one."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def lock(self, payment_id: str) -> asyncio.Lock:
        """The lock of one payment; it lives as long as somebody holds or awaits it."""
        return self._locks.setdefault(payment_id, asyncio.Lock())
