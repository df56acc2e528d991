"""A Kvit that is killed and begun again, as a service manager would, while people go on paying."""

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


class Lives:
    """The process that runs now, and when the ones before it were killed."""

    def __init__(self, world: Outside, first: Process) -> None:
        self.world = world
        self.process = first
        self.deaths: list[datetime] = []
        self._kills = 0
        self._begun = 1

    @property
    def calls(self) -> list[str]:
        """The calls to the vendors that were begun, each with its number in its own process."""
        return (self.world.folder / "calls").read_text().split()

    async def kill(self) -> None:
        """SIGKILL, whatever it does at the moment; return once another one was begun."""
        self._kills += 1
        os.kill(self.process.pid, signal.SIGKILL)
        await self.died(self._kills)

    async def died(self, times: int = 1) -> None:
        """Wait until it was killed so often, and begun again."""
        await self.world.until(lambda: len(self.deaths) >= times and self._begun > len(self.deaths))

    async def keep(self) -> None:
        """Begin it again whenever it was killed; any other end is a failure."""
        while True:
            code = await self.process.wait()
            assert code == -signal.SIGKILL, (code, self.world.log)
            self.deaths.append(self.world.stripe.state.now())
            self.process = await self.world.begin(*KILLABLE)
            self._begun += 1
            self.world.stripe.state.changes.notify()

    async def settle(self) -> None:
        """Wait until everything is done and told."""
        await self.died(self._kills)
        if self.deaths:
            await self.world.is_ready(self.process)
        await self.world.drained()


@asynccontextmanager
async def lives(
    folder: Path, *, kill: str = "", events: tuple[str, ...] = ("*",), **settings: str
) -> AsyncIterator[Lives]:
    """A running Kvit whose first life ends at the call `kill`; at the end it has settled and stops in peace."""
    async with outside(folder, KVIT_CALLS=str(folder / "calls"), **settings) as world:
        # Stripe tries again within hours; here within moments, for it is the lives that are short.
        world.stripe.options.webhook_retries = (0.2,) * 100
        (folder / "calls").touch()
        living = Lives(world, await world.ready(*KILLABLE, KVIT_KILL=kill))
        await world.subscribe(*events)
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(living.keep())
            yield living
            await living.settle()
            keeper.cancel()
        await world.stopped(living.process)
