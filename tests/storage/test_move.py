"""A move carries everything over, or nothing; killed at any commit it is continued, and one database is in use."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import asyncpg  # type: ignore[import-untyped]
import pytest
import sqlalchemy as sa

from bot.sandbox.shared.fake_clock import FakeClock
from storage import installation, shops
from storage.database.database import Database
from storage.database.file_lock import FileLock
from storage.models.shop import Shop
from storage.move import ARRIVING, MOVED_TO, Inventory, MoveRefused, differences, inventory, move
from tests.support.evidence import idle
from tests.support.people import open_shop
from tests.support.postgres import Server, opened_database
from tests.support.process_world import ROOT
from tests.support.refund_steps import drafted, held, paid, ref_of
from tests.support.world import World, opened

pytestmark = pytest.mark.timeout(300)

T = TypeVar("T")
SECONDS = 60
"""How long a command may take before it counts as hanging."""

KILLED = -signal.SIGKILL
COMMITS = [f"{number}:{moment}" for number in (1, 2, 3) for moment in ("before", "after")]
KILLS = [
    pytest.param(kill, way, marks=() if (kill, way) == ("2:after", "to the server") else pytest.mark.long)
    for kill in COMMITS
    for way in ("to the server", "to a file")
]


@dataclass
class Operator:
    """Runs commands of the program on the databases of a move."""

    environment: dict[str, str]

    async def run(
        self, url: str, *arguments: str, program: str = "bot", **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command with DATABASE_URL set to `url`, on a thread: the vendors answer from this event loop."""
        return await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-W", "error", "-m", program, *arguments],
            env=self.environment | {"DATABASE_URL": url} | more,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the filled database is kept for the tests of this module."""
    return tmp_path_factory.mktemp("kept") / "kvit.db"


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    """A service on an SQLite file, whichever database the other tests run on."""
    url = f"sqlite:///{tmp_path}/served.db"
    async with opened(clock, tmp_path, database_url=url) as running:
        yield running


@pytest.fixture
async def source(world: World, tmp_path: Path, kept: Path) -> str:
    """The URL of a file with payments in several states, a refund, questions, jobs, an audit log; nothing serves it."""
    if not kept.exists():
        await open_shop(world)
        await drafted(world, f"/refund {ref_of(await paid(world, '/pay 149,50 Kaffe med æ'))} 40")
        await held(world)
        world.say("/pay 12 EUR Tea")
        await world.message("12.00")
        await idle(world)
        await world.stop()
        with closing(sqlite3.connect(world.database)) as db, db:
            db.execute("UPDATE jobs SET state = 'pending', payload = x'00ff' WHERE id = (SELECT max(id) FROM jobs)")
        with closing(sqlite3.connect(world.database)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(world.database, kept)
    shutil.copy(kept, tmp_path / "old.db")
    return f"sqlite:///{tmp_path}/old.db"


@pytest.fixture
def operator(world: World) -> Operator:
    settings = world.settings
    return Operator(
        {
            "TELEGRAM_BOT_TOKEN": settings.telegram_bot_token.get_secret_value(),
            "STRIPE_API_KEY": settings.stripe_api_key.get_secret_value(),
            "TELEGRAM_API_BASE": world.telegram.base,
            "STRIPE_API_BASE": world.stripe.base,
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "PORT": "0",
        }
    )


async def held_by(url: str) -> Inventory:
    """What a database holds."""
    async with opened_database(url) as db:
        return await db.read(inventory)


async def test_everything_goes_to_postgresql_and_back_and_the_old_databases_refuse_to_start(
    source: str, operator: Operator, postgres: Server, tmp_path: Path
) -> None:
    before, server = await held_by(source), await postgres.create(migrated=False)
    assert before["payments"][0] == 3
    assert any(name.startswith("unsent jobs in") for name in before)
    moved = await operator.run(source, "move-db", "--to", server)
    assert (moved.returncode, moved.stderr) == (0, "")
    assert "Everything was moved from" in moved.stdout
    assert "secret" not in moved.stdout
    assert "  3 payments" in moved.stdout
    assert await held_by(server) == before
    for command in ("serve", "export"):
        refused = await operator.run(source, command)
        assert refused.returncode == 2
        assert "This database was moved to PostgreSQL at 127.0.0.1" in refused.stderr
    assert "FAIL  database: This database was moved" in (await operator.run(source, "check")).stdout
    back = f"sqlite:///{tmp_path}/back.db"
    assert (await operator.run(server, "move-db", "--to", back)).returncode == 0
    assert await held_by(back) == before
    assert "was moved to" in (await operator.run(server, "serve")).stderr
    with closing(sqlite3.connect(tmp_path / "back.db")) as db:
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []


async def test_new_rows_get_new_numbers_after_a_move(source: str, postgres: Server, clock: FakeClock) -> None:
    server = await postgres.create(migrated=False)
    async with opened_database(source) as old, opened_database(server) as new:
        await move(old, new)
        made = await new.write(shops.create_shop, Shop(0, "New", "DKK", "da", "Europe/Copenhagen"), now=clock.now())
        assert made.id == 2


@pytest.mark.long
@pytest.mark.parametrize(("kill", "way"), KILLS)
async def test_move_killed_at_a_commit_is_continued_and_never_are_both_databases_in_use(
    source: str, operator: Operator, postgres: Server, tmp_path: Path, kill: str, way: str
) -> None:
    old, new = source, await postgres.create(migrated=False)
    if way == "to a file":
        async with opened_database(source) as first, opened_database(new) as second:
            await move(first, second)
        old, new = new, f"sqlite:///{tmp_path}/new.db"
    before = await held_by(old)
    killed = await operator.run(old, "move-db", "--to", new, program="tests.storage.killable_move", KVIT_KILL=kill)
    assert killed.returncode == KILLED, killed.stderr
    in_use = [url for url in (old, new) if await may_start(url)]
    assert in_use in ([old], [], [new])
    assert (old in in_use) == (kill in {"1:before", "1:after", "2:before"})
    again = await operator.run(old, "move-db", "--to", new)
    assert (again.returncode, again.stderr) == (0, "")
    assert await held_by(new) == before
    assert [await may_start(old), await may_start(new)] == [False, True]
    assert (await operator.run(old, "move-db", "--to", new)).returncode == 0  # once more changes nothing


async def may_start(url: str) -> bool:
    """Whether a service would use this database; an empty one it would fill."""
    async with opened_database(url) as db:
        if await db.schema_version() is None:
            return False
        marks = [await db.read(installation.get_setting, name) for name in (MOVED_TO, ARRIVING)]
        return marks == [None, None]


class BesideAnotherProgram(Database):
    """A new database; while it is filled, another program writes a row into the old one."""

    old: Database | None = None

    async def run_migration(self, fn: Callable[[sa.Connection], T]) -> T:
        """Fills the database, then has the row written."""
        result = await super().run_migration(fn)
        if self.old is not None:
            await self.old.write(installation.set_setting, "late", "written by another program")
        return result


async def test_row_that_differs_afterwards_undoes_the_mark(source: str, postgres: Server) -> None:
    new = BesideAnotherProgram(await postgres.create(migrated=False))
    async with opened_database(source) as old:
        new.old = old
        with pytest.raises(MoveRefused, match="What differs: installation_settings"):
            await move(old, new)
        assert await old.read(installation.get_setting, MOVED_TO) is None
        new.old = None
        await move(old, new)
        assert await new.read(installation.get_setting, "late") is not None
    await new.close()


@pytest.mark.long
async def test_move_is_refused_beside_a_service_and_into_a_database_in_use(
    source: str, operator: Operator, postgres: Server, tmp_path: Path
) -> None:
    server = await postgres.create()
    used = await operator.run(source, "move-db", "--to", server)
    assert (used.returncode, used.stderr) == (
        1,
        "The new database is not empty: name a new file, or create an empty database.\n",
    )
    with FileLock(tmp_path / "old.db"):
        assert "Stop `serve` first" in (await operator.run(source, "move-db", "--to", server)).stderr
    assert "must look like" in (await operator.run(source, "move-db", "--to", "mysql://x")).stderr
    assert (await operator.run(f"sqlite:///{tmp_path}/none.db", "move-db", "--to", server)).returncode == 1
    assert not (tmp_path / "none.db").exists()
    living = await asyncpg.connect(server)
    try:
        until = "extract(epoch FROM clock_timestamp())::bigint * 1000000 + 60000000"
        await living.execute(f"INSERT INTO leases VALUES ('replica:1', '1', {until})")
    finally:
        await living.close()
    new = f"sqlite:///{tmp_path}/new.db"
    assert "1 processes still use the old database" in (await operator.run(server, "move-db", "--to", new)).stderr
    assert not differences(await held_by(source), await held_by(source))


async def test_two_different_rows_are_named(source: str) -> None:
    async with opened_database(source) as db:
        before = await db.read(inventory)
        change = "UPDATE payments SET amount = amount + 1 WHERE id = (SELECT min(id) FROM payments)"
        await db.write(sa.Connection.exec_driver_sql, change)
        found = differences(before, await db.read(inventory))
    assert "payments" in found
    assert "payments by state, currency and day" in found
