"""Everything that is said to SQLite in its own tongue: settings, transactions, errors and the belts' statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from storage.at_once import Glances, Writer, apply
from storage.driver import Opener

BUSY_SECONDS = 10.0
"""How long another process may hold the write lock (a command beside `serve`) before we give up."""

READERS = 4
"""Connections that read at the same time."""

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

Row = tuple[str, str, str, str, bytes, int, int]
"""A mail to be inserted: box, key, lane, kind, body, put_at, due_at (microseconds since 1970)."""


def parse_url(url: str) -> Path:
    """The file behind `sqlite:///FILE` (a fourth slash begins an absolute path).

    Raises:
        ValueError: the address names no SQLite file; the text is meant for the operator.
    """
    if url.startswith(("postgresql://", "postgres://", "postgresql+")):
        raise ValueError("DATABASE_URL: PostgreSQL is not supported yet; use sqlite:///FILE")
    prefix, _, file = url.partition(":///")
    if prefix != "sqlite" or not file or file == ":memory:":
        raise ValueError("DATABASE_URL must look like sqlite:///kvit.db")
    return Path(file)


def create(path: Path) -> None:
    """Make an empty file that only its owner can read, for SQLite would let everybody; its log files follow it."""
    with suppress(OSError):  # opening it fails as well, and SQLite says why
        path.touch(mode=0o600)


def writer(opener: Opener) -> Writer:
    """The one connection that writes; its transactions take the write lock when they begin."""
    return Writer(opener, _SETTINGS)


def glances(opener: Opener) -> Glances:
    """Connections for looks that nobody has to wait for; they cannot write."""
    return Glances(opener, _SETTINGS | {"query_only": 1})


def readers(opener: Opener) -> AsyncEngine:
    """A few connections that cannot write; each transaction sees one snapshot."""
    pool = {"pool_size": READERS, "max_overflow": 0, "pool_timeout": opener.busy_seconds}
    return _engine(opener, "BEGIN", _SETTINGS | {"query_only": 1}, **pool)


def migrator(opener: Opener) -> AsyncEngine:
    """A connection for one migration: foreign keys are off, for a table is rebuilt by dropping the old one."""
    return _engine(opener, "BEGIN IMMEDIATE", _SETTINGS | {"foreign_keys": 0}, poolclass=NullPool)


async def check_references(tx: AsyncConnection) -> None:
    """Refuse to commit a migration that left a row without the row it points to."""
    broken = (await tx.exec_driver_sql("PRAGMA foreign_key_check")).all()
    if broken:
        raise ValueError(f"the migration broke {len(broken)} references, the first in table {broken[0][0]}")


def is_unavailable(error: Exception) -> bool:
    """True if the database is locked, full, read-only or broken: it is not the statement that is wrong."""
    if isinstance(error, sa.exc.TimeoutError):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    code = getattr(getattr(error, "orig", error), "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _OUT_OF_REACH


def insert_statements(rows: list[Row]) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Statements that insert what is not there yet and return (box, key) of the new ones."""
    for start in range(0, len(rows), _TOGETHER):
        part = rows[start : start + _TOGETHER]
        yield _INSERT.format(", ".join([_VALUES] * len(part))), tuple(value for row in part for value in row)


async def insert_mail(tx: AsyncConnection, rows: list[Row]) -> set[tuple[str, str]]:
    """Insert mails within a transaction; returns (box, key) of the new ones."""
    new: set[tuple[str, str]] = set()
    for statement, values in insert_statements(rows):
        new.update((row["queue"], row["key"]) for row in (await tx.exec_driver_sql(statement, values)).mappings())
    return new


def insert_jobs(connection: sqlite3.Connection, rows: list[Row]) -> set[tuple[str, str]]:
    """Insert mails in a transaction of their own, within one trip to the thread."""
    new: set[tuple[str, str]] = set()
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement, values in insert_statements(rows):
            new.update(connection.execute(statement, values))
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()  # a full disk leaves the transaction open
        raise
    return new


_TOGETHER = 64
_VALUES = "(?, ?, ?, ?, ?, ?, ?, 0, 'pending', '')"
_INSERT = (
    "INSERT INTO jobs (queue, key, ordering_key, kind, payload, created_at, scheduled_at, attempts, state, reason) VALUES {}"
    " ON CONFLICT (queue, key) DO NOTHING RETURNING queue, key"
)


QUEUE_HEADS = """
WITH RECURSIVE heads (ordering_key, id) AS (
    SELECT * FROM (SELECT ordering_key, id FROM jobs WHERE queue = :queue AND state = 'pending' ORDER BY ordering_key, id LIMIT 1)
    UNION ALL
    SELECT jobs.ordering_key, jobs.id FROM heads JOIN jobs ON jobs.id = (
        SELECT id FROM jobs WHERE queue = :queue AND state = 'pending' AND ordering_key > heads.ordering_key ORDER BY ordering_key, id LIMIT 1
    )
)
"""
"""The oldest waiting mail of each lane, by one look into the index per lane however long the lane is."""

_CLAIM = """
UPDATE jobs SET lease = :lease, lease_until = :until WHERE id IN (
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

CLAIM, NEXT_DUE, OLDEST = QUEUE_HEADS + _CLAIM, QUEUE_HEADS + _NEXT_DUE, QUEUE_HEADS + _OLDEST


def _engine(opener: Opener, begin: str, settings: dict[str, Any], **pool: Any) -> AsyncEngine:
    engine = create_async_engine("sqlite+aiosqlite:///file", async_creator=opener.connect, hide_parameters=True, **pool)

    @sa.event.listens_for(engine.sync_engine, "connect")
    def open_connection(connection: Any, _record: object) -> None:
        try:
            apply(connection, settings)
        except BaseException:
            connection.close()
            raise

    @sa.event.listens_for(engine.sync_engine, "begin")
    def begin_transaction(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
