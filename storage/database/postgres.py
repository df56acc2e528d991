"""All that is PostgreSQL's own: connections, repeated transactions, wake-ups, and the statements of the job queue."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import random
from time import monotonic
from typing import Any, NoReturn, TypeVar, cast
from urllib.parse import urlsplit

import asyncpg  # type: ignore[import-untyped]
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from storage.database.engine import NOTIFICATIONS, SERVER_CLOCK, JobRow, Unit
from storage.errors import DatabaseUnavailable, UnsupportedDatabase

log = logging.getLogger(__name__)

T = TypeVar("T")

CONNECTIONS = 10
"""The maximum number of connections of a replica, besides the one that listens; opened when needed."""

STATEMENT_SECONDS = 30
IDLE_SECONDS = 30
"""A transaction that does nothing for so long is that of a stopped process, which would hold up the others."""

NETWORK_SECONDS = 15
"""Seconds after the server's own timeout until a statement without a response counts as lost."""

TRIES = 5
"""How often a unit of work is started at most: again after an error in `_AGAIN` or a lost connection."""

FIRST_PAUSE = 0.05
COMMIT_SECONDS = 20.0
"""How long to find out whether a commit whose answer was lost has happened."""

POLL_SECONDS = 2.0
"""Seconds after which all is checked without a wake-up: one may be lost with its connection."""

OLDEST = 150_000
CHANNEL = "kvit_"
PAYMENT_CHANNEL = "kvit_changed"

MIGRATION_LOCK = 7_316_425
CLAIM_LOCK = 7_316_426
"""The first key of the advisory locks; they end with their transaction, so a pooler may stand between."""

_AGAIN = {"40001", "40P01", "23505", "0A000", "26000"}
"""Serialization failure, deadlock, a row that another transaction inserted at the same time, and plans or statements
that ended with a migration or behind a pooler: when it is retried, the unit of work reads what has changed."""

_UNAVAILABLE = ("08", "25006", "25P03", "28", "3D", "42501", "53", "55P03", "57", "58", "F0", "XX")
"""Classes and codes of errors that are no fault of the statement
(https://www.postgresql.org/docs/current/errcodes-appendix.html)."""

_END = "SELECT pg_current_xact_id_if_assigned()::text"
_NOTIFY = "count(pg_notify(channel, payload)) FROM unnest($1::text[], $2::text[]) AS notifications (channel, payload)"


class PostgresEngine:
    """Runs units of work on a pool of connections, each in a transaction of its own."""

    def __init__(self, url: str, busy_seconds: float, listen_url: str | None) -> None:
        """`listen_url` leads past the pooler that stands before `url`; None if there is no pooler."""
        self._url = url
        self._listen_url = listen_url or url
        self._pooled = listen_url is not None
        self._busy_seconds = busy_seconds
        self._engine = self._make_engine(pool_size=CONNECTIONS, max_overflow=0, pool_timeout=busy_seconds * 3)
        self._readers = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def write(self, unit: Unit, on_commit: Callable[[bool], None]) -> Any:
        """Run a unit in a transaction, then `on_commit`, with whether a row was changed.

        Raises:
            DatabaseUnavailable: nothing was written, or it is not known.
        """
        return await self._shielded(self._write, unit, on_commit)

    async def read(self, unit: Callable[[sa.Connection], T]) -> T:
        """Run a unit on a snapshot.

        Raises:
            DatabaseUnavailable: the database cannot be read.
        """
        return cast("T", await self._shielded(self._read, unit, None))

    async def migrate(self, unit: Callable[[sa.Connection], T]) -> T:
        """Run a unit alone among all replicas, however long it takes.

        Raises:
            DatabaseUnavailable: nothing was written.
            UnsupportedDatabase: it is not a PostgreSQL that can be used.
        """
        self._check_open()
        engine = self._make_engine(poolclass=NullPool, endless=True)

        def alone(connection: sa.Connection) -> T:
            _probe(connection)
            _execute(connection, "SET LOCAL lock_timeout = 0", "SET LOCAL statement_timeout = 0")
            _execute(connection, f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
            return unit(connection)

        try:
            async with engine.begin() as connection:
                return await connection.run_sync(alone)
        except Exception as error:
            _raise(error)
        finally:
            await engine.dispose()

    async def probe(self) -> None:
        """Check whether the server meets Kvit's requirements.

        Raises:
            DatabaseUnavailable: it cannot be reached.
            UnsupportedDatabase: the text says why, for the operator.
        """
        await self.write(_probe, lambda changed: None)

    async def listen(
        self, on_event: Callable[[str], None], on_payment: Callable[[str], None], on_missed: Callable[[], None]
    ) -> None:
        """Pass on what the other replicas commit, until cancelled; it never ends by itself.

        `on_event` gets the name of an event, and of each about every `POLL_SECONDS` beside. `on_payment` gets the id of
        a changed payment; `on_missed` is called where changes may have been missed.
        """
        failures = 0
        while True:
            try:
                await self._listen(on_event, on_payment, on_missed)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
                if not failures:
                    log.warning("wake-ups from other replicas are late: %s", _safe_message(error))
                failures += 1
            for name in EVENTS:
                on_event(name)
            await asyncio.sleep(POLL_SECONDS)

    async def close(self) -> None:
        """Finish the units of work that began, and close all connections; a second call does nothing."""
        self._closed = True
        if self._running:
            await asyncio.wait(self._running)
        await self._engine.dispose()

    async def _listen(
        self, on_event: Callable[[str], None], on_payment: Callable[[str], None], on_missed: Callable[[], None]
    ) -> None:
        connection = await asyncpg.connect(self._listen_url, timeout=self._busy_seconds, statement_cache_size=0)
        try:
            await connection.add_listener(PAYMENT_CHANNEL, lambda _c, _pid, _channel, payload: on_payment(payload))
            for name in (*EVENTS, PROBE):
                await connection.add_listener(
                    CHANNEL + name, lambda _c, _pid, channel, _p: on_event(channel.removeprefix(CHANNEL))
                )
            on_missed()
            while True:
                for name in EVENTS:
                    on_event(name)
                await asyncio.sleep(POLL_SECONDS)
                await connection.execute("SELECT 1", timeout=NETWORK_SECONDS)
        finally:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                await connection.close(timeout=1)

    def _make_engine(self, *, endless: bool = False, **pool: Any) -> AsyncEngine:
        settings = {} if self._pooled else {name: str(value) for name, value in self._limits().items()}
        arguments = {
            "dsn": self._url,
            "timeout": self._busy_seconds,
            "command_timeout": None if endless else STATEMENT_SECONDS + NETWORK_SECONDS,
            "server_settings": {"application_name": "kvit", **settings},
        }
        if self._pooled:  # a statement that outlives its transaction would be met by another client
            arguments |= {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
            arguments |= {"prepared_statement_name_func": lambda: "", "server_settings": {}}
        return create_async_engine("postgresql+asyncpg://", connect_args=arguments, hide_parameters=True, **pool)

    def _limits(self) -> dict[str, int]:
        """The server's time limits in milliseconds."""
        return {
            "lock_timeout": round(self._busy_seconds * 1000),
            "statement_timeout": STATEMENT_SECONDS * 1000,
            "idle_in_transaction_session_timeout": IDLE_SECONDS * 1000,
        }

    def _check_open(self) -> None:
        if self._closed:
            raise DatabaseUnavailable("the database was closed")

    async def _shielded(self, attempt: Callable[..., Any], unit: Unit, on_commit: Any) -> Any:
        """Run the unit in a task of its own: a statement that is cancelled half way would cost the connection."""
        self._check_open()
        is_wanted = True

        def wanted_unit(connection: sa.Connection) -> Any:
            if not is_wanted:
                raise asyncio.CancelledError
            return unit(connection)

        task = asyncio.create_task(self._repeat(attempt, wanted_unit, on_commit))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            is_wanted = False
            task.add_done_callback(_look_at)
            raise

    async def _repeat(self, attempt: Callable[..., Any], unit: Unit, on_commit: Any) -> Any:
        """Begin the unit anew as often as may help; what it decides, it decides on what it then reads."""
        for number in range(1, TRIES + 1):
            try:
                return await attempt(unit, on_commit)
            except Exception as error:
                if number == TRIES or not _may_help(error):
                    _raise(error)
            await asyncio.sleep(FIRST_PAUSE * 3 ** (number - 1) * (0.5 + random()))  # noqa: S311 - so that two do not meet again
        raise AssertionError("unreachable")

    async def _read(self, unit: Unit, _: object) -> Any:
        async with self._readers.connect() as connection:
            return await connection.run_sync(self._run, unit)

    async def _write(self, unit: Unit, on_commit: Callable[[bool], None]) -> Any:
        lost: Exception | None = None
        async with self._engine.connect() as connection:
            result, transaction = await connection.run_sync(self._run_and_notify, unit)
            try:
                await connection.commit()
            except Exception as error:
                if transaction is None or not _is_lost(error):
                    raise
                lost = error
        if lost is not None and transaction is not None and not await self._was_committed(transaction):
            raise lost
        on_commit(transaction is not None)
        return result

    async def _was_committed(self, transaction: str) -> bool:
        """Whether a transaction was committed whose connection broke when it was to be.

        Raises:
            DatabaseUnavailable: that cannot be found out.
        """
        until = monotonic() + COMMIT_SECONDS
        while monotonic() < until:
            try:
                async with self._engine.connect() as connection:
                    status = await connection.scalar(_STATUS, {"id": transaction})
            except Exception as error:
                if not _is_lost(error) and not _is_unavailable(error):
                    raise
            else:
                if status != "in progress":
                    return bool(status == "committed")
            await asyncio.sleep(FIRST_PAUSE * 4)
        raise DatabaseUnavailable("the connection broke at a commit, and whether it happened is unknown")

    def _run_and_notify(self, connection: sa.Connection, unit: Unit) -> tuple[Any, str | None]:
        """The unit's result, and the number of its transaction; None if it has written nothing."""
        result = self._run(connection, unit)
        names = list(dict.fromkeys(connection.info[NOTIFICATIONS]))
        if not names:
            return result, connection.exec_driver_sql(_END).scalar_one()
        channels, payloads = [channel for channel, _ in names], [payload for _, payload in names]
        return result, connection.exec_driver_sql(f"{_END}, {_NOTIFY}", (channels, payloads)).one()[0]

    def _run(self, connection: sa.Connection, unit: Unit) -> Any:
        if self._pooled:
            for name, value in self._limits().items():
                connection.exec_driver_sql(f"SET LOCAL {name} = {value}")
        connection.info[NOTIFICATIONS] = []
        try:
            return unit(connection)
        except StopIteration as error:  # no future can carry it
            raise RuntimeError("a unit of work raised StopIteration") from error


EVENTS = ("events", "updates", "outbox", "payments", "leader")
"""The events that are passed on to the other replicas."""

PROBE = "probe"


def describe(url: str) -> str:
    """The server and the database that a URL names, without user and password."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2] or "the local socket"
    return f"PostgreSQL at {place}{parts.path}"


def _execute(connection: sa.Connection, *statements: str) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement)


def _probe(connection: sa.Connection) -> None:
    """Refuse what only speaks PostgreSQL's protocol: it would half work, with other promises."""
    said = str(connection.exec_driver_sql("SELECT version()").scalar_one())
    if not re.match(r"PostgreSQL \d", said) or re.search("yugabyte|cockroach|redshift|greenplum", said, re.IGNORECASE):
        raise UnsupportedDatabase(f"this is not PostgreSQL but {said[:40]!r}; Kvit needs PostgreSQL 15 or newer")
    if int(connection.exec_driver_sql("SHOW server_version_num").scalar_one()) < OLDEST:
        raise UnsupportedDatabase(f"this is {said.split(' on ')[0]}; Kvit needs PostgreSQL 15 or newer")
    try:
        _execute(connection, "SELECT pg_try_advisory_xact_lock(0, 0), pg_current_xact_id()", "SAVEPOINT probe")
        _execute(connection, "LISTEN kvit_probe", "ROLLBACK TO SAVEPOINT probe")
    except sa.exc.DBAPIError as error:
        if _is_lost(error) or _is_unavailable(error):
            raise
        raise UnsupportedDatabase(
            "this server lacks what Kvit needs of PostgreSQL (locks, LISTEN, savepoints); use PostgreSQL 15 or newer"
        ) from error
    if connection.exec_driver_sql("SHOW server_encoding").scalar_one() != "UTF8":
        raise UnsupportedDatabase("this database is not encoded in UTF8; create it with ENCODING 'UTF8'")


def _look_at(task: asyncio.Task[Any]) -> None:
    """Take the exception of a task whose caller is gone, or the event loop reports it."""
    if not task.cancelled():
        task.exception()


def _code(error: BaseException) -> str:
    """The five letters by which PostgreSQL names its error; empty if it is not one of the server's."""
    return str(getattr(getattr(error, "orig", error), "sqlstate", None) or "")


def _is_lost(error: Exception) -> bool:
    """Whether the connection broke, so that the server's answer is unknown."""
    if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
        return True
    cause = getattr(error, "orig", error)
    return (
        isinstance(cause, OSError | TimeoutError | asyncio.TimeoutError)
        or _code(error) in {"57P01", "57P02", "57P03", "25P03"}
        or _code(error).startswith("08")
        or (isinstance(error, sa.exc.InterfaceError) and "connection" in str(cause))
    )


def _may_help(error: Exception) -> bool:
    """Whether the same unit of work may succeed on another connection, or against another state."""
    return _code(error) in _AGAIN or _is_lost(error)


def _is_unavailable(error: Exception) -> bool:
    return _code(error).startswith(_UNAVAILABLE) or isinstance(error, sa.exc.TimeoutError)


def _raise(error: Exception) -> NoReturn:
    if isinstance(error, DatabaseUnavailable | UnsupportedDatabase):
        raise error
    if _is_lost(error) or _is_unavailable(error) or _code(error) in {"40001", "40P01"}:
        raise DatabaseUnavailable(f"the database is out of reach: {_safe_message(error)}") from error
    raise error


def _safe_message(error: Exception) -> str:
    """The driver's message without the statement, whose values may be secret."""
    cause = getattr(error, "orig", None) or error
    first = (str(cause) or type(cause).__name__).splitlines()[0]
    return re.sub(r"^<class '[\w.]+'>: ", "", first)


_STATUS = sa.text("SELECT pg_xact_status(CAST(CAST(:id AS text) AS xid8))")

QUEUE_HEADS = """
WITH RECURSIVE heads (ordering_key, id) AS (
    SELECT * FROM (
        SELECT ordering_key, id FROM jobs WHERE queue = :queue AND state = 'pending' ORDER BY ordering_key, id LIMIT 1
    ) AS first
    UNION ALL
    SELECT jobs.ordering_key, jobs.id FROM heads JOIN jobs ON jobs.id = (
        SELECT id FROM jobs
        WHERE queue = :queue AND state = 'pending' AND ordering_key > heads.ordering_key
        ORDER BY ordering_key, id LIMIT 1
    )
)
"""
_BUSY_UNTIL = """
    SELECT max(lease_until) FROM jobs AS busy
    WHERE busy.queue = :queue AND busy.state = 'pending' AND busy.lease_until IS NOT NULL
    AND busy.ordering_key = heads.ordering_key
"""
CLAIM = f"""
{QUEUE_HEADS}, free AS MATERIALIZED (
    SELECT jobs.id FROM heads JOIN jobs ON jobs.id = heads.id
    WHERE jobs.state = 'pending' AND jobs.scheduled_at <= :now
    AND (jobs.lease_until IS NULL OR jobs.lease_until <= {SERVER_CLOCK})
    AND coalesce(({_BUSY_UNTIL}), 0) <= {SERVER_CLOCK}
    ORDER BY jobs.id LIMIT :limit FOR UPDATE OF jobs SKIP LOCKED
)
UPDATE jobs SET lease = :lease, lease_until = {SERVER_CLOCK} + :lease_micros FROM free WHERE jobs.id = free.id
RETURNING jobs.id, queue, key, ordering_key, kind, payload, created_at, attempts, lease
"""  # noqa: S608 - made of the constants above
"""An ordering key is busy while any of its jobs is leased, not only the first: ids are given before the commit, so an
older one may appear later. What is leased already is seen because the claims of a queue wait for each other."""

NEXT_DUE = f"""
{QUEUE_HEADS}
SELECT min(greatest(scheduled_at, :now + ({_BUSY_UNTIL}) - {SERVER_CLOCK})) FROM heads JOIN jobs ON jobs.id = heads.id
"""  # noqa: S608 - made of the constants above
_OLDEST = "SELECT min(created_at) FROM heads JOIN jobs ON jobs.id = heads.id"
OLDEST_PENDING = QUEUE_HEADS + _OLDEST
DONE_VALUES: dict[str, Any] = {"payload": b""}


def before_claim(connection: sa.Connection, queue: str) -> None:
    """Let one claim of a queue follow the other, in all replicas."""
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock($1, hashtext($2))", (CLAIM_LOCK, queue))


def insert_jobs(connection: sa.Connection, rows: Sequence[JobRow]) -> int:
    """Insert the jobs whose key is new, and return how many those were."""
    columns = tuple([list(column) for column in zip(*rows, strict=True)])
    return len(connection.exec_driver_sql(_INSERT, columns).all())


_INSERT = """
INSERT INTO jobs (queue, key, ordering_key, kind, payload, created_at, scheduled_at, attempts, state, reason)
SELECT queue, key, ordering_key, kind, payload, created_at, scheduled_at, 0, 'pending', ''
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bigint[], $7::bigint[])
WITH ORDINALITY AS new (queue, key, ordering_key, kind, payload, created_at, scheduled_at, place)
ORDER BY place ON CONFLICT (queue, key) DO NOTHING RETURNING id
"""
