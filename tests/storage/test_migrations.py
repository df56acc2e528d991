"""A migration happens whole or not at all, loses nothing, and leaves the tables that the program expects."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from storage import migrations
from storage.database.database import Database
from storage.errors import DatabaseUnavailable
from storage.migrations import UnknownVersion
from storage.schema import refunds
from storage.schema.types import metadata
from tests.storage.programs import command, upgrade_to_next_version

pytestmark = pytest.mark.sqlite

ADD_SHOP = (
    "INSERT INTO shops (id, name, currency, language, time_zone, request_limit, created_at)"
    " VALUES (1, 'Bod', 'DKK', 'da', 'Europe/Copenhagen', 100, 7000000)"
)
ADD_CHAT = "INSERT INTO shop_chats (chat_id, shop_id, since) VALUES (5, 1, 0)"
KILLED = -9


def execute(tx: sa.Connection, *statements: str) -> None:
    """Run the statements one after the other."""
    for statement in statements:
        tx.exec_driver_sql(statement)


def rows(tx: sa.Connection, query: str) -> list[tuple[Any, ...]]:
    """The rows that a query finds."""
    return [tuple(row) for row in tx.exec_driver_sql(query)]


def definitions(tx: sa.Connection) -> dict[str, str]:
    """The statement that creates each table, index and trigger, with single spaces."""
    found = rows(tx, "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name <> 'alembic_version'")
    return {name: " ".join(sql.split()).replace("( ", "(") for name, sql in found}


def table_names(tx: sa.Connection) -> set[str]:
    """The names of all tables."""
    return {name for (name,) in rows(tx, "SELECT name FROM sqlite_schema WHERE type = 'table'")}


def parts(definition: str) -> set[str]:
    """Columns and constraints of a definition, in whatever order they were written."""
    if "TRIGGER" in definition:
        return {definition}
    inner = definition.replace('"', "").removesuffix(" STRICT").removesuffix(")").rstrip()
    return set(inner.split(", "))


async def read_file(path: Path, unit: Callable[[sa.Connection], Any]) -> Any:
    """What a unit of work reads from the file, opened for it alone."""
    db = Database(f"sqlite:///{path}")
    try:
        return await db.read(unit)
    finally:
        await db.close()


def differences(tx: sa.Connection) -> list[Any]:
    """What Alembic would change; the one index that only PostgreSQL has is left out."""

    def is_everywhere(_thing: object, name: str | None, *_rest: object) -> bool:
        return name != "ix_jobs_leased"

    return list(compare_metadata(MigrationContext.configure(tx, opts={"include_object": is_everywhere}), metadata))


async def test_migrated_tables_are_those_of_the_schema(db: Database) -> None:
    assert await db.read(differences) == []
    migrated = await db.read(definitions)
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        metadata.create_all(connection)
        expected = definitions(connection)
    engine.dispose()
    assert migrated.keys() == expected.keys()
    for name in expected:
        assert parts(migrated[name]) == parts(expected[name])


async def test_every_table_is_strict_and_no_row_is_deleted_by_cascade(db: Database) -> None:
    tables = {name: sql for name, sql in (await db.read(definitions)).items() if sql.startswith("CREATE TABLE")}
    assert tables.keys() == metadata.tables.keys() > {refunds.refunds.name}
    assert all(sql.endswith("STRICT") for sql in tables.values())
    assert not any("CASCADE" in sql for sql in tables.values())


async def test_second_migration_changes_nothing(db: Database) -> None:
    before = db.path.stat().st_mtime_ns
    await db.migrate()
    assert (await db.schema_version(), db.path.stat().st_mtime_ns) == (migrations.HEAD, before)
    assert await db.has_current_schema()


async def test_new_file_has_no_version_and_no_current_schema(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/kvit.db")
    assert (await db.schema_version(), await db.has_current_schema()) == (None, False)
    assert not db.path.exists()
    db.path.touch()
    assert (await db.schema_version(), await db.has_current_schema()) == (None, False)
    await db.close()


async def test_only_the_owner_can_read_the_files_of_the_database(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/kvit.db")
    await db.migrate()
    await db.write(execute, ADD_SHOP)
    await db.read(rows, "SELECT 1 FROM shops")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    await db.close()
    assert modes == {"kvit.db": 0o600, "kvit.db-shm": 0o600, "kvit.db-wal": 0o600}


async def test_file_of_an_unknown_version_is_refused_and_left_as_it_is(db: Database) -> None:
    await db.write(execute, "UPDATE alembic_version SET version_num = '9999'")
    assert not await db.has_current_schema()
    with pytest.raises(UnknownVersion, match=r"version 9999, which this version of Kvit does not know"):
        await db.migrate()
    assert await db.schema_version() == "9999"


async def test_file_of_the_next_version_is_refused_and_left_as_it_is(db: Database) -> None:
    await db.write(execute, ADD_SHOP, ADD_CHAT)
    await db.run_migration(upgrade_to_next_version)
    before = await db.read(definitions)
    assert not await db.has_current_schema()
    with pytest.raises(UnknownVersion, match=r"version 0002, which this version of Kvit does not know"):
        await db.migrate()
    assert await db.schema_version() == "0002"
    assert await db.read(definitions) == before
    assert await db.read(rows, "SELECT name, notes FROM shops JOIN shop_chats ON shop_id = id") == [("Bod", 1)]


def test_versions_are_those_of_the_steps() -> None:
    config = Config()
    config.set_main_option("script_location", "storage:migrations")
    steps = ScriptDirectory.from_config(config).walk_revisions()
    assert tuple(reversed([step.revision for step in steps])) == migrations.VERSIONS


@pytest.mark.parametrize("version", ["0001", "0005", "v0002", "v00010", "other"])
async def test_every_unknown_version_is_refused_and_left_as_it_is(db: Database, version: str) -> None:
    """Also `0001` to `0005`, the versions of development, whose tables have the names of today's."""
    await db.write(execute, f"UPDATE alembic_version SET version_num = '{version}'")
    assert not await db.has_current_schema()
    with pytest.raises(UnknownVersion, match=f"version {version}, which this version of Kvit does not know"):
        await db.migrate()
    assert await db.schema_version() == version


@pytest.mark.parametrize("with_version_table", [False, True])
async def test_database_of_another_program_is_refused_and_left_as_it_is(
    tmp_path: Path, with_version_table: bool
) -> None:
    db = Database(f"sqlite:///{tmp_path}/other.db")
    statements = ["CREATE TABLE notes (text)", "INSERT INTO notes VALUES ('precious')"]
    if with_version_table:
        statements.append("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    await db.run_migration(lambda tx: execute(tx, *statements))
    before = await db.read(table_names)
    with pytest.raises(UnknownVersion, match="belongs to another program"):
        await db.migrate()
    assert (await db.schema_version(), await db.read(table_names)) == (migrations.FOREIGN, before)
    assert await db.read(rows, "SELECT text FROM notes") == [("precious",)]
    await db.close()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_first_migration_killed_at_any_statement_is_repeated_by_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "kvit.db"
    statements = 0
    while (code := run_until_killed(path, statements, "this")) == KILLED:
        assert asyncio.run(read_file(path, table_names)) == set()
        statements += 6
    assert code == 0
    assert statements > 20
    assert asyncio.run(read_file(path, table_names)) == {*metadata.tables, "alembic_version"}


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_later_step_killed_at_any_statement_loses_nothing_and_is_repeated(db: Database) -> None:
    await db.write(execute, ADD_SHOP, ADD_CHAT)
    before = await db.read(definitions)
    await db.close()
    statements = 0
    while (code := run_until_killed(db.path, statements, "next")) == KILLED:
        assert await read_file(db.path, definitions) == before
        assert await read_file(db.path, lambda tx: rows(tx, "SELECT * FROM alembic_version")) == [(migrations.HEAD,)]
        assert await read_file(db.path, lambda tx: rows(tx, "SELECT shop_id FROM shop_chats")) == [(1,)]
        statements += 1
    assert code == 0
    assert statements >= 6
    query = "SELECT name, notes, text, chat_id FROM shops JOIN shop_notes ON id = shop_notes.shop_id"
    query += " JOIN shop_chats ON id = shop_chats.shop_id, alembic_version WHERE version_num = '0002'"
    assert await read_file(db.path, lambda tx: rows(tx, query)) == [("Bod", 1, "Bod since 7000000", 5)]


async def test_starts_at_the_same_time_migrate_once(tmp_path: Path) -> None:
    path = tmp_path / "kvit.db"
    starts = [await asyncio.create_subprocess_exec(*command("migrate", path)) for _ in range(3)]
    assert [await start.wait() for start in starts] == [0, 0, 0]
    assert await read_file(path, table_names) == {*metadata.tables, "alembic_version"}


async def test_migration_may_rebuild_a_table_that_others_refer_to(db: Database) -> None:
    """SQLite changes a column by dropping the old table; with foreign keys on, that deletes or refuses."""
    await db.write(execute, ADD_SHOP, ADD_CHAT)
    await db.run_migration(
        lambda tx: execute(
            tx,
            "CREATE TABLE rebuilt AS SELECT * FROM shops",
            "DROP TABLE shops",
            "ALTER TABLE rebuilt RENAME TO shops",
            "CREATE UNIQUE INDEX shops_id ON shops (id)",
        )
    )
    found = await db.read(rows, "SELECT name FROM shop_chats JOIN shops ON shops.id = shop_chats.shop_id")
    assert found == [("Bod",)]


async def test_migration_that_breaks_a_reference_is_rolled_back(db: Database) -> None:
    with pytest.raises(ValueError, match="1 references, the first in table shop_chats"):
        await db.run_migration(lambda tx: execute(tx, ADD_CHAT))
    assert await db.read(rows, "SELECT count(*) FROM shop_chats") == [(0,)]
    await db.write(execute, ADD_SHOP, ADD_CHAT)


async def test_migration_that_raises_is_rolled_back(db: Database) -> None:
    before = await db.read(definitions)

    def fail(tx: sa.Connection) -> None:
        execute(tx, ADD_SHOP)
        upgrade_to_next_version(tx)
        raise KeyError

    with pytest.raises(KeyError):
        await db.run_migration(fail)
    assert await db.read(definitions) == before
    assert await db.read(rows, "SELECT count(*) FROM shops") == [(0,)]
    await db.run_migration(upgrade_to_next_version)
    assert await db.schema_version() == "0002"


async def test_migration_in_a_missing_folder_raises_database_unavailable(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/nowhere/kvit.db")
    with pytest.raises(DatabaseUnavailable, match="unable to open"):
        await db.migrate()
    await db.close()


def run_until_killed(path: Path, statements: int, version: str) -> int:
    """The exit code of a migration that is killed after so many statements."""
    return subprocess.run(command("migrate_until_killed", path, statements, version), check=False).returncode
