"""The tables come to be in one step or not at all, and are what the program believes them to be."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from storage import migrations
from storage.database.database import Database
from storage.errors import DatabaseUnavailable
from storage.migrations import UnknownVersion
from storage.models.shop import Seller
from storage.schema import refunds
from storage.schema.types import EPOCH, metadata
from storage.shops import ShopRepository

MORTAL = """
import asyncio, os, signal, sys
import sqlalchemy as sa
from storage.database.database import Database

left = int(sys.argv[2])

@sa.event.listens_for(sa.Engine, "after_cursor_execute")
def die(connection, cursor, statement, *rest):
    global left
    left -= statement.lstrip().startswith(("BEGIN", "CREATE", "INSERT", "UPDATE"))
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(Database("sqlite:///" + sys.argv[1]).migrate())
"""


def _definitions(connection: sa.Connection) -> dict[str, str]:
    """Every table and index as SQLite keeps it, whatever the spaces."""
    found = connection.exec_driver_sql("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
    squeezed = {row["name"]: " ".join(row["sql"].split()).replace("( ", "(") for row in found.mappings()}
    return {name: sql for name, sql in squeezed.items() if name != "alembic_version"}


def _parts(definition: str) -> set[str]:
    """Columns and constraints of a definition, in whatever order they were written."""
    if "TRIGGER" in definition:
        return {definition}
    inner = definition.replace('"', "").removesuffix(" STRICT").removesuffix(")").rstrip()
    return set(inner.split(", "))


async def test_the_migrated_tables_are_those_of_the_program(db: Database) -> None:
    def differences(connection: sa.Connection) -> object:
        return compare_metadata(MigrationContext.configure(connection), metadata)

    async with db.reading() as tx:
        assert await tx.run_sync(differences) == []
        migrated = await tx.run_sync(_definitions)
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        metadata.create_all(connection)
        wanted = _definitions(connection)
    engine.dispose()
    assert migrated.keys() == wanted.keys()
    for name in wanted:
        assert _parts(migrated[name]) == _parts(wanted[name])


async def test_every_table_is_strict_and_no_row_is_deleted_by_cascade(db: Database) -> None:
    async with db.reading() as tx:
        definitions = await tx.run_sync(_definitions)
    tables = {name: sql for name, sql in definitions.items() if sql.startswith("CREATE TABLE")}
    assert tables.keys() == metadata.tables.keys() > {refunds.refunds.name}
    assert all(sql.endswith("STRICT") for sql in tables.values())
    assert not any("CASCADE" in sql for sql in tables.values())


async def test_a_second_migration_changes_nothing(db: Database) -> None:
    before = db.path.stat().st_mtime_ns
    await db.migrate()
    assert (await db.schema_version(), db.path.stat().st_mtime_ns) == (migrations.HEAD, before)
    assert await db.has_current_schema()


async def test_a_new_file_has_no_version_and_is_not_ready(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/kvit.db")
    assert (await db.schema_version(), await db.has_current_schema()) == (None, False)
    assert not db.path.exists()
    db.path.touch()
    assert (await db.schema_version(), await db.has_current_schema()) == (None, False)
    await db.close()


async def test_only_the_owner_can_read_the_database(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/kvit.db")
    await db.migrate()
    async with db.transaction(), db.reading():
        modes = sorted((path.name, path.stat().st_mode & 0o777) for path in tmp_path.iterdir())
    await db.close()
    assert modes == [
        ("kvit.db", 0o600),
        ("kvit.db-shm", 0o600),
        ("kvit.db-wal", 0o600),
    ]


async def test_a_file_of_a_newer_program_is_left_alone(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    assert not await db.has_current_schema()
    with pytest.raises(UnknownVersion, match=r"newer version.*9999"):
        await db.migrate()
    assert await db.schema_version() == "9999"


def test_the_version_the_program_speaks_is_the_last_step() -> None:
    config = Config()
    config.set_main_option("script_location", "storage:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [migrations.HEAD]


def test_a_migration_killed_at_any_statement_goes_on_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "kvit.db"
    statements = 0
    while True:
        done = subprocess.run([sys.executable, "-c", MORTAL, str(path), str(statements)], check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -9
        assert asyncio.run(_tables(path)) == set()
        statements += 6
    assert statements > 20
    assert asyncio.run(_tables(path)) == {*metadata.tables, "alembic_version"}


async def test_a_step_killed_half_way_from_an_older_version_loses_nothing_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "kvit.db"
    await _write_old(path, "0002")
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", MORTAL, str(path), "3")
    assert await process.wait() == -9
    assert await _version(path) == ("0002", 1)
    db = Database(f"sqlite:///{path}")
    await db.migrate()
    await db.close()
    assert await _version(path) == (migrations.HEAD, 1)


async def test_what_a_shop_said_of_its_seller_is_kept_as_of_its_first_day(tmp_path: Path) -> None:
    path = tmp_path / "kvit.db"
    await _write_old(path, "0003")
    db = Database(f"sqlite:///{path}")
    async with db.migration() as tx:
        await tx.exec_driver_sql(
            "INSERT INTO shops"
            " (id, name, currency, language, time_zone, limit_minor, created_at, seller_name, vat_rate)"
            " VALUES (2, 'Noir', 'DKK', 'da', 'Europe/Copenhagen', 100, 7000000, 'Noir ApS', 2500)"
        )
    await db.migrate()
    shops = ShopRepository(db)
    assert await db.read(shops.list_sellers, 1) == []
    assert await db.read(shops.list_sellers, 2) == [Seller(EPOCH + timedelta(seconds=7), "Noir ApS", "", "", "", 2500)]
    await db.close()


async def test_starts_at_the_same_time_migrate_once(tmp_path: Path) -> None:
    program = "import asyncio, sys; from storage.database.database import Database; "
    program += "asyncio.run(Database('sqlite:///' + sys.argv[1]).migrate())"
    path = tmp_path / "kvit.db"
    starts = [await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(path)) for _ in range(3)]
    assert [await start.wait() for start in starts] == [0, 0, 0]
    assert await _tables(path) == {*metadata.tables, "alembic_version"}


async def test_a_migration_may_rebuild_a_table_that_others_point_to(db: Database) -> None:
    """SQLite changes a column by dropping the old table; with foreign keys on, that deletes or refuses."""
    async with db.transaction() as tx:
        await tx.exec_driver_sql(
            "INSERT INTO shops (id, name, currency, language, time_zone, limit_minor, created_at)"
            " VALUES (1, 'Bod', 'DKK', 'da', 'Europe/Copenhagen', 100, 0)"
        )
        await tx.exec_driver_sql("INSERT INTO chats VALUES (5, 1, 0)")
    rebuild = [
        "CREATE TABLE rebuilt AS SELECT * FROM shops",
        "DROP TABLE shops",
        "ALTER TABLE rebuilt RENAME TO shops",
        "CREATE UNIQUE INDEX shops_id ON shops (id)",
    ]
    async with db.migration() as tx:
        for statement in rebuild:
            await tx.exec_driver_sql(statement)
    async with db.reading() as tx:
        found = await tx.exec_driver_sql("SELECT name FROM chats JOIN shops ON shops.id = chats.shop_id")
        assert found.scalar() == "Bod"


async def test_a_migration_that_breaks_a_reference_is_undone(db: Database) -> None:
    async def lose_the_shop() -> None:
        async with db.migration() as tx:
            await tx.exec_driver_sql("INSERT INTO chats VALUES (5, 77, 0)")

    with pytest.raises(ValueError, match="1 references, the first in table chats"):
        await lose_the_shop()
    async with db.reading() as tx:
        assert (await tx.exec_driver_sql("SELECT count(*) FROM chats")).scalar() == 0


async def test_a_migration_waits_for_a_disk_that_can_be_written(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/nowhere/kvit.db")
    with pytest.raises(DatabaseUnavailable, match="unable to open"):
        await db.migrate()
    await db.close()


async def _tables(path: Path) -> set[str]:
    if not path.exists():
        return set()
    db = Database(f"sqlite:///{path}")
    async with db.reading() as tx:
        found = (await tx.exec_driver_sql("SELECT name FROM sqlite_schema WHERE type = 'table'")).scalars().all()
    await db.close()
    return set(found)


async def _write_old(path: Path, version: str) -> None:
    """A file as a program of that version left it, with a shop in it."""

    def to_version(connection: sa.Connection) -> None:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", "storage:migrations")
        command.upgrade(config, version)

    db = Database(f"sqlite:///{path}")
    async with db.migration() as tx:
        await tx.run_sync(to_version)
        await tx.exec_driver_sql(
            "INSERT INTO shops (id, name, currency, language, time_zone, limit_minor, created_at)"
            " VALUES (1, 'Bod', 'DKK', 'da', 'Europe/Copenhagen', 100, 0)"
        )
    await db.close()


async def _version(path: Path) -> tuple[str | None, int]:
    """The version of a file, and how many shops it has."""
    db = Database(f"sqlite:///{path}")
    async with db.reading() as tx:
        shops = (await tx.exec_driver_sql("SELECT count(*) FROM shops")).scalar_one()
    version = await db.schema_version()
    await db.close()
    return version, shops
