"""The machine's clock, as the application's `Clock`; beside a database server, that server's."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

from storage import leases
from storage.database.database import Database
from storage.errors import DatabaseUnavailable

log = logging.getLogger(__name__)

TOLERANCE = timedelta(seconds=0.5)
"""How far the clocks of two replicas may be apart; nothing that Kvit measures across replicas is shorter."""

LOOK_SECONDS = 10.0


class SystemClock:
    """Real time."""

    def __init__(self) -> None:
        self._offset = timedelta(0)

    def now(self) -> datetime:
        """The current time, aware UTC."""
        return self.machine_time() + self._offset

    def machine_time(self) -> datetime:
        """What the machine's own clock shows, aware UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Returns after `seconds`."""
        await asyncio.sleep(seconds)

    async def set_by(self, db: Database) -> None:
        """Take the time of the database's server, if this machine's is wrong: so all replicas have the same.

        Raises:
            DatabaseUnavailable: the clock stays as it is.
        """
        before = self.machine_time()
        offset = timedelta(seconds=await self.offset_from(db))
        is_exact = timedelta(0) <= self.machine_time() - before < TOLERANCE
        if is_exact and abs(offset - self._offset) > TOLERANCE:
            log.warning("this machine's clock is %.1f s from the database's, which is used", -offset.total_seconds())
            self._offset = offset if abs(offset) > TOLERANCE else timedelta(0)

    async def offset_from(self, db: Database) -> float:
        """By how many seconds the time of the database's server is later than this machine's.

        Raises:
            DatabaseUnavailable: it cannot be read.
        """
        before = self.machine_time()
        server = await db.read(leases.server_time)
        return (server - before - (self.machine_time() - before) / 2).total_seconds()

    async def follow(self, db: Database) -> None:
        """Take the time of the database's server again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.set_by(db)
            except DatabaseUnavailable as error:
                log.warning("the database's clock cannot be read: %s", error)
