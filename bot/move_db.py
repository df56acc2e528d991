"""`python -m bot move-db`: moves the installation between an SQLite file and PostgreSQL, either way."""

from __future__ import annotations

from contextlib import AsyncExitStack

from bot.checks.database_file import database_file_problem
from bot.settings import Settings
from storage.database.database import Database
from storage.database.file_lock import AlreadyLocked, FileLock, SeveralNames
from storage.move import Inventory, MoveRefused, move


async def move_database(settings: Settings, to: str) -> list[str]:
    """Move everything from DATABASE_URL to the URL `to`, or finish a move that was interrupted.

    Returns what was moved, as lines for the operator.

    Raises:
        MoveRefused: DATABASE_URL stays the database in use, unless the text says otherwise.
        DatabaseUnavailable, UnsupportedDatabase, UnknownVersion: so does it.
    """
    async with AsyncExitStack() as stack:
        source = Database(settings.database_url, listen_url=settings.database_listen_url)
        stack.push_async_callback(source.close)
        try:
            target = Database(to)
        except ValueError:
            raise MoveRefused(
                "--to must look like sqlite:///kvit.db or postgresql://USER:PASSWORD@HOST/DATABASE"
            ) from None
        stack.push_async_callback(target.close)
        _lock(stack, source, target)
        found = await move(source, target)
    return [f"Everything was moved from {source.name} to {target.name}, and compared.", *_lines(found)]


def _lock(stack: AsyncExitStack, source: Database, target: Database) -> None:
    """Keep every `serve` from the files of the two databases."""
    if not source.exists:
        raise MoveRefused(f"There is no database {source.name} that could be moved")
    for database in (source, target):
        if database.file is None:
            continue
        if problem := database_file_problem(database.file):
            raise MoveRefused(f"{problem.detail} {problem.hint}")
        try:
            lock = FileLock(database.file)
            lock.acquire(create=database is target)
        except (AlreadyLocked, SeveralNames) as error:
            raise MoveRefused(f"{database.name}: {error}. Stop `serve` first") from error
        except OSError as error:
            raise MoveRefused(f"{database.name} cannot be locked: {error.strerror}") from error
        stack.callback(lock.release)


def _lines(found: Inventory) -> list[str]:
    """The numbers of rows that mean something to an operator."""
    names = {"payments": "payments", "refunds": "refunds", "receipts": "receipts", "audit_log": "audit log entries"}
    lines = [f"  {found[table][0]} {name}" for table, name in names.items()]
    unsent = sum(values[0] for name, values in found.items() if name.startswith("unsent jobs"))
    return [*lines, f"  {unsent} unsent jobs"]
