"""A PostgreSQL server for tests: Debian's, in a folder of its own, without the writes that survive a power cut."""

from __future__ import annotations

import asyncio
import glob
import os
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import asyncpg  # type: ignore[import-untyped]
import pytest
import sqlalchemy as sa

from storage.database.database import Database
from storage.schema import audit_log, balance, chats, leases, movements, payments, queue, refunds, shops
from storage.schema.types import metadata

TABLES = (audit_log, balance, chats, leases, movements, payments, queue, refunds, shops)
"""The modules that together fill `metadata`."""

START_SECONDS = 60
ACCOUNT = "postgres"
"""The account that Debian's package makes; PostgreSQL does not run as root."""

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "autovacuum": "off",
    "log_min_messages": "panic",
}


def program(name: str) -> str:
    """The path of a program of PostgreSQL; the test is skipped where there is none, or fails if that is required."""
    found = [*glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), shutil.which(name), f"/usr/sbin/{name}"]
    for path in found:
        if path and os.access(path, os.X_OK):
            return path
    reason = f"there is no {name} here: apt-get install postgresql pgbouncer"
    if os.environ.get("KVIT_POSTGRES") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass
class Server:
    """A running server. `start` and `stop` are for tests that restart it."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    numbers: Iterator[int] = field(default_factory=count)
    template: str = ""

    def url(self, database: str, port: int | None = None) -> str:
        """The URL of a database."""
        return f"postgresql://kvit:secret@127.0.0.1:{port or self.port}/{database}"

    def start(self) -> None:
        """Starts the server, and returns when it accepts connections. It ends with this process at the latest."""
        settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        place = ["-D", str(self.folder / "data"), "-k", str(self.folder), "-p", str(self.port)]
        command = [*unprivileged(), program("postgres"), *place, *settings]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until = time.monotonic() + START_SECONDS
        ready = [program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready).returncode:
            assert time.monotonic() < until, (self.folder / "log").read_text()
            assert self.process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        """Stops the server at once, as a crash would."""
        _reader().close()
        if self.process is not None:
            self.process.send_signal(3)  # SIGQUIT: an immediate shutdown
            self.process.wait()
            self.process = None

    async def run(self, *statements: str, database: str = "postgres") -> Any:
        """Runs statements as the administrator, and returns the value of the last."""
        connection = await asyncpg.connect(
            user=ACCOUNT, database=database, host="127.0.0.1", port=self.port, statement_cache_size=0
        )
        try:
            result = None
            for statement in statements:
                result = await connection.fetchval(statement)
            return result
        finally:
            await connection.close()

    async def create(self, *, migrated: bool = True) -> str:
        """Creates a database with the newest tables, or an empty one, and returns its URL."""
        if migrated and not self.template:
            empty = await self.create(migrated=False)
            database = Database(empty)
            await database.migrate()
            await database.close()
            self.template = empty.rpartition("/")[2]
        name = f"kvit{next(self.numbers)}"
        template = f"TEMPLATE {self.template} STRATEGY file_copy" if migrated else ""
        await self.run(f"CREATE DATABASE {name} OWNER kvit {template}")
        return self.url(name)


def unprivileged() -> list[str]:
    """How a command begins that runs as an account without rights, and ends with this process."""
    words = [str(shutil.which("setpriv")), "--pdeathsig=QUIT"]
    return [*words, f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--clear-groups"] if os.geteuid() == 0 else words


def shared_server() -> Server:
    """The one server of this process, started when it is first needed; `stop_shared_server` ends it."""
    if not _shared:
        _shared.append(_exit.enter_context(running_server()))
    return _shared[0]


def stop_shared_server() -> None:
    """Ends the shared server, if it runs, and removes its folder."""
    _exit.close()
    _shared.clear()


@contextmanager
def running_server() -> Iterator[Server]:
    """A server in a new folder, with the role `kvit`, which may create databases and nothing more."""
    initdb = program("initdb")
    folder = Path(mkdtemp(prefix="kvit-pg-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    if os.geteuid() == 0:
        shutil.chown(folder, ACCOUNT, ACCOUNT)
    options = ["-U", ACCOUNT, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
    try:
        subprocess.run(
            [*unprivileged(), initdb, "-D", str(folder / "data"), *options], check=True, stdout=subprocess.DEVNULL
        )
        server = Server(folder, free_port())
        _folders[server.port] = folder
        server.start()
        psql = [program("psql"), "-q", "-h", "127.0.0.1", "-p", str(server.port), "-U", ACCOUNT, "-d", "postgres"]
        subprocess.run([*psql, "-c", "CREATE ROLE kvit LOGIN CREATEDB PASSWORD 'secret'"], check=True)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_for_port(port: int) -> None:
    """Returns once something accepts connections there."""
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.02)
        else:
            return


def free_port() -> int:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@asynccontextmanager
async def opened_database(url: str, **options: Any) -> AsyncIterator[Database]:
    """The database of a URL, closed in the end."""
    database = Database(url, **options)
    try:
        yield database
    finally:
        await database.close()


def query_server(url: str, query: str) -> list[dict[str, Any]]:
    """The rows of a query, as dictionaries."""
    return [dict(row) for row in _reader().fetch(url, [query])[0]]


class _Reader:
    """Reads databases from a thread of its own, beside the event loop of the test. It keeps one connection."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._url = ""
        self._connection: Any = None
        Thread(target=self._loop.run_forever, daemon=True).start()

    def fetch(self, url: str, queries: list[str]) -> list[list[Any]]:
        """The rows of each query, all of one snapshot."""
        return asyncio.run_coroutine_threadsafe(self._fetch(url, queries), self._loop).result(START_SECONDS)

    def close(self) -> None:
        """Closes the connection."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(START_SECONDS)

    async def _fetch(self, url: str, queries: list[str]) -> list[list[Any]]:
        if url != self._url or self._connection.is_closed():
            await self._close()
            self._connection = await asyncpg.connect(url, statement_cache_size=0)
            self._url = url
        async with self._connection.transaction(isolation="repeatable_read", readonly=True):
            return [await self._connection.fetch(query) for query in queries]

    async def _close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
        self._url = ""


@cache
def _reader() -> _Reader:
    return _Reader()


def snapshot(url: str) -> Path:
    """What the database holds now, as an SQLite file: so tests read the evidence on either in the same way."""
    tables = metadata.sorted_tables
    queries = [f"SELECT {', '.join(c.name for c in t.c)} FROM {t.name} ORDER BY {_order(t)}" for t in tables]
    rows = dict(zip([table.name for table in tables], _reader().fetch(url, queries), strict=True))
    path = _folders[urlsplit(url).port or 0] / "snapshot.db"
    path.write_bytes(_empty_file())
    with closing(sqlite3.connect(path)) as db, db:
        for table, found in rows.items():
            places = ", ".join("?" * len(metadata.tables[table].columns))
            db.executemany(f"INSERT INTO {table} VALUES ({places})", [tuple(row.values()) for row in found])
    return path


@cache
def _empty_file() -> bytes:
    with TemporaryDirectory() as folder:
        engine = sa.create_engine(f"sqlite:///{folder}/kvit.db")
        with engine.begin() as connection:
            metadata.create_all(connection)
        engine.dispose()
        return Path(folder, "kvit.db").read_bytes()


def _order(table: sa.Table) -> str:
    """The order of insertion, as far as a column tells it."""
    found = next((name for name in ("created_at", "requested_at", "since") if name in table.c), "ctid")
    return "id" if table.autoincrement_column is not None else found


_folders: dict[int, Path] = {}
_exit = ExitStack()
_shared: list[Server] = []
