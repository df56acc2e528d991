"""Units of work for the tests of the database, and ways to stop one half way or to have several share a commit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import sqlalchemy as sa

from storage import installation
from storage.database.database import Database

TIMEOUT = 60
"""Real seconds after which a test gives up, however busy the machine is."""

Unit = Callable[[sa.Connection], object]


def number(tx: sa.Connection) -> int:
    """The counter that the tests increment; 0 before the first increment."""
    return int(installation.get_setting(tx, "number") or 0)


def increment(tx: sa.Connection) -> int:
    """Read the counter, add one and write it: the pattern that loses updates where the lock is taken too late."""
    value = number(tx) + 1
    installation.set_setting(tx, "number", str(value))
    return value


def setting_names(tx: sa.Connection) -> list[str]:
    """The names of all settings, in alphabetical order."""
    return list(tx.exec_driver_sql("SELECT name FROM installation_settings ORDER BY name").scalars())


def add_setting(tx: sa.Connection, name: str) -> str:
    """Write a setting and return its name."""
    installation.set_setting(tx, name, "x")
    return name


def add_done_jobs(tx: sa.Connection, queue: str, number: int) -> None:
    """Insert so many jobs that were finished in 1970, each with an ordering key of its own."""
    insert = sa.text("""
        WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < CAST(:number AS bigint))
        INSERT INTO jobs (queue, key, ordering_key, kind, payload, created_at, scheduled_at, attempts, state, reason,
            finished_at)
        SELECT :queue, 'old' || n, 'old' || n, 'kind', :payload, 0, 0, 0, 'done', '', 0 FROM counted
    """).bindparams(sa.bindparam("payload", b"", sa.LargeBinary), sa.bindparam("queue", type_=sa.Text))
    tx.execute(insert, {"number": number, "queue": queue})


class Pause:
    """A point in a unit of work: called there, it stops the unit's thread until `release` or the end of the block."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reached = asyncio.Event()
        self._go_on = threading.Event()

    def __enter__(self) -> Pause:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __call__(self) -> None:
        self._loop.call_soon_threadsafe(self._reached.set)
        self._go_on.wait(TIMEOUT)

    async def reached(self) -> None:
        """Return once the unit has come to this point."""
        async with asyncio.timeout(TIMEOUT):
            await self._reached.wait()

    def release(self) -> None:
        """Let the unit go on."""
        self._go_on.set()


@asynccontextmanager
async def held(run: Callable[[Unit], Coroutine[Any, Any, object]]) -> AsyncIterator[None]:
    """Within the block, a unit of work given to `db.write` or `db.read` has begun and does not end."""
    with Pause() as pause:
        running = asyncio.create_task(run(lambda tx: pause()))
        await pause.reached()
        yield
    await running


async def write_in_one_batch(db: Database, *units: Unit) -> list[Any]:
    """Write the units in one batch; their results or exceptions, in order."""
    async with held(db.write):
        tasks = [asyncio.create_task(db.write(unit)) for unit in units]
        await asyncio.sleep(0)  # each task runs up to where it waits for the writer
    return await asyncio.gather(*tasks, return_exceptions=True)


def count_commits(database: Path) -> int:
    """How many transactions the write-ahead log holds: a frame that ends one carries the size of the database.

    Layout: https://sqlite.org/fileformat2.html#the_write_ahead_log
    """
    log = database.with_name(database.name + "-wal").read_bytes()
    page_size, salt = int.from_bytes(log[8:12], "big"), log[16:24]
    frames = [log[start : start + 24] for start in range(32, len(log), 24 + page_size)]
    return sum(frame[8:16] == salt and frame[4:8] != bytes(4) for frame in frames)
