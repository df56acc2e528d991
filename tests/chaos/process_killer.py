"""A Kvit process that is killed, and restarted as by a service manager, while users go on paying."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from tests.support.process_world import Outside, outside

KILLABLE = ("tests.chaos.killable_service",)


class RestartedService:
    """The current `process`, and when the ones before it were killed."""

    def __init__(self, world: Outside, first: Process) -> None:
        self.world = world
        self.process = first
        self.kill_times: list[datetime] = []
        self._kills = 0
        self._starts = 1

    @property
    def calls(self) -> list[str]:
        """The calls to vendors, each with its number in its own process."""
        return (self.world.folder / "calls").read_text().split()

    async def kill(self) -> None:
        """Sends SIGKILL at once; returns after the restart."""
        self._kills += 1
        os.kill(self.process.pid, signal.SIGKILL)
        await self.wait_until_restarted(self._kills)

    async def wait_until_restarted(self, times: int = 1) -> None:
        """Returns once it was killed so often and restarted."""
        await self.world.until(lambda: len(self.kill_times) >= times and self._starts > len(self.kill_times))

    async def restart_after_kills(self) -> None:
        """Restarts it after each kill; any other exit fails the test."""
        while True:
            code = await self.process.wait()
            assert code == -signal.SIGKILL, (code, self.world.log)
            self.kill_times.append(self.world.stripe.state.now())
            self.process = await self.world.begin(*KILLABLE)
            self._starts += 1
            self.world.stripe.state.changes.notify()

    async def settle(self) -> None:
        """Waits until no job is pending."""
        await self.wait_until_restarted(self._kills)
        if self.kill_times:
            await self.world.is_ready(self.process)
        await self.world.drained()


@asynccontextmanager
async def restarted_service(
    folder: Path, *, kill: str = "", events: tuple[str, ...] = ("*",), **settings: str
) -> AsyncIterator[RestartedService]:
    """A running Kvit whose first process is killed at the call `kill`; at the end it settles and stops by SIGTERM."""
    async with outside(folder, KVIT_CALLS=str(folder / "calls"), **settings) as world:
        # Stripe retries within hours; here within moments, because processes are short-lived.
        world.stripe.options.webhook_retries = (0.2,) * 100
        (folder / "calls").touch()
        service = RestartedService(world, await world.ready(*KILLABLE, KVIT_KILL=kill))
        await world.subscribe(*events)
        async with asyncio.TaskGroup() as group:
            supervisor = group.create_task(service.restart_after_kills())
            yield service
            await service.settle()
            supervisor.cancel()
        await world.stopped(service.process)
