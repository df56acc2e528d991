"""Units of work: runs plain functions over a SQLAlchemy connection, each as one transaction."""

from __future__ import annotations

import asyncio
import inspect
import secrets
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import sqlalchemy as sa

from storage import migrations
from storage.database import sqlite
from storage.database.engine import NOTIFICATIONS, Engine, QueueStatements
from storage.errors import DatabaseUnavailable

P = ParamSpec("P")
T = TypeVar("T")

CHUNK_SIZE = 500
"""Rows that one statement changes or deletes at the most, so that no unit of work holds up the next ones for long."""

POSTGRES = ("postgresql://", "postgres://")
POSTGRES_DIALECT = "postgresql"

PROBE = "probe"
"""The event that tests whether wake-ups arrive."""

_AFTER_COMMIT = "after_commit"


class Database:
    """An SQLite file, or a PostgreSQL database. Nothing is opened before it is needed; `close` it in the end."""

    def __init__(self, url: str, *, busy_seconds: float = sqlite.BUSY_SECONDS, listen_url: str | None = None) -> None:
        """`url` is `sqlite:///FILE` or `postgresql://…`.

        `busy_seconds` is how long to wait for a lock or a connection. `listen_url` leads to the same PostgreSQL past
        the pooler that stands before `url`.

        Raises:
            ValueError: the URL names no database; the message is for the operator.
        """
        self.file: Path | None = None
        """The SQLite file; None on PostgreSQL."""

        self.name: str
        """The database's name for the operator, without user and password."""

        self.queue_statements: QueueStatements
        self._engine: Engine
        if url.startswith(POSTGRES):
            from storage.database import postgres  # its libraries load slowly, and SQLite does not need them

            self.name = postgres.describe(url)
            self.queue_statements = cast("QueueStatements", postgres)
            self._engine = postgres.PostgresEngine(url, busy_seconds, listen_url)
        else:
            self.file = sqlite.parse_url(url)
            self.name = str(self.file)
            self.queue_statements = cast("QueueStatements", sqlite)
            self._engine = sqlite.SqliteEngine(self.file, busy_seconds)
        self.process_id = secrets.token_hex(8)
        """This process among those that serve the database."""

        self._busy_seconds = busy_seconds
        self._events: dict[str, asyncio.Event] = {}
        self._listeners: list[Callable[[str], None]] = []
        self._missed: list[Callable[[], None]] = []
        self.is_writable = True
        """Whether the last write succeeded: a full disk can still be read.

        Only a write that changed a row counts as a success: an empty transaction succeeds on a full disk, too.
        """

    @property
    def path(self) -> Path:
        """The SQLite file.

        Raises:
            LookupError: the database is on a server.
        """
        if self.file is None:
            raise LookupError("the database is not a file")
        return self.file

    @property
    def has_replicas(self) -> bool:
        """Whether other processes may serve the same database."""
        return self.file is None

    async def write(self, fn: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `fn(connection, ...)` as one transaction: committed when it returns, rolled back when it raises.

        On SQLite, units run one after another, and those that wait at the same time share a commit, but each is rolled
        back alone. On PostgreSQL they run side by side: a unit that reads a row and then writes it locks the row first
        (`lock_rows`). One that met a deadlock, a broken connection, or a unique key that another transaction wrote at
        the same time is retried, so that `fn` decides on what is there then.

        `fn` must return plain values, no open result. A unit whose caller was cancelled before it began does not run;
        one that began is finished as if nothing had happened.

        Raises:
            DatabaseUnavailable: locked, full, broken or closed; nothing was written.
        """
        _refuse_coroutine(fn)

        calls: list[Callable[[], object]] = []

        def unit(connection: sa.Connection) -> T:
            calls.clear()  # on PostgreSQL the unit may have been begun before
            connection.info[_AFTER_COMMIT] = calls
            return fn(connection, *args, **kwargs)

        def on_commit(changed: bool) -> None:
            self.is_writable = self.is_writable or changed
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
            DatabaseUnavailable: the database cannot be written.
            UnsupportedDatabase: the server is no PostgreSQL that can be used.
            migrations.UnknownVersion: another program or an unknown version of this one wrote it.
        """
        await self.probe()
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

    @property
    def exists(self) -> bool:
        """Whether the file is there; a database on a server is taken to be."""
        return self.file is None or self.file.exists()

    async def probe(self) -> None:
        """Look whether the program can work on this server.

        Raises:
            DatabaseUnavailable: it cannot be reached.
            UnsupportedDatabase: the text says what it lacks.
        """
        await self._engine.probe()

    async def schema_version(self) -> str | None:
        """The version of the tables; None before the first migration, `migrations.FOREIGN` if they are not ours."""
        return await self.read(migrations.version_of) if self.exists else None

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

    async def can_migrate(self) -> bool:
        """Whether the user may create tables; on SQLite that is whether the file can be written."""
        return await self.read(_may_create) if self.has_replicas else True

    async def can_listen(self) -> bool:
        """Whether a wake-up that is sent over `url` arrives over `listen_url`, within `busy_seconds`."""
        arrived = self.event(PROBE)
        arrived.clear()
        listening = asyncio.create_task(self._engine.listen(self._on_event, lambda _: None, lambda: None))
        try:
            async with asyncio.timeout(self._busy_seconds):
                while not arrived.is_set():  # it listens only after a moment
                    await self._engine.write(_send_probe, lambda _: None)
                    await asyncio.sleep(0.05)
            return True
        except TimeoutError:
            return False
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    def disk_free(self) -> int | None:
        """Free bytes where the database file is; None for a server, whose disk cannot be seen from here.

        Raises:
            OSError: its folder does not exist.
        """
        return None if self.file is None else shutil.disk_usage(self.file.absolute().parent).free

    def event(self, name: str) -> asyncio.Event:
        """The wake-up event of this name: set after a commit, here or in another process, that concerns its waiters."""
        return self._events.setdefault(name, asyncio.Event())

    def wake_up(self, tx: sa.Connection, name: str) -> None:
        """Set the event of this name once the transaction `tx` is committed, here and in all replicas."""
        after_commit(tx, self.event(name).set)
        tx.info[NOTIFICATIONS].append((f"kvit_{name}", ""))

    def on_payment_changed(self, listener: Callable[[str], None], on_missed: Callable[[], None] = lambda: None) -> None:
        """Call `listener(payment_id)` after each commit that changed a payment, here or in another process.

        `on_missed` is called where changes in other processes may have been missed: any payment may have changed.
        """
        self._listeners.append(listener)
        self._missed.append(on_missed)

    def notify_payment_changed(self, tx: sa.Connection, payment_id: str) -> None:
        """Call the listeners once the transaction `tx` is committed, in all replicas."""
        after_commit(tx, partial(self._tell_listeners, payment_id))
        tx.info[NOTIFICATIONS].append(("kvit_changed", payment_id))

    async def listen(self) -> None:
        """Set the events and call the listeners for what other processes commit, until cancelled.

        Returns at once on SQLite, where no other process serves the file.
        """
        await self._engine.listen(self._on_event, self._tell_listeners, self._tell_missed)

    def _on_event(self, name: str) -> None:
        self.event(name).set()

    def _tell_listeners(self, payment_id: str) -> None:
        for listener in self._listeners:
            listener(payment_id)

    def _tell_missed(self) -> None:
        for on_missed in self._missed:
            on_missed()


def lock_rows(tx: sa.Connection, query: sa.Select[Any]) -> None:
    """Lock the rows of a query until the transaction ends, before they are read to be changed.

    What is read in a later statement is what the transactions before have left. On SQLite, where units that write run
    one after another, nothing has to be done. Lock a payment before anything else.
    """
    if tx.dialect.name == POSTGRES_DIALECT:
        tx.execute(query.with_for_update(key_share=True)).all()


def lock_table(tx: sa.Connection, table: sa.Table) -> None:
    """Let no other transaction write the table until this one ends: for a decision about rows that do not exist."""
    if tx.dialect.name == POSTGRES_DIALECT:
        tx.exec_driver_sql(f"LOCK TABLE {table.name} IN SHARE ROW EXCLUSIVE MODE")


def after_commit(tx: sa.Connection, call: Callable[[], object]) -> None:
    """Call this in the event loop once the transaction `tx` is committed; never if it is rolled back.

    The calls run before the caller of the unit goes on. The event loop's exception handler gets what one raises.
    """
    tx.info[_AFTER_COMMIT].append(call)


def _refuse_coroutine(fn: Callable[..., object]) -> None:
    if inspect.iscoroutinefunction(fn):
        raise TypeError(f"{fn} is a coroutine function; a unit of work is a plain function")


def _may_create(tx: sa.Connection) -> bool:
    return bool(tx.exec_driver_sql("SELECT has_schema_privilege(current_schema(), 'CREATE')").scalar_one())


def _send_probe(tx: sa.Connection) -> None:
    tx.info[NOTIFICATIONS].append((f"kvit_{PROBE}", ""))
