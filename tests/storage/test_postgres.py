"""Units of work on PostgreSQL: whole or not at all, concurrent without a lost update, and retried where that helps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial

import asyncpg  # type: ignore[import-untyped]
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from storage import installation, migrations, shops
from storage.database.database import Database, after_commit, lock_rows
from storage.database.postgres import EVENTS, describe
from storage.errors import DatabaseUnavailable, UnsupportedDatabase
from storage.leases import RELEASED
from storage.migrations import UnknownVersion
from storage.models.shop import Shop
from storage.payments import PAYMENTS_CHANGED
from storage.schema.audit_log import audit_log
from storage.schema.shops import installation_settings
from storage.schema.types import metadata
from tests.storage.units_of_work import TIMEOUT, add_setting, increment, number, setting_names
from tests.support.postgres import Server, opened_database

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SHOP = Shop(0, "Bod", "DKK", "da", "Europe/Copenhagen")


@asynccontextmanager
async def connected(db_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection beside those of the program."""
    connection = await asyncpg.connect(db_url)
    try:
        yield connection
    finally:
        await connection.close()


def run(tx: sa.Connection, statement: str) -> int:
    """Runs a statement as a unit of work; returns the number of rows."""
    return tx.exec_driver_sql(statement).rowcount


@pytest.fixture
async def url(postgres: Server) -> str:
    return await postgres.create()


@pytest.fixture
async def pg(url: str) -> AsyncIterator[Database]:
    async with opened_database(url) as database:
        yield database


async def test_migrated_tables_are_those_of_the_schema(pg: Database) -> None:
    assert await pg.read(lambda tx: compare_metadata(MigrationContext.configure(tx), metadata)) == []
    storage = "SELECT reloptions::text FROM pg_class WHERE relname = 'jobs'"
    assert "autovacuum_vacuum_scale_factor" in await pg.read(lambda tx: tx.exec_driver_sql(storage).scalar_one())


async def test_checks_and_references_hold(pg: Database) -> None:
    bad = [
        "INSERT INTO members (shop_id, user_id, role, name, since) VALUES (1, 5, 1, 'x', 0)",
        "INSERT INTO owners (user_id, name, since) VALUES (777000, 'Telegram', 0)",
        "INSERT INTO prompts (id, key, kind, chat_id, user_id, payload, created_at, answer)"
        " VALUES ('a', 'b', 'c', 1, 1, '', 0, 1)",
    ]
    for statement in bad:
        with pytest.raises(sa.exc.IntegrityError):
            await pg.write(run, statement)


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET action = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"]
)
async def test_audit_log_is_append_only(pg: Database, statement: str) -> None:
    await pg.write(shops.create_shop, SHOP, now=NOW)
    with pytest.raises(sa.exc.DBAPIError, match="append-only"):
        await pg.write(run, statement)
    assert await pg.read(lambda tx: tx.execute(sa.select(audit_log.c.action)).scalars().all()) == ["shop_created"]


async def test_migrations_of_three_replicas_at_once_happen_once(postgres: Server) -> None:
    empty = await postgres.create(migrated=False)
    replicas = [Database(empty) for _ in range(3)]
    await asyncio.gather(*(replica.migrate() for replica in replicas))
    assert [await replica.schema_version() for replica in replicas] == [migrations.HEAD] * 3
    for replica in replicas:
        await replica.close()


async def test_migration_that_fails_leaves_nothing_behind(postgres: Server) -> None:
    async with opened_database(await postgres.create(migrated=False)) as db:

        def fail(tx: sa.Connection) -> None:
            migrations.upgrade(tx)
            raise KeyError

        with pytest.raises(KeyError):
            await db.run_migration(fail)
        assert await db.schema_version() is None
        await db.migrate()
        assert await db.has_current_schema()


async def test_tables_of_a_newer_version_are_refused(pg: Database) -> None:
    await pg.write(lambda tx: tx.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'").rowcount)
    with pytest.raises(UnknownVersion):
        await pg.migrate()


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("CockroachDB CCL v26.3.0 (x86_64-pc-linux-gnu)", "not PostgreSQL but 'CockroachDB"),
        ("PostgreSQL 15.2-YB-2.25.1.0-b0 on x86_64-pc-linux-gnu, yugabyte", "not PostgreSQL"),
    ],
)
async def test_engine_that_only_speaks_the_protocol_is_refused(postgres: Server, version: str, reason: str) -> None:
    url = await postgres.create(migrated=False)
    name = url.rpartition("/")[2]
    function = f"CREATE FUNCTION odd.version() RETURNS text LANGUAGE sql AS $$SELECT '{version}'$$"
    await postgres.run("CREATE SCHEMA odd", "GRANT USAGE ON SCHEMA odd TO kvit", function, database=name)
    await postgres.run(f"ALTER DATABASE {name} SET search_path = odd, pg_catalog, public")
    async with opened_database(url) as db:
        with pytest.raises(UnsupportedDatabase, match=reason):
            await db.migrate()
        assert await db.schema_version() is None


async def test_database_in_another_encoding_is_refused(postgres: Server) -> None:
    await postgres.run("CREATE DATABASE latin OWNER kvit ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    async with opened_database(postgres.url("latin")) as db:
        with pytest.raises(UnsupportedDatabase, match="UTF8"):
            await db.probe()


async def test_write_that_raises_is_rolled_back_and_the_error_passes_unchanged(pg: Database) -> None:
    called: list[str] = []

    def fail(tx: sa.Connection) -> None:
        add_setting(tx, "half")
        after_commit(tx, lambda: called.append("half"))
        raise KeyError("half way")

    with pytest.raises(KeyError, match="half way"):
        await pg.write(fail)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await pg.write(lambda tx: next(iter([add_setting(tx, "x")][1:])))
    assert (await pg.read(setting_names), called) == ([], [])


async def test_write_in_a_read_is_an_error(pg: Database) -> None:
    with pytest.raises((DatabaseUnavailable, sa.exc.DBAPIError), match="read-only"):
        await pg.read(add_setting, "x")


async def test_200_concurrent_increments_of_two_replicas_are_all_counted(url: str, pg: Database) -> None:
    async with opened_database(url) as other:
        await pg.write(installation.set_setting, "number", "0")

        def add_one(tx: sa.Connection) -> None:
            lock_rows(tx, sa.select(installation_settings.c.name).where(installation_settings.c.name == "number"))
            values = {"value": str(number(tx) + 1)}
            tx.execute(installation_settings.update().where(installation_settings.c.name == "number").values(values))

        await asyncio.gather(*((pg, other)[n % 2].write(add_one) for n in range(200)))
        assert await pg.read(number) == 200


async def test_unit_that_meets_a_row_inserted_at_the_same_time_begins_anew(url: str, pg: Database) -> None:
    waiting = asyncio.Event()
    async with connected(url) as rival:
        async with rival.transaction():
            await rival.execute("INSERT INTO installation_settings VALUES ('found', 'rival')")
            seen: list[str | None] = []

            def insert_or_read(tx: sa.Connection) -> str | None:
                seen.append(installation.get_setting(tx, "found"))
                if seen[-1] is None:
                    waiting.set()
                    tx.exec_driver_sql("INSERT INTO installation_settings VALUES ('found', 'ours')")
                return seen[-1]

            writing = asyncio.create_task(pg.write(insert_or_read))
            await asyncio.wait_for(waiting.wait(), TIMEOUT)
        assert await asyncio.wait_for(writing, TIMEOUT) == "rival"
        assert seen == [None, "rival"]


async def test_row_is_read_as_it_is_once_its_lock_is_held(url: str, pg: Database) -> None:
    await pg.write(shops.create_shop, SHOP, now=NOW)
    asked = asyncio.Event()
    async with connected(url) as rival:
        async with rival.transaction():
            await rival.execute("UPDATE shops SET request_limit = 7")

            def decide(tx: sa.Connection) -> int:
                asked.set()
                shops.lock_shop(tx, 1)
                shop = shops.get_shop(tx, 1)
                assert shop is not None
                return shop.request_limit

            deciding = asyncio.create_task(pg.write(decide))
            await asyncio.wait_for(asked.wait(), TIMEOUT)
            assert not deciding.done()
        assert await asyncio.wait_for(deciding, TIMEOUT) == 7


async def test_unit_that_met_a_deadlock_begins_anew(url: str, pg: Database) -> None:
    change = "UPDATE installation_settings SET value = value || '{}' WHERE name = '{}'"
    for name in ("a", "b"):
        await pg.write(installation.set_setting, name, "0")
    async with connected(url) as rival:

        def change_both(tx: sa.Connection) -> None:
            for name in ("b", "a"):
                run(tx, change.format("y", name))

        async with rival.transaction():
            await rival.execute(change.format("x", "a"))
            writing = asyncio.create_task(pg.write(change_both))
            while not await rival.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                await asyncio.sleep(0.01)
            with suppress(asyncpg.DeadlockDetectedError):  # on a very slow machine it is the other one that is ended
                async with rival.transaction():
                    await rival.execute(change.format("x", "b"))
        await asyncio.wait_for(writing, TIMEOUT)
    assert await pg.read(installation.get_setting, "a") == "0xy"
    assert str(await pg.read(installation.get_setting, "b")).endswith("y")


async def kill_backends(rival: asyncpg.Connection) -> None:
    await rival.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )


async def test_unit_whose_connection_is_terminated_happens_once(url: str, pg: Database) -> None:
    await pg.write(installation.set_setting, "number", "0")
    async with connected(url) as rival:
        tries: list[int] = []
        async with rival.transaction():
            await rival.execute("LOCK TABLE installation_settings IN EXCLUSIVE MODE")

            def add_one(tx: sa.Connection) -> None:
                tries.append(1)
                tx.exec_driver_sql("UPDATE installation_settings SET value = (value::int + 1)::text")

            writing = asyncio.create_task(pg.write(add_one))
            while not await rival.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                await asyncio.sleep(0.01)
            await kill_backends(rival)
        await asyncio.wait_for(writing, TIMEOUT)
    assert (len(tries), await pg.read(number)) == (2, 1)


async def test_server_that_is_gone_is_unavailable_and_named_without_the_password() -> None:
    async with opened_database("postgresql://kvit:Hemmeligt9@127.0.0.1:9/kvit", busy_seconds=1) as db:
        with pytest.raises(DatabaseUnavailable) as refused:
            await db.read(setting_names)
        assert "Hemmeligt9" not in str(refused.value)
        assert (await db.is_reachable(), db.name) == (False, "PostgreSQL at 127.0.0.1:9/kvit")
    assert describe("postgresql:///kvit?host=/run/postgresql") == "PostgreSQL at the local socket/kvit"


async def test_lock_that_is_held_too_long_is_unavailable(url: str) -> None:
    async with opened_database(url, busy_seconds=1) as db, connected(url) as rival, rival.transaction():
        await rival.execute("LOCK TABLE installation_settings")
        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            await db.write(add_setting, "x")


async def test_write_cancelled_before_it_began_does_not_run_and_one_that_began_is_finished(
    url: str, pg: Database
) -> None:
    never = asyncio.create_task(pg.write(add_setting, "never"))
    await asyncio.sleep(0)
    never.cancel()
    await asyncio.gather(never, return_exceptions=True)
    called = asyncio.Event()

    def add(tx: sa.Connection) -> None:
        add_setting(tx, "whole")
        after_commit(tx, called.set)
        writing.cancel()

    writing: asyncio.Task[None] = asyncio.create_task(pg.write(add))
    with pytest.raises(asyncio.CancelledError):
        await writing
    await asyncio.wait_for(called.wait(), TIMEOUT)
    assert await pg.read(setting_names) == ["whole"]


class Cable:
    """A relay before the server, which is cut on the first bytes of a client that contain `trigger`."""

    def __init__(self, port: int, trigger: bytes, deliver: bool) -> None:
        self._port, self._trigger, self._deliver = port, trigger, deliver
        self.cuts = 0
        self.port = 0

    @asynccontextmanager
    async def laid(self) -> AsyncIterator[Cable]:
        """The relay, while the block runs."""
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        returning = asyncio.create_task(self._pass(there, writer))
        with suppress(asyncio.CancelledError, ConnectionError):
            while data := await reader.read(65536):
                is_cut = self._trigger in data and not self.cuts
                if is_cut:
                    self.cuts += 1
                    returning.cancel()
                    await asyncio.gather(returning, return_exceptions=True)
                if not is_cut or self._deliver:
                    back.write(data)
                    await back.drain()
                if is_cut:
                    if self._deliver:
                        await there.read(65536)  # the server has committed
                    break
        returning.cancel()
        await asyncio.gather(returning, return_exceptions=True)
        writer.transport.abort()
        back.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
        target.close()


@pytest.mark.parametrize("is_committed", [True, False])
async def test_unit_whose_commit_gets_no_answer_happens_once(postgres: Server, url: str, is_committed: bool) -> None:
    tries: list[str] = []
    async with (
        Cable(postgres.port, b"COMMIT", deliver=is_committed).laid() as cable,
        opened_database(postgres.url(url.rpartition("/")[2], cable.port)) as db,
    ):

        def add_one(tx: sa.Connection) -> str:
            tries.append("began")
            after_commit(tx, partial(tries.append, "committed"))
            increment(tx)
            return "answer"

        assert await db.write(add_one) == "answer"
        assert (await db.read(number), cable.cuts) == (1, 1)
    assert tries == (["began", "committed"] if is_committed else ["began", "began", "committed"])


async def test_commit_tells_the_other_replicas_once_and_a_rolled_back_unit_does_not(url: str, pg: Database) -> None:
    async with opened_database(url) as other, connected(url) as ear:
        changed: asyncio.Queue[str] = asyncio.Queue()
        missed = asyncio.Event()
        other.on_payment_changed(changed.put_nowait, missed.set)
        heard: list[tuple[str, str]] = []
        for name in ("kvit_events", "kvit_changed"):
            await ear.add_listener(name, lambda _c, _pid, channel, payload: heard.append((channel, payload)))
        listening = asyncio.create_task(other.listen())
        await asyncio.wait_for(missed.wait(), TIMEOUT)  # it listens now

        def change(tx: sa.Connection) -> None:
            for _ in range(3):
                pg.wake_up(tx, "events")
            pg.notify_payment_changed(tx, "p1")

        def fail(tx: sa.Connection) -> None:
            change(tx)
            raise KeyError

        with pytest.raises(KeyError):
            await pg.write(fail)
        await pg.write(change)
        assert await asyncio.wait_for(changed.get(), TIMEOUT) == "p1"
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await ear.execute("SELECT 1")
        assert sorted(heard) == [("kvit_changed", "p1"), ("kvit_events", "")]


def test_every_event_that_is_waited_for_is_passed_on() -> None:
    assert {PAYMENTS_CHANGED, RELEASED, "events", "updates", "outbox"} == set(EVENTS)


async def test_listening_goes_on_after_its_connection_was_ended(url: str, pg: Database) -> None:
    changed: asyncio.Queue[str] = asyncio.Queue()
    missed: asyncio.Queue[None] = asyncio.Queue()
    pg.on_payment_changed(changed.put_nowait, lambda: missed.put_nowait(None))
    listening = asyncio.create_task(pg.listen())
    await asyncio.wait_for(missed.get(), TIMEOUT)
    async with connected(url) as rival:
        await kill_backends(rival)
        await asyncio.wait_for(missed.get(), TIMEOUT)  # what it may have missed is looked at
        await rival.execute("SELECT pg_notify('kvit_changed', 'p2')")
        assert await asyncio.wait_for(changed.get(), TIMEOUT) == "p2"
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
