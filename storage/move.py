"""Moves everything from one database into an empty one, and compares both before the new one may be used.

There are three commits. Killed before or after any of them, the same call continues:

1. the new database: its tables and all rows, with `ARRIVING`, by which it refuses to start;
2. the old database: `MOVED_TO`, by which it refuses to start;
3. the new database: `ARRIVED` instead of `ARRIVING`, after both were compared once more.
"""

from __future__ import annotations

import hashlib
import pickle
import secrets
from collections.abc import Iterator
from functools import partial
from tempfile import TemporaryFile
from typing import IO, Any

import sqlalchemy as sa

from storage import installation, migrations
from storage.database.database import POSTGRES_DIALECT, Database, lock_table
from storage.database.engine import SERVER_CLOCK
from storage.leases import REPLICA
from storage.schema import audit_log, balance, chats, movements, payments, queue, refunds, search, shops
from storage.schema.leases import leases
from storage.schema.types import metadata

MOVED_TO = "moved_to"
"""The setting of a database that was moved: the id of the move, and the name of the new database."""

ARRIVING = "arriving"
"""The setting of a new database that may not be used yet: the id of the move, and the name of the old database."""

ARRIVED = "arrived"
"""The setting of a new database in use: the id of the move."""

MODULES = (audit_log, balance, chats, movements, payments, queue, refunds, search, shops)
"""The modules that together fill `metadata`, with that of the leases, which are not moved."""

CHUNK = 500
"""Rows that are read and inserted together."""

MAX_DIFFERENCES = 10
LOCK_SECONDS = 30

Inventory = dict[str, tuple[Any, ...]]
"""What a database holds, under names for people: equal for two databases with the same rows."""


class MoveRefused(Exception):
    """Nothing was moved, or the move is not finished; the text is for the operator."""


def refusal(tx: sa.Connection) -> tuple[str, str] | None:
    """Why this database may not be used because of a move, and what to do; None if it may."""
    if (moved := installation.get_setting(tx, MOVED_TO)) is not None:
        return f"This database was moved to {moved.partition(' ')[2]}.", "Set DATABASE_URL to that one."
    if (arriving := installation.get_setting(tx, ARRIVING)) is not None:
        name = arriving.partition(" ")[2]
        return f"The move of {name} into this database is not finished.", "Run the same `move-db` command again."
    return None


async def move(source: Database, target: Database) -> Inventory:
    """Move everything, or finish a move that was interrupted; returns what was moved.

    The caller has made sure that no `serve` runs on an SQLite file of the two. The rows pass through a temporary file,
    so that it takes about as much disk as the database, and little memory.

    Raises:
        MoveRefused: `source` stays the database in use, unless the text says otherwise.
        DatabaseUnavailable, UnsupportedDatabase, UnknownVersion: so does it.
    """
    if await source.schema_version() != migrations.HEAD:
        raise MoveRefused(f"{source.name} does not have this version's tables: run `python -m bot migrate` first")
    stored = await source.read(installation.get_setting, MOVED_TO)
    if stored is None:
        if await source.read(installation.get_setting, ARRIVING) is not None:
            raise MoveRefused(f"The move into {source.name} is not finished: run the command that began it again")
        await source.read(_check_no_replica)
        move_id = secrets.token_hex(8)
        with TemporaryFile(prefix="kvit-move-") as file:
            expected = await source.read(_read_all, file)
            await target.run_migration(
                partial(_fill, file=file, expected=expected, move_id=move_id, source_name=source.name)
            )
        await source.write(_mark_moved, f"{move_id} {target.name}")
    else:
        move_id = stored.partition(" ")[0]
    return await _finish(source, target, move_id)


async def _finish(source: Database, target: Database, move_id: str) -> Inventory:
    """Compare what both databases hold by now, and open the new one."""
    arriving, arrived = (None, None) if await target.schema_version() is None else await target.read(_marks)
    expected = await source.read(inventory)
    if arrived == move_id:
        return expected
    if arriving is None or arriving.partition(" ")[0] != move_id:
        raise MoveRefused(f"{source.name} was moved to another database than {target.name}: name that one after --to")
    if found := differences(expected, await target.read(inventory)):
        await source.write(installation.remove_setting, MOVED_TO)
        raise MoveRefused(
            f"{source.name} was changed while it was moved, and stays the database in use: stop every program that uses"
            f" it, and move it again. What differs: {found}"
        )
    await target.write(_mark_arrived, move_id)
    return expected


def differences(expected: Inventory, found: Inventory) -> str:
    """What two inventories do not have in common, for people; empty if they are equal."""
    names = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    more = f" and {len(names) - MAX_DIFFERENCES} more" if len(names) > MAX_DIFFERENCES else ""
    return ", ".join(names[:MAX_DIFFERENCES]) + more


def inventory(tx: sa.Connection) -> Inventory:
    """What the database holds.

    For each table the number of rows and a digest of all. From the database's own sums: payments and money by state,
    currency and day, movements by kind, currency and day, receipt numbers by shop, unsent jobs by queue.
    """
    found: Inventory = {}
    for table in _tables():
        count, digest = 0, 0
        for row in _rows(tx, table):
            count, digest = count + 1, digest + _hash(row)
        found[table.name] = (count, digest % 2**256)
    return found | _sums(tx)


def _read_all(tx: sa.Connection, file: IO[bytes]) -> Inventory:
    """Write all rows to a file, in an order in which each refers to rows before it."""
    file.seek(0)
    file.truncate()  # on PostgreSQL the unit may have been begun before
    for table in _tables():
        chunk: list[tuple[Any, ...]] = []
        for row in _rows(tx, table):
            chunk.append(row)
            if len(chunk) == CHUNK:
                pickle.dump((table.name, chunk), file)
                chunk = []
        if chunk:
            pickle.dump((table.name, chunk), file)
    pickle.dump(None, file)
    return inventory(tx)


def _fill(tx: sa.Connection, *, file: IO[bytes], expected: Inventory, move_id: str, source_name: str) -> None:
    """Create the tables, insert all rows, and compare; what an interrupted move of the same database left is replaced.

    Raises:
        MoveRefused: the database is in use, or does not hold what it should.
    """
    if tx.dialect.name == POSTGRES_DIALECT:  # another program that reads it must not hold this up for ever
        tx.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
    if (version := migrations.version_of(tx)) is not None:
        arriving = installation.get_setting(tx, ARRIVING) if version == migrations.HEAD else None
        if arriving is None or arriving.partition(" ")[2] != source_name:
            raise MoveRefused("The new database is not empty: name a new file, or create an empty database")
        left = sa.MetaData()
        left.reflect(tx)
        left.drop_all(tx)
    migrations.upgrade(tx)
    tables = {table.name: table for table in _tables()}
    unknown = set(sa.inspect(tx).get_table_names()) - {*tables, leases.name, "alembic_version"}
    if unknown:
        raise AssertionError(f"rows of these tables would be left behind: {sorted(unknown)}")
    file.seek(0)
    while (found := pickle.load(file)) is not None:  # noqa: S301 - our own file, which no other user can open
        name, rows = found
        tx.execute(tables[name].insert(), [dict(zip(tables[name].c.keys(), row, strict=True)) for row in rows])
    if tx.dialect.name == POSTGRES_DIALECT:
        for table in metadata.sorted_tables:
            if table.autoincrement_column is not None:
                _continue_numbers(tx, table.name, table.autoincrement_column.name)
    if differing := differences(expected, inventory(tx)):
        raise MoveRefused(f"The copy differs from the original and was discarded: {differing}")
    installation.set_setting(tx, ARRIVING, f"{move_id} {source_name}")


def _continue_numbers(tx: sa.Connection, table: str, column: str) -> None:
    """Let PostgreSQL number new rows after those that were inserted with their numbers."""
    newest = f"(SELECT max({column}) FROM {table})"  # noqa: S608 - names of our own
    sequence = f"pg_get_serial_sequence('{table}', '{column}')"
    tx.exec_driver_sql(f"SELECT setval({sequence}, coalesce({newest}, 1), {newest} IS NOT NULL)")


def _mark_moved(tx: sa.Connection, mark: str) -> None:
    """Decide the move: from this commit on, the old database refuses to start."""
    _check_no_replica(tx, lock=True)
    if installation.get_setting(tx, MOVED_TO) is not None:
        raise MoveRefused("Another move of this database was finished meanwhile; this one was not")
    installation.set_setting(tx, MOVED_TO, mark)


def _mark_arrived(tx: sa.Connection, move_id: str) -> None:
    installation.remove_setting(tx, ARRIVING)
    installation.set_setting(tx, ARRIVED, move_id)


def _marks(tx: sa.Connection) -> tuple[str | None, str | None]:
    return installation.get_setting(tx, ARRIVING), installation.get_setting(tx, ARRIVED)


def _check_no_replica(tx: sa.Connection, *, lock: bool = False) -> None:
    """Refuse while a replica serves this database; with `lock`, none begins to until the transaction ends."""
    if tx.dialect.name != POSTGRES_DIALECT:
        return
    if lock:
        lock_table(tx, leases)
    living = tx.scalar(
        sa.select(sa.func.count()).where(
            leases.c.name.startswith(REPLICA), leases.c.until > sa.literal_column(SERVER_CLOCK)
        )
    )
    if living:
        raise MoveRefused(f"{living} processes still use the old database: stop them, and wait 10 seconds")


def _tables() -> list[sa.TableClause]:
    """All tables whose rows are moved, a table after those it refers to, with the types in which values are stored."""
    return [
        sa.table(table.name, *(sa.column(column.name, _stored_type(column.type)) for column in table.columns))
        for table in metadata.sorted_tables
        if table is not leases
    ]


def _stored_type(kind: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    if isinstance(kind, sa.LargeBinary):
        return sa.LargeBinary()
    return sa.Text() if isinstance(kind, sa.String) else sa.BigInteger()


def _rows(tx: sa.Connection, table: sa.TableClause) -> Iterator[tuple[Any, ...]]:
    """The rows of a table as they are stored, without the marks of moves."""
    query = sa.select(*table.c)
    if table.name == shops.installation_settings.name:
        query = query.where(table.c.name.not_in([MOVED_TO, ARRIVING, ARRIVED]))
    for row in tx.execute(query, execution_options={"yield_per": CHUNK}):
        yield tuple(row)


def _hash(row: tuple[Any, ...]) -> int:
    """A digest of the row. The sum of these is a digest of rows in any order: databases sort text differently."""
    return int.from_bytes(hashlib.sha256(repr(row).encode("utf-8", "surrogatepass")).digest())


def _sums(tx: sa.Connection) -> Inventory:
    found: Inventory = {}
    for what, columns, query in _SUMS:
        for row in tx.exec_driver_sql(query):
            name = " ".join([what, *map(str, row[:columns])])
            found[name] = tuple(int(value or 0) for value in row[columns:])
    return found


_DAY = 24 * 3600 * 1_000_000
_SUMS = (
    (
        "payments by state, currency and day (days since 1970):",
        3,
        f"SELECT status, currency, created_at / {_DAY}, count(*), sum(amount), sum(amount_received),"  # noqa: S608
        " sum(amount_refunded) FROM payments GROUP BY 1, 2, 3",
    ),
    (
        "movements by kind, currency and day (days since 1970):",
        3,
        f"SELECT kind, currency, at / {_DAY}, count(*), sum(amount) FROM movements GROUP BY 1, 2, 3",  # noqa: S608
    ),
    (
        "receipt numbers of shop",
        1,
        "SELECT shop_id, count(*), min(receipt_number), max(receipt_number), sum(receipt_number) FROM payments"
        " WHERE receipt_number IS NOT NULL GROUP BY 1",
    ),
    ("unsent jobs in", 1, "SELECT queue, count(*) FROM jobs WHERE state = 'pending' GROUP BY 1"),
)
