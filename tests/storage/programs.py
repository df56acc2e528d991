"""Programs that tests of storage run as processes of their own: `python -m tests.storage.programs NAME ARGUMENTS`."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command as alembic
from alembic.config import Config

from storage.database.database import Database
from storage.errors import DatabaseUnavailable
from storage.job_queue import JobQueue
from storage.models.job import NewJob
from tests.storage.units_of_work import increment, setting_names, write_in_one_batch

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
EVERY_PROGRAM: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {}


def command(name: str, *arguments: object) -> list[str]:
    """The command line of a program, in which every warning is an error."""
    return [sys.executable, "-W", "error", "-m", "tests.storage.programs", name, *map(str, arguments)]


def program(run: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., Coroutine[Any, Any, None]]:
    """Make a function a program of its name."""
    EVERY_PROGRAM[run.__name__] = run
    return run


@program
async def increment_fifty_times(path: str) -> None:
    """Increment the counter, one unit of work after the other."""
    db = Database(f"sqlite:///{path}")
    for _ in range(50):
        await db.write(increment)
    await db.close()


@program
async def enqueue_until_killed(path: str, name: str) -> None:
    """Enqueue jobs from sixteen tasks and print each key once it is stored."""
    queue = JobQueue(Database(f"sqlite:///{path}"), "inbox")

    async def enqueue(ordering_key: str) -> None:
        for number in count():
            key = f"{name}:{ordering_key}:{number}"
            assert await queue.enqueue(NewJob(key, ordering_key, "kind", b"x" * 2000), now=NOW) == 1
            print(key, flush=True)  # noqa: T201

    await asyncio.gather(*(enqueue(str(number)) for number in range(16)))


@program
async def fill_the_disk(path: str) -> None:
    """Write until the file may not grow any more, in either way in which jobs are enqueued; then go on."""
    db = Database(f"sqlite:///{path}")
    await db.migrate()
    queue = JobQueue(db, "inbox")
    stored = await queue.enqueue(NewJob("first", "lane", "kind"), now=NOW)
    causes = []
    limit_file_size(300_000)
    for number in range(200):
        jobs = [NewJob(f"{number}:{part}", "lane", "kind", b"x" * 9_000) for part in range(3)]
        try:
            if number % 2:
                stored += await queue.enqueue(*jobs, now=NOW)
            else:
                stored += await db.write(queue.enqueue_in, *jobs, now=NOW)
        except DatabaseUnavailable as error:
            causes.append(error.__cause__)
    assert causes, "the disk was never full"
    assert all(isinstance(cause, Exception) for cause in causes)
    assert not db.is_writable
    assert await queue.depth() == stored
    limit_file_size(resource.RLIM_INFINITY)
    assert await queue.enqueue(NewJob("later", "lane", "kind"), now=NOW) == 1
    assert await db.write(queue.enqueue_in, NewJob("later still", "lane", "kind"), now=NOW) == 1
    assert await queue.depth() == stored + 2
    await db.close()


@program
async def fill_the_disk_at_commit(path: str) -> None:
    """Have the COMMIT of a batch fail, after each of its units has returned."""
    db = Database(f"sqlite:///{path}")
    await db.migrate()
    await db.write(increment)
    returned: list[None] = []
    called: list[str] = []

    def unit(tx: sa.Connection) -> None:
        tx.exec_driver_sql("INSERT INTO installation_settings VALUES (?, ?)", (f"{len(returned)}", "x" * 9_000))
        db.notify_payment_changed(tx, "id")
        returned.append(None)

    db.on_payment_changed(called.append)
    limit_file_size(Path(f"{path}-wal").stat().st_size + 10_000)
    errors = await write_in_one_batch(db, unit, unit, unit)
    assert len(returned) == 3, "a unit failed before the COMMIT"
    assert [type(error) for error in errors] == [DatabaseUnavailable] * 3, errors
    assert not db.is_writable
    assert called == []
    assert await db.read(setting_names) == ["number"]
    other = Database(f"sqlite:///{path}", busy_seconds=0)
    assert await other.write(increment) == 2, "the failed transaction is open"
    await other.close()
    limit_file_size(resource.RLIM_INFINITY)
    assert await write_in_one_batch(db, increment, increment) == [3, 4]
    await db.close()


@program
async def migrate_until_killed(path: str, statements: str, version: str) -> None:
    """Migrate to this program's version or to the `next` one, and die after so many statements that write."""
    left = int(statements)

    @sa.event.listens_for(sa.Engine, "after_cursor_execute")
    def die(connection: sa.Connection, cursor: object, statement: str, *rest: object) -> None:
        nonlocal left
        left -= statement.lstrip().startswith(("CREATE", "INSERT", "UPDATE", "DROP", "ALTER"))
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    db = Database(f"sqlite:///{path}")
    await (db.run_migration(upgrade_to_next_version) if version == "next" else db.migrate())
    await db.close()


@program
async def migrate(path: str) -> None:
    """Migrate as a start of the service does."""
    db = Database(f"sqlite:///{path}")
    await db.migrate()
    await db.close()


@program
async def end_without_closing(path: str, error: str) -> None:
    """Use the database and end by an error without closing it."""
    db = Database(f"sqlite:///{path}")
    await db.migrate()
    await db.write(increment)
    await db.read(setting_names)
    raise {"SystemExit": SystemExit, "KeyError": KeyError}[error](7)


def upgrade_to_next_version(tx: sa.Connection) -> None:
    """Run the steps of this program and then the made-up one, as a newer program would."""
    config = Config(attributes={"connection": tx})
    config.set_main_option("script_location", "storage:migrations")
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "storage:migrations/versions\ntests.storage:next_version")
    alembic.upgrade(config, "head")


def limit_file_size(size: int) -> None:
    """Let no file of this process grow beyond so many bytes: the nearest thing to a full disk without one."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


if __name__ == "__main__":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    asyncio.run(EVERY_PROGRAM[sys.argv[1]](*sys.argv[2:]))
