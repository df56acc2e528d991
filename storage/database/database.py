"""Units of work: runs plain functions over a SQLAlchemy connection, each as one transaction."""

from __future__ import annotations

import asyncio
import inspect
import shutil
from collections.abc import Callable
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar, cast

import sqlalchemy as sa

from storage import migrations
from storage.database import sqlite
from storage.errors import DatabaseUnavailable

P = ParamSpec("P")
T = TypeVar("T")

CHUNK_SIZE = 500
"""Rows that one statement changes or deletes at the most, so that no unit of work holds up the next ones for long."""

_AFTER_COMMIT = "after_commit"


class Database:
    """An SQLite file. Nothing is opened before it is needed; `close` it in the end."""

    def __init__(self, url: str, *, busy_seconds: float = sqlite.BUSY_SECONDS) -> None:
        """`url` is `sqlite:///FILE`. `busy_seconds` is how long to wait for another process that writes.

        Raises:
            ValueError: the URL names no SQLite file; the message is for the operator.
        """
        self.path = sqlite.parse_url(url)
        self._engine = sqlite.SqliteEngine(self.path, busy_seconds)
        self._events: dict[str, asyncio.Event] = {}
        self._listeners: list[Callable[[str], None]] = []
        self.is_writable = True
        """Whether the last write succeeded: a full disk can still be read.

        Only a write that changed a row counts as a success: an empty transaction succeeds on a full disk, too.
        """

    async def write(self, fn: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `fn(connection, ...)` as one transaction: committed when it returns, rolled back when it raises.

        Units of this process run one after another. Units that wait at the same time share a commit, but each is
        rolled back alone. `fn` must return plain values, no open result. A unit whose caller was cancelled before it
        began does not run; one that began is finished as if nothing had happened.

        Raises:
            DatabaseUnavailable: locked, full, broken or closed; nothing was written.
        """
        _refuse_coroutine(fn)

        calls: list[Callable[[], object]] = []
        changed_rows = 0

        def unit(connection: sa.Connection) -> T:
            nonlocal changed_rows
            connection.info[_AFTER_COMMIT] = calls
            before = sqlite.count_changes(connection)
            result = fn(connection, *args, **kwargs)
            changed_rows = sqlite.count_changes(connection) - before
            return result

        def on_commit() -> None:
            self.is_writable = self.is_writable or changed_rows > 0
            loop = asyncio.get_running_loop()
            for call in calls:
                loop.call_soon(call)  # the loop reports one that raises; here it would fail the rest of the batch

        try:
            return cast("T", await self._engine.write(unit, on_commit))
        except DatabaseUnavailable:
            self.is_writable = False
            raise

    async def read(self, fn: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `fn(connection, ...)` on one snapshot, beside the writer. Writing in it is an error.

        Raises:
            DatabaseUnavailable: locked, broken or closed.
        """
        _refuse_coroutine(fn)
        return await self._engine.read(lambda connection: fn(connection, *args, **kwargs))

    async def migrate(self) -> None:
        """Bring the tables to the newest version, in one transaction. Killed at any point, the next start goes on.

        Raises:
            DatabaseUnavailable: the file cannot be written.
            migrations.UnknownVersion: another program or an unknown version of this one wrote the file.
        """
        if await self.schema_version() != migrations.HEAD:
            await self.run_migration(migrations.upgrade)

    async def run_migration(self, fn: Callable[[sa.Connection], T]) -> T:
        """Run `fn(connection)` in a transaction that may rebuild tables: references are checked before the commit.

        Raises:
            DatabaseUnavailable: locked, full or broken; nothing was written.
            ValueError: a row would have lost the row it refers to; nothing was written.
        """
        _refuse_coroutine(fn)
        return await self._engine.migrate(fn)

    async def close(self) -> None:
        """Finish the pending units of work and close all connections. Later calls raise DatabaseUnavailable."""
        await self._engine.close()

    async def schema_version(self) -> str | None:
        """The version of the tables; None before the first migration, `migrations.FOREIGN` if they are not ours."""
        return await self.read(migrations.version_of) if self.path.exists() else None

    async def is_reachable(self) -> bool:
        """Whether the database can be read now, and the last write succeeded."""
        try:
            await self.schema_version()
        except DatabaseUnavailable:
            return False
        return self.is_writable

    async def has_current_schema(self) -> bool:
        """Whether the database can be read and its tables have the version of this program."""
        try:
            return await self.schema_version() == migrations.HEAD
        except DatabaseUnavailable:
            return False

    def disk_free(self) -> int:
        """Free bytes where the database is.

        Raises:
            OSError: its folder does not exist.
        """
        return shutil.disk_usage(self.path.absolute().parent).free

    def event(self, name: str) -> asyncio.Event:
        """The wake-up event of this name: set after a commit that its waiters have to know of."""
        return self._events.setdefault(name, asyncio.Event())

    def on_payment_changed(self, listener: Callable[[str], None]) -> None:
        """Call `listener(payment_id)` after each commit that changed a payment."""
        self._listeners.append(listener)

    def notify_payment_changed(self, tx: sa.Connection, payment_id: str) -> None:
        """Call the listeners once the transaction `tx` is committed."""
        for listener in self._listeners:
            after_commit(tx, partial(listener, payment_id))


def after_commit(tx: sa.Connection, call: Callable[[], object]) -> None:
    """Call this in the event loop once the transaction `tx` is committed; never if it is rolled back.

    The calls run before the caller of the unit goes on. The event loop's exception handler gets what one raises.
    """
    tx.info[_AFTER_COMMIT].append(call)


def _refuse_coroutine(fn: Callable[..., object]) -> None:
    if inspect.iscoroutinefunction(fn):
        raise TypeError(f"{fn} is a coroutine function; a unit of work is a plain function")
