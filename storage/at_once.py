"""Statements that run at once, in the event loop: only what waits, for a lock or for the disk, goes to a thread."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import StaticPool

from storage.driver import Connection, Opener

T = TypeVar("T")
P = ParamSpec("P")


class AtOnce:
    """As much of SQLAlchemy's `AsyncConnection` as is used here; nothing in it ever waits.

    A statement by key takes some microseconds in SQLite, and ten times as much on the way to a thread and back.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    async def execute(self, statement: sa.Executable, values: Any = None) -> sa.CursorResult[Any]:
        """Run one statement."""
        return self._connection.execute(statement, values)

    async def exec_driver_sql(self, statement: str, values: Any = None) -> sa.CursorResult[Any]:
        """Run one statement that is written in the database's own tongue."""
        return self._connection.exec_driver_sql(statement, values)

    async def run_sync(self, work: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work(connection, ...)`."""
        return work(self._connection, *args, **kwargs)


def at_once(connection: sa.Connection) -> AsyncConnection:
    """What everybody takes for SQLAlchemy's own."""
    return cast("AsyncConnection", AtOnce(connection))


class Writer:
    """The one connection that writes. A thread begins and commits; callers take turns."""

    def __init__(self, opener: Opener, settings: dict[str, Any]) -> None:
        self._opener = opener
        self._settings = settings
        self._thread: Connection | None = None
        self._connection: sa.Connection | None = None

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that has the write lock from its beginning; rolled back on any error, also when canceled.

        With the driver's own settings a transaction that reads first begins without the lock, and updates are lost.
        """
        thread = await self._opened()
        connection = self._connection = self._connection or _over(thread._conn)
        try:
            await thread.run(_begin)
            transaction = connection.begin()
            yield at_once(connection)
            await thread.run(lambda _: transaction.commit())
        except BaseException:
            # Behind whatever is still under way for a caller who was canceled: the thread does one after the other.
            await thread.run(_undo, connection)
            raise

    async def run(self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Have the thread call `work(connection, ...)`, which begins and commits by itself."""
        return await (await self._opened()).run(work, *args, **kwargs)

    async def close(self) -> None:
        """Close the connection after the last transaction."""
        if self._connection is not None:
            _close(self._connection)
        if self._thread is not None:
            await self._thread.close()

    async def _opened(self) -> Connection:
        if self._thread is None:
            thread = await self._opener.connect()
            try:
                await thread.run(apply, self._settings)
            except BaseException:
                await thread.close()
                raise
            self._thread = thread
        return self._thread


IDLE = 4
"""Connections that are kept open for the next look; each may hold 2 MB of pages."""


class Glances:
    """Connections for short looks by key; each look sees one snapshot. There are as many as looks overlap."""

    def __init__(self, opener: Opener, settings: dict[str, Any]) -> None:
        self._opener = opener
        self._settings = settings
        self._idle: list[sa.Connection] = []
        self._opened: list[sa.Connection] = []

    def take(self) -> sa.Connection | None:
        """Take a snapshot; None if somebody holds the whole file at the moment, for which nobody may wait here."""
        try:
            connection = self._idle.pop() if self._idle else self._open()
        except sqlite3.OperationalError as error:
            if _is_locked(error):
                return None
            raise
        raw = cast("sqlite3.Connection", connection.connection.driver_connection)
        try:
            raw.execute("BEGIN")
            raw.execute("SELECT 1 FROM sqlite_schema").close()  # the snapshot is that of the first look
        except sqlite3.OperationalError as error:
            self.give_back(connection)
            if _is_locked(error):
                return None
            raise
        return connection

    def give_back(self, connection: sa.Connection) -> None:
        """End the look."""
        connection.rollback()
        cast("sqlite3.Connection", connection.connection.driver_connection).rollback()
        if len(self._idle) < IDLE:
            self._idle.append(connection)
        else:
            self._opened.remove(connection)
            _close(connection)

    def close(self) -> None:
        """Close all of them."""
        for connection in self._opened:
            _close(connection)
        self._opened, self._idle = [], []

    def _open(self) -> sa.Connection:
        raw = self._opener.open(0)
        try:
            apply(raw, self._settings)
        except BaseException:
            raw.close()
            raise
        self._opened.append(_over(raw))
        return self._opened[-1]


def _is_locked(error: Exception) -> bool:
    code: int = getattr(getattr(error, "orig", error), "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_BUSY


def _over(raw: sqlite3.Connection) -> sa.Connection:
    """SQLAlchemy over a connection that is there already."""
    return sa.create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool, hide_parameters=True).connect()


def _close(connection: sa.Connection) -> None:
    connection.close()
    connection.engine.dispose()


def _begin(raw: sqlite3.Connection) -> None:
    raw.execute("BEGIN IMMEDIATE")


def _undo(raw: sqlite3.Connection, connection: sa.Connection) -> None:
    connection.rollback()
    raw.rollback()  # also what was begun for a caller who did not wait for it


def apply(connection: Any, settings: dict[str, Any]) -> None:
    """Set and read back: SQLite ignores a setting that it does not know or cannot have."""
    cursor = connection.cursor()
    for name, value in settings.items():
        cursor.execute(f"PRAGMA {name} = {value}")
        cursor.execute(f"PRAGMA {name}")
        if (found := cursor.fetchone()[0]) != value:
            raise sqlite3.OperationalError(f"PRAGMA {name} is {found}, not {value}")
    cursor.close()
