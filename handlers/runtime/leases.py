"""Leases between replicas: held while a block runs, renewed beside it, and the block is cancelled when one is lost."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from storage import leases
from storage.database.database import Database
from storage.errors import DatabaseUnavailable

log = logging.getLogger(__name__)

LEADER = "leader"
LEADER_SECONDS = 10.0
LOOK_SECONDS = 2.0
"""How often a process looks whether the leader's lease has ended: another leads 12 seconds after a death."""

PAYMENT_SECONDS = 15.0
FIRST_LOOK, LONGEST_LOOK = 0.02, 0.5

MARGIN = 0.1
"""The part of a lease that its holder does not use, for a slow clock."""


class LeaseLost(DatabaseUnavailable):
    """Another process may hold the lease by now; what ran under it was cancelled, and is done again."""


@asynccontextmanager
async def held_lease(
    db: Database, name: str, seconds: float, *, holder: str | None = None, look: float = LONGEST_LOOK
) -> AsyncIterator[None]:
    """Wait for the lease, and hold it while the block runs. `look` is the longest time between two tries.

    A process that was stopped for longer than `seconds` finds the block cancelled when it goes on, before anything else
    in the block happens.

    Raises:
        LeaseLost: it could not be renewed in time.
        DatabaseUnavailable: it could not be taken.
    """
    holder = holder or secrets.token_hex(16)
    released = db.event(leases.RELEASED) if name == LEADER else asyncio.Event()
    pause = min(FIRST_LOOK, look)
    while True:
        released.clear()
        until = await _take_or_give_back(db, name, holder, seconds)
        if until is not None:
            break
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await released.wait()
        pause = min(pause * 2, look)
    try:
        async with asyncio.timeout_at(until) as limit:
            renewing = asyncio.create_task(_renew(db, name, holder, seconds, limit))
            try:
                yield
            finally:
                renewing.cancel()
                await asyncio.gather(renewing, return_exceptions=True)
    except TimeoutError as error:
        if limit.expired():
            raise LeaseLost(f"the lease {name.partition(':')[0]} was lost") from error
        raise
    finally:
        await _give_back(db, name, holder)


async def _take_or_give_back(db: Database, name: str, holder: str, seconds: float) -> float | None:
    """The same as `_take`, but a lease is given back that was taken for a caller who was cancelled meanwhile."""
    taking = asyncio.create_task(_take(db, name, holder, seconds))
    try:
        return await asyncio.shield(taking)
    except asyncio.CancelledError:
        await asyncio.gather(taking, return_exceptions=True)
        await _give_back(db, name, holder)
        raise


async def _take(db: Database, name: str, holder: str, seconds: float) -> float | None:
    """Until when the lease is held, on the event loop's clock, counted from before it was asked for."""
    began = asyncio.get_running_loop().time()
    taken = await db.write(leases.take, name, holder, seconds)
    return began + seconds * (1 - MARGIN) if taken else None


async def _renew(db: Database, name: str, holder: str, seconds: float, limit: asyncio.Timeout) -> None:
    while True:
        await asyncio.sleep(seconds / 3)
        try:
            until = await _take(db, name, holder, seconds)
        except DatabaseUnavailable as error:
            log.warning("the lease %s could not be renewed: %s", name, error)
            continue
        if until is None or limit.expired():
            limit.reschedule(asyncio.get_running_loop().time())
            return
        limit.reschedule(until)


async def _give_back(db: Database, name: str, holder: str) -> None:
    try:
        if name == LEADER:
            await db.write(leases.give_back_leadership, db, name, holder)
        else:
            await db.write(leases.give_back, name, holder)
    except DatabaseUnavailable as error:
        log.warning("the lease %s ends by itself: %s", name, error)


class Leadership:
    """Elects the replica that runs what only one may run. On SQLite this process is always the leader."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.is_leader = not db.has_replicas
        """Whether this process leads now."""

    async def run(self, lead: Callable[[], Awaitable[None]], stand_by: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `lead` whenever this process leads, and `stand_by` until then; both are cancelled when that changes."""
        while True:
            waiting = asyncio.create_task(stand_by())
            try:
                async with held_lease(self._db, LEADER, LEADER_SECONDS, look=LOOK_SECONDS):
                    await _cancel(waiting)
                    self.is_leader = True
                    log.info("this process leads")
                    await lead()
            except DatabaseUnavailable as error:
                log.warning("this process does not lead: %s", error)
                await asyncio.sleep(1)
            finally:
                self.is_leader = False
                await _cancel(waiting)

    async def release_jobs_of_dead_processes(self) -> None:
        """Until cancelled, in the leader: end the leases of jobs whose process no longer runs."""
        while True:
            try:
                if number := await self._db.write(leases.release_jobs_of_dead_processes, self._db):
                    log.warning("%s jobs of a process that died are claimed again", number)
            except DatabaseUnavailable as error:
                log.warning("jobs of processes that died wait: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def register_process(self) -> None:
        """Show the other replicas, and `move-db`, that this process lives, before `keep_registered` goes on with that.

        Raises:
            DatabaseUnavailable: it could not be written.
        """
        name = leases.REPLICA + self._db.process_id
        await self._db.write(leases.take, name, self._db.process_id, LEADER_SECONDS)

    async def keep_registered(self) -> None:
        """Until cancelled: renew the lease by which the other replicas see that this process runs."""
        name = leases.REPLICA + self._db.process_id
        while True:
            try:
                async with held_lease(self._db, name, LEADER_SECONDS, holder=self._db.process_id):
                    await asyncio.Event().wait()
            except DatabaseUnavailable as error:
                log.warning("the other replicas may take this process for dead: %s", error)
                await asyncio.sleep(1)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
