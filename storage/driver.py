"""A connection to SQLite on a thread of its own, where a statement and its rows cost one trip instead of four."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import aiosqlite

T = TypeVar("T")
P = ParamSpec("P")


class Connection(aiosqlite.Connection):
    """What SQLAlchemy's dialect for aiosqlite drives, with a cursor that does its work in one trip."""

    _begun = 0
    _ended = 0

    async def run(self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Have the thread call `work(connection, ...)`; once begun it is finished, even if the caller is canceled."""

        def counted(connection: sqlite3.Connection) -> T:
            try:
                return work(connection, *args, **kwargs)
            finally:
                self._ended += 1

        self._begun += 1
        result: T = await self._execute(counted, self._conn)  # type: ignore[no-untyped-call]
        return result

    @property
    def _is_clean(self) -> bool:
        """Whether nothing is under way, not even for a caller who was canceled, and no transaction is open."""
        return self._begun == self._ended and not self._conn.in_transaction

    async def commit(self) -> None:
        """Commit, if there is anything to commit: SQLAlchemy asks for it more often than there is."""
        if not self._is_clean:
            await super().commit()

    async def rollback(self) -> None:
        """Roll back, if there is anything to roll back: a pool asks for it each time a connection comes home."""
        if not self._is_clean:
            await super().rollback()

    def cursor(self) -> Cursor:  # type: ignore[override]
        """A cursor that exists once it executes something."""
        return Cursor(self)


class Cursor:
    """The answer to one statement; its rows have come along, so that nothing is left to wait for."""

    def __init__(self, connection: Connection) -> None:
        self.arraysize = 1
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self._connection = connection
        self._rows: list[Any] = []

    async def __aenter__(self) -> Cursor:
        return self

    async def execute(self, statement: str, values: Any = ()) -> Cursor:
        """Run one statement and take its rows along."""
        await self._connection.run(self._execute, statement, values)
        return self

    async def executemany(self, statement: str, many: Sequence[Any]) -> Cursor:
        """Run one statement with each of many sets of values; it has no rows."""
        await self._connection.run(self._executemany, statement, many)
        return self

    async def fetchall(self) -> list[Any]:
        """The rows."""
        return self._rows

    async def close(self) -> None:
        """Nothing is open any more."""

    def _execute(self, connection: sqlite3.Connection, statement: str, values: Any) -> None:
        cursor = connection.execute(statement, values)
        self.description = cursor.description
        self._rows = cursor.fetchall() if cursor.description else []
        self._note(cursor)

    def _executemany(self, connection: sqlite3.Connection, statement: str, many: Sequence[Any]) -> None:
        self._note(connection.executemany(statement, many))

    def _note(self, cursor: sqlite3.Cursor) -> None:
        self.rowcount, self.lastrowid = cursor.rowcount, cursor.lastrowid
        cursor.close()


class Opener:
    """Opens connections to one file, and knows when the last of their threads has ended."""

    def __init__(self, path: Path, busy_seconds: float) -> None:
        self.busy_seconds = busy_seconds
        self._path = path
        self._opened: list[Connection] = []

    async def connect(self) -> Connection:
        """Open the file; transactions begin only where we say so (`isolation_level=None`).

        Raises:
            sqlite3.OperationalError: it cannot be opened.
        """
        self._opened = [connection for connection in self._opened if connection._thread.is_alive()]
        connection = Connection(partial(self.open, self.busy_seconds), 64)
        connection._thread.daemon = True  # as SQLAlchemy does it: a forgotten one does not keep the program alive
        self._opened.append(connection)
        await connection
        return connection

    async def wait_closed(self) -> None:
        """Close what a canceled user left behind, and return when all connections are gone.

        A thread that ends after the event loop would have nobody to tell it to.
        """
        for connection in self._opened:
            if connection._running and connection._connection is not None:
                await connection.close()
            if not connection._running and connection._thread.is_alive():
                await asyncio.to_thread(connection._thread.join)
        self._opened = []

    def open(self, busy_seconds: float) -> sqlite3.Connection:
        """A connection without a thread; it may be used by any, by one at a time."""
        return sqlite3.connect(self._path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
