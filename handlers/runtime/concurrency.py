"""Concurrent work: waiting for several coroutines, tasks in the background, locks by key."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from weakref import WeakValueDictionary

from handlers.runtime.leases import PAYMENT_SECONDS, held_lease
from storage.database.database import Database

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

    def __init__(self, db: Database | None = None) -> None:
        """With `db`, a PostgreSQL database, the locks are shared by all replicas that serve it."""
        self._db = db if db is not None and db.has_replicas else None
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def lock(self, key: str) -> AbstractAsyncContextManager[None]:
        """The lock of this key. It exists while a task holds or awaits it.

        Entering it, or the block under it, raises DatabaseUnavailable where replicas share it and the database does not
        answer: then another may hold it.
        """
        local = self._locks.setdefault(key, asyncio.Lock())
        return local if self._db is None else _shared(local, self._db, key)


@asynccontextmanager
async def _shared(local: asyncio.Lock, db: Database, key: str) -> AsyncIterator[None]:
    """The lock in this process first, so that its tasks do not ask the database against each other."""
    async with local, held_lease(db, f"payment:{key}", PAYMENT_SECONDS):
        yield
