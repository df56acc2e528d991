"""The door to the database: one writer at a time, readers beside it, and errors in our own words."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage import migrations
from storage.at_once import at_once
from storage.database import sqlite
from storage.driver import Opener
from storage.errors import DatabaseUnavailable

CHUNK_SIZE = 500
"""Rows that one statement changes or forgets at the most: statements run in the event loop, where others wait."""


class Database:
    """An SQLite file. Nothing is opened before it is needed; `close` it in the end."""

    def __init__(self, url: str, *, busy_seconds: float = sqlite.BUSY_SECONDS) -> None:
        """`url` is `sqlite:///FILE`; anything else raises ValueError in words for the operator.

        `busy_seconds` is how long to wait for another process that writes.
        """
        self.path = sqlite.parse_url(url)
        self._opener = Opener(self.path, busy_seconds)
        self._writer = sqlite.writer(self._opener)
        self._readers = sqlite.readers(self._opener)
        self._glances = sqlite.glances(self._opener)
        self._locks = _Turns()
        self._after_commit: dict[AsyncConnection, list[Callable[[], None]]] = {}
        self._bells: dict[str, asyncio.Event] = {}
        self._listeners: list[Callable[[str], None]] = []
        self.is_writable = True
        """Whether the last that was tried could be written: a disk that is full can still be read."""

    async def migrate(self) -> None:
        """Bring the tables to the newest version, in one transaction: killed at any point, the next start goes on.

        Raises:
            DatabaseUnavailable: the file cannot be written.
            migrations.UnknownVersion: a newer version of the program wrote the file.
        """
        if await self.schema_version() == migrations.HEAD:
            return
        async with self.migration() as tx:
            await tx.run_sync(migrations.upgrade)

    @asynccontextmanager
    async def migration(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that may rebuild tables: references are checked once, before the commit.

        Raises:
            DatabaseUnavailable: locked, full or out of reach; nothing was written.
            ValueError: a row would have lost the row it points to; nothing was written.
        """
        sqlite.create(self.path)
        engine = sqlite.migrator(self._opener)
        try:
            async with self._locks.next():
                with _translate_errors():
                    async with engine.begin() as tx:
                        yield tx
                        await sqlite.check_references(tx)
        finally:
            await engine.dispose()

    async def close(self) -> None:
        """Close all connections, after the writer has finished; from then on nothing is written. Twice is once."""
        async with self._locks.last() as open_until_now:
            if not open_until_now:
                return
            await self._writer.close()
            self._glances.close()
            await self._readers.dispose()
            await self._opener.wait_closed()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that may write: committed at the end, rolled back on any error.

        Writers of this process take turns in the order they came; those of other processes are waited for.

        Raises:
            DatabaseUnavailable: locked, full or out of reach; nothing was written.
        """
        async with self._locks.next():
            with self._writing():
                async with self._writer.begin() as tx:
                    bells = self._after_commit[tx] = []
                    try:
                        yield tx
                    finally:
                        del self._after_commit[tx]
            for ring in bells:
                ring()

    def after_commit(self, tx: AsyncConnection, ring: Callable[[], None]) -> None:
        """Call this once the transaction `tx` has been committed; never if it is rolled back."""
        self._after_commit[tx].append(ring)

    def on_payment_changed(self, told: Callable[[str], None]) -> None:
        """From now on call this with the id of each payment that changed, once that is committed."""
        self._listeners.append(told)

    def notify_payment_changed(self, tx: AsyncConnection, payment_id: str) -> None:
        """Tell those who listen that a payment changed by this transaction, once it is committed."""
        for told in self._listeners:
            self.after_commit(tx, partial(told, payment_id))

    async def insert_jobs(self, rows: list[sqlite.Row]) -> set[tuple[str, str]]:
        """Insert mails in a transaction of their own; returns (box, key) of the new ones, after the commit.

        Raises:
            DatabaseUnavailable: nothing was written.
        """
        async with self._locks.next():
            with self._writing():
                return await self._writer.run(sqlite.insert_jobs, rows)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A snapshot that nobody changes, side by side with the writer; writing in it is an error.

        Raises:
            DatabaseUnavailable: out of reach.
        """
        self._locks.refuse_if_closed()
        with _translate_errors():
            async with self._readers.begin() as tx:
                yield tx

    @asynccontextmanager
    async def glance(self) -> AsyncIterator[AsyncConnection]:
        """As `reading`, for some rows by key: answered in the event loop, which is held up meanwhile.

        Raises:
            DatabaseUnavailable: out of reach.
        """
        self._locks.refuse_if_closed()
        with _translate_errors():
            connection = self._glances.take()
            if connection is None:
                async with self._readers.begin() as tx:
                    yield tx
                return
            try:
                yield at_once(connection)
            finally:
                self._glances.give_back(connection)

    async def schema_version(self) -> str | None:
        """Which version the tables have; None before the first migration."""
        if not self.path.exists():
            return None
        async with self.reading() as tx:
            if not await tx.run_sync(lambda connection: sa.inspect(connection).has_table("alembic_version")):
                return None
            found: str | None = (await tx.exec_driver_sql("SELECT version_num FROM alembic_version")).scalar()
        return found

    async def is_reachable(self) -> bool:
        """True if the database can be read at all, and could be written when that was tried last."""
        try:
            await self.schema_version()
        except DatabaseUnavailable:
            return False
        return self.is_writable

    def mark_writable(self) -> None:
        """Something was surely written: a transaction in which nothing changes succeeds on a full disk as well."""
        self.is_writable = True

    async def has_current_schema(self) -> bool:
        """True if the database answers and its tables have the version that this program speaks."""
        try:
            return await self.schema_version() == migrations.HEAD
        except DatabaseUnavailable:
            return False

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with _translate_errors():
                yield
        except DatabaseUnavailable:
            self.is_writable = False
            raise

    def event(self, queue: str) -> asyncio.Event:
        """Set when something happened in a box, so that nobody in this process has to look again and again."""
        return self._bells.setdefault(queue, asyncio.Event())


class _Turns:
    """Writers queue here, in the order they came, instead of polling for SQLite's lock."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._holder: asyncio.Task[object] | None = None
        self._closed = False

    @asynccontextmanager
    async def next(self) -> AsyncIterator[None]:
        """Wait for one's turn.

        Raises:
            DatabaseUnavailable: the database was closed.
            RuntimeError: a transaction within a transaction, which would wait for itself for ever.
        """
        task = asyncio.current_task()
        if task is not None and self._holder is task:
            raise RuntimeError("a transaction was begun within a transaction")
        async with self._lock:
            self.refuse_if_closed()
            self._holder = task
            try:
                yield
            finally:
                self._holder = None

    def refuse_if_closed(self) -> None:
        """Raise DatabaseUnavailable once `last` was had."""
        if self._closed:
            raise DatabaseUnavailable("the database was closed")

    @asynccontextmanager
    async def last(self) -> AsyncIterator[bool]:
        """Wait for one's turn; nobody gets one afterwards. False if the last turn was had before."""
        async with self._lock:
            first, self._closed = not self._closed, True
            yield first


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except (sa.exc.SQLAlchemyError, sqlite3.Error) as error:
        if sqlite.is_unavailable(error):
            raise DatabaseUnavailable(f"the database is out of reach: {_safe_message(error)}") from error
        raise


def _safe_message(error: Exception) -> str:
    """The driver's sentence without the statement, whose values may be secret."""
    return str(getattr(error, "orig", error) or type(error).__name__)
