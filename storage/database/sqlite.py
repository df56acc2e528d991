"""All that is SQLite's own: connections on threads, transactions, errors, and the statements of the job queue."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import aiosqlite
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from storage.database.engine import NOTIFICATIONS, JobRow, Unit
from storage.errors import DatabaseUnavailable
from storage.schema.queue import jobs

T = TypeVar("T")

BUSY_SECONDS = 10.0
"""How long another process may hold the write lock (a command beside `serve`) before we give up."""

READERS = 2
"""Connections that read at the same time: more of them gain nothing beside the interpreter's lock."""

MAX_UNITS_PER_COMMIT = 64
"""Units of work that share a commit at the most, so that the first of them does not wait long for its answer."""

_SETTINGS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
"""WAL lets readers pass the writer; synchronous=FULL (2) makes a commit survive a power cut."""

_OUT_OF_REACH = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
}


def parse_url(url: str) -> Path:
    """The file behind `sqlite:///FILE` (a fourth slash begins an absolute path).

    Raises:
        ValueError: the address names no SQLite file; the text is meant for the operator.
    """
    prefix, _, file = url.partition(":///")
    if prefix != "sqlite" or not file or file == ":memory:":
        raise ValueError("DATABASE_URL must look like sqlite:///kvit.db or postgresql://USER:PASSWORD@HOST/DATABASE")
    return Path(file)


def create(path: Path) -> None:
    """Make an empty file with mode 0600, as SQLite would let all users read it; its log files get the same mode."""
    with suppress(OSError):  # opening it fails as well, and SQLite says why
        path.touch(mode=0o600)


class SqliteEngine:
    """Runs units of work on one connection that writes and a few that read, each on its own thread."""

    def __init__(self, path: Path, busy_seconds: float) -> None:
        self._path = path
        self._busy_seconds = busy_seconds
        self._writer = _Thread(path, busy_seconds, _SETTINGS)
        self._idle_readers = [_Thread(path, busy_seconds, _SETTINGS | {"query_only": 1}) for _ in range(READERS)]
        self._readers = tuple(self._idle_readers)
        self._reader_slots = asyncio.Semaphore(READERS)
        self._write_lock = asyncio.Lock()
        self._pending: deque[_PendingUnit] = deque()
        self._flusher: asyncio.Task[None] | None = None
        self._closed = False

    async def write(self, unit: Unit, on_commit: Callable[[bool], None]) -> Any:
        """Run a unit in a transaction, then `on_commit`, with whether it changed a row.

        What waits at the same time shares its commit.

        Raises:
            DatabaseUnavailable: nothing was written.
        """
        self._check_open()
        pending = _PendingUnit(unit, on_commit)
        self._pending.append(pending)
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush())
        return await pending.answer

    async def read(self, unit: Callable[[sa.Connection], T]) -> T:
        """Run a unit on a snapshot.

        Raises:
            DatabaseUnavailable: the database cannot be read.
        """
        self._check_open()
        async with self._reader_slots:
            self._check_open()
            reader = self._idle_readers.pop()  # the one used last first: its pages are in memory
            try:
                return await reader.run(_read, unit)
            finally:
                self._idle_readers.append(reader)

    async def migrate(self, unit: Callable[[sa.Connection], T]) -> T:
        """Run a unit on a connection of its own with foreign keys off, for a table is rebuilt by dropping the old one.

        Raises:
            DatabaseUnavailable: nothing was written.
            ValueError: a row would refer to a row that is gone; nothing was written.
        """
        async with self._write_lock:
            self._check_open()
            create(self._path)
            thread = _Thread(self._path, self._busy_seconds, _SETTINGS | {"foreign_keys": 0})
            try:
                return await thread.run(_migrate, unit)
            finally:
                await thread.close()

    async def probe(self) -> None:
        """Does nothing: the program brings its own SQLite."""

    async def listen(
        self, on_event: Callable[[str], None], on_payment: Callable[[str], None], on_missed: Callable[[], None]
    ) -> None:
        """Returns at once: no other process serves the file."""

    async def close(self) -> None:
        """Finish what is pending and close all connections; a second call does nothing."""
        self._closed = True
        while self._flusher is not None:
            await asyncio.wait([self._flusher])
        async with self._write_lock:
            await self._writer.close()
            for reader in self._readers:
                await reader.close()

    def _check_open(self) -> None:
        if self._closed:
            raise DatabaseUnavailable("the database was closed")

    async def _flush(self) -> None:
        """Write what is pending, batch by batch, until nothing is."""
        batch: list[_PendingUnit] = []
        try:
            while self._pending:
                size = min(len(self._pending), MAX_UNITS_PER_COMMIT)
                batch = [self._pending.popleft() for _ in range(size)]
                async with self._write_lock:
                    await self._write_batch(batch)
        finally:
            self._flusher = None
            for pending in (*batch, *self._pending):  # only if cancelled: the event loop ends
                pending.fail(DatabaseUnavailable("the program is stopping"))
            self._pending.clear()

    async def _write_batch(self, batch: list[_PendingUnit]) -> None:
        try:
            outcomes = await self._writer.run(_write, batch)
        except Exception as error:
            for pending in batch:
                pending.fail(error)
            return
        for pending, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, _Raised):
                pending.fail(outcome.error)
                continue
            pending.on_commit(pending.changed)
            if not pending.answer.done():
                pending.answer.set_result(outcome)


class _PendingUnit:
    """A unit of work that waits for the writer, and the future of its caller."""

    __slots__ = ("_unit", "answer", "changed", "on_commit")

    def __init__(self, unit: Unit, on_commit: Callable[[bool], None]) -> None:
        self._unit = unit
        self.on_commit = on_commit
        self.changed = False
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def run(self, connection: sa.Connection) -> Any:
        """Run the unit, and note whether it changed a row."""
        before = count_changes(connection)
        result = _run(connection, self._unit)
        self.changed = count_changes(connection) > before
        return result

    def fail(self, error: Exception) -> None:
        """Hand the error to the caller, if it still waits."""
        if not self.answer.done():
            self.answer.set_exception(error)


class _Raised:
    """The exception of one unit, while the others of its batch go on."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class _Thread:
    """A connection and its thread, opened when first used. The thread runs one function after the other."""

    def __init__(self, path: Path, busy_seconds: float, settings: dict[str, Any]) -> None:
        self._path = path
        self._busy_seconds = busy_seconds
        self._settings = settings
        self._opening: asyncio.Task[aiosqlite.Connection] | None = None
        self._thread: aiosqlite.Connection | None = None
        self._connection: sa.Connection | None = None
        self._error: Exception | None = None

    async def run(self, work: Callable[[sa.Connection, Any], T], argument: Any) -> T:
        """Call `work(connection, argument)` on the thread. Once begun it is finished, even if the caller is cancelled.

        Raises:
            DatabaseUnavailable: locked, full or broken.
        """
        try:
            thread = self._thread or await self._open()
            # aiosqlite has no public way to run a function on a connection's thread; this is the one place.
            return cast("T", await thread._execute(work, self._connection, argument))  # type: ignore[no-untyped-call]
        except (sa.exc.SQLAlchemyError, sqlite3.Error) as error:
            if is_unavailable(error):
                raise DatabaseUnavailable(f"the database is out of reach: {_safe_message(error)}") from error
            raise

    async def close(self) -> None:
        """Close the connection after the last function, and end the thread."""
        if self._opening is not None:
            await asyncio.wait([self._opening])
        if self._thread is not None:
            thread, self._thread = self._thread, None
            await thread._execute(_close, self._connection)  # type: ignore[no-untyped-call]
            await thread.close()

    async def _open(self) -> aiosqlite.Connection:
        """Open the connection once for all callers; one that is cancelled does not disturb the others."""
        if self._opening is None or self._opening.done():  # done without a thread: the last try failed
            self._opening = asyncio.create_task(self._start())
        return await asyncio.shield(self._opening)

    async def _start(self) -> aiosqlite.Connection:
        opening = aiosqlite.Connection(self._try_to_connect, iter_chunk_size=64)
        opening._thread.daemon = True  # as SQLAlchemy does: a database that is not closed keeps no program from its end
        thread = await opening
        error, self._error = self._error, None
        if error is not None:
            await thread.close()
            raise error
        self._thread = thread
        return thread

    def _try_to_connect(self) -> sqlite3.Connection:
        """Open the file, or a stand-in and keep the error.

        aiosqlite does not wait for the thread of a connection that raised, which then outlives the event loop.
        """
        try:
            return self._connect()
        except Exception as error:
            self._error = error
            return sqlite3.connect(":memory:")

    def _connect(self) -> sqlite3.Connection:
        """Open the file; transactions begin only where this module begins them (`isolation_level=None`)."""
        raw = sqlite3.connect(self._path, timeout=self._busy_seconds, isolation_level=None, factory=_Connection)
        try:
            _apply_pragmas(raw, self._settings)
        except BaseException:
            raw.close()
            raise
        engine = sa.create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool, hide_parameters=True)
        self._connection = engine.connect()
        return raw


class _Connection(sqlite3.Connection):
    """Can end its statements: one whose rows were not all read keeps its snapshot, and a commit from happening."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._cursors: list[sqlite3.Cursor] = []

    def cursor(self, *args: Any) -> Any:
        cursor = super().cursor(*args)
        self._cursors.append(cursor)
        return cursor

    def close_cursors(self) -> None:
        """End all statements; unread rows are lost."""
        while self._cursors:
            self._cursors.pop().close()


def _apply_pragmas(raw: sqlite3.Connection, settings: dict[str, Any]) -> None:
    """Set and read back: SQLite ignores a setting that it does not know or cannot have."""
    for name, value in settings.items():
        raw.execute(f"PRAGMA {name} = {value}")
        found = raw.execute(f"PRAGMA {name}").fetchone()[0]
        if found != value:
            raise sqlite3.OperationalError(f"PRAGMA {name} is {found}, not {value}")


def _close(connection: sa.Connection) -> None:
    connection.close()


def _raw(connection: sa.Connection) -> _Connection:
    return cast("_Connection", connection.connection.driver_connection)


def _read(connection: sa.Connection, unit: Callable[[sa.Connection], T]) -> T:
    raw = _begin(connection, "BEGIN")
    try:
        return _run(connection, unit)
    finally:
        _roll_back(connection, raw)


def _migrate(connection: sa.Connection, unit: Callable[[sa.Connection], T]) -> T:
    raw = _begin(connection, "BEGIN IMMEDIATE")
    try:
        result = _run(connection, unit)
        broken = raw.execute("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise ValueError(f"the migration broke {len(broken)} references, the first in table {broken[0][0]}")
        _commit(connection, raw)
        return result
    finally:
        _roll_back(connection, raw)


def _write(connection: sa.Connection, batch: list[_PendingUnit]) -> list[Any]:
    """Run the units in one transaction, each in a savepoint of its own; their results or `_Raised`, in order."""
    raw = _begin(connection, "BEGIN IMMEDIATE")
    try:
        if len(batch) == 1:
            results = [None if batch[0].answer.cancelled() else batch[0].run(connection)]
        else:
            results = [_run_in_savepoint(connection, raw, pending) for pending in batch]
        _commit(connection, raw)
        return results
    finally:
        _roll_back(connection, raw)


def count_changes(connection: sa.Connection) -> int:
    """The number of rows that this connection has inserted, updated or deleted since it was opened."""
    return _raw(connection).total_changes


def _begin(connection: sa.Connection, statement: str) -> _Connection:
    """Begin for SQLAlchemy, which then refuses a second beginning within the unit, and for SQLite."""
    raw = _raw(connection)
    raw.execute(statement)
    connection.begin()
    return raw


def _commit(connection: sa.Connection, raw: sqlite3.Connection) -> None:
    """Commit for SQLAlchemy, and for SQLite, which began without SQLAlchemy's knowledge."""
    connection.commit()
    raw.commit()


def _roll_back(connection: sa.Connection, raw: sqlite3.Connection) -> None:
    """End what is still open: nothing after a commit, but a COMMIT that failed leaves the transaction open."""
    connection.rollback()
    raw.rollback()


def _run_in_savepoint(connection: sa.Connection, raw: sqlite3.Connection, pending: _PendingUnit) -> Any:
    if pending.answer.cancelled():
        return None
    raw.execute("SAVEPOINT unit")
    try:
        result = pending.run(connection)
    except Exception as error:
        if is_unavailable(error) or not raw.in_transaction:  # then no other unit of the batch can be written either
            raise
        raw.execute("ROLLBACK TO unit")
        result = _Raised(error)
    raw.execute("RELEASE unit")
    return result


def _run(connection: sa.Connection, unit: Callable[[sa.Connection], T]) -> T:
    connection.info[NOTIFICATIONS] = []
    try:
        return unit(connection)
    except StopIteration as error:  # no future can carry it
        raise RuntimeError("a unit of work raised StopIteration") from error
    finally:
        _raw(connection).close_cursors()


def _safe_message(error: Exception) -> str:
    """The driver's message without the statement, whose values may be secret."""
    return str(getattr(error, "orig", error) or type(error).__name__)


def is_unavailable(error: Exception) -> bool:
    """Whether the database is locked, full, read-only or broken, rather than the statement wrong."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    code = getattr(getattr(error, "orig", error), "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _OUT_OF_REACH


def before_claim(connection: sa.Connection, queue: str) -> None:
    """Does nothing: units that write run one after another."""


def insert_jobs(connection: sa.Connection, rows: Sequence[JobRow]) -> int:
    """Insert the jobs whose key is new, and return how many those were."""
    number = 0
    for start in range(0, len(rows), _ROWS_PER_STATEMENT):
        part = rows[start : start + _ROWS_PER_STATEMENT]
        statement = _INSERT.format(", ".join([_VALUES] * len(part)))
        number += len(connection.exec_driver_sql(statement, tuple(value for row in part for value in row)).all())
    return number


_ROWS_PER_STATEMENT = 64
_VALUES = "(?, ?, ?, ?, ?, ?, ?, 0, 'pending', '')"
_INSERT = """
INSERT INTO jobs (queue, key, ordering_key, kind, payload, created_at, scheduled_at, attempts, state, reason)
VALUES {} ON CONFLICT (queue, key) DO NOTHING RETURNING id
"""


QUEUE_HEADS = """
WITH RECURSIVE heads (ordering_key, id) AS (
    SELECT * FROM (
        SELECT ordering_key, id FROM jobs WHERE queue = :queue AND state = 'pending' ORDER BY ordering_key, id LIMIT 1
    )
    UNION ALL
    SELECT jobs.ordering_key, jobs.id FROM heads JOIN jobs ON jobs.id = (
        SELECT id FROM jobs
        WHERE queue = :queue AND state = 'pending' AND ordering_key > heads.ordering_key
        ORDER BY ordering_key, id LIMIT 1
    )
)
"""
"""The oldest pending job of each ordering key: one index look-up per key, however many jobs it has."""

_CLAIM = """
UPDATE jobs SET lease = :lease, lease_until = :now + :lease_micros WHERE id IN (
    SELECT jobs.id FROM heads JOIN jobs ON jobs.id = heads.id
    WHERE scheduled_at <= :now AND (lease_until IS NULL OR lease_until <= :now)
    ORDER BY jobs.id LIMIT :limit
)
RETURNING id, queue, key, ordering_key, kind, payload, created_at, attempts, lease
"""
_NEXT_DUE = (
    "SELECT min(max(scheduled_at, coalesce(lease_until, scheduled_at))) FROM heads JOIN jobs ON jobs.id = heads.id"
)
_OLDEST = "SELECT min(created_at) FROM heads JOIN jobs ON jobs.id = heads.id"

CLAIM, NEXT_DUE, OLDEST_PENDING = QUEUE_HEADS + _CLAIM, QUEUE_HEADS + _NEXT_DUE, QUEUE_HEADS + _OLDEST
DONE_VALUES: dict[str, Any] = {"id": sa.select(sa.func.max(jobs.c.id) + 1).scalar_subquery(), "payload": b""}
"""A job that loses its payload gets a new id: in its old place it would keep the page that it had filled."""
