"""Fixtures of most tests: an empty migrated database, a clock that only the test advances, a running service."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import settings
from playwright.async_api import Browser

from bot.sandbox.shared.fake_clock import FakeClock
from storage.database.database import Database
from tests.support.browser import chromium
from tests.support.empty_database import ON_POSTGRES, empty_database
from tests.support.postgres import Server, opened_database, shared_server, stop_shared_server
from tests.support.world import World, opened

settings.register_profile("kvit", deadline=None)
settings.load_profile("kvit")
# A busy machine must not fail a test: times are measured in benchmarks only.

RAM_DISK = Path("/dev/shm")
MIN_FREE_BYTES = 1 << 30


def pytest_configure() -> None:
    """Puts the files of tests on a RAM disk: every commit waits for its file system to sync."""
    if _can_hold_tests(RAM_DISK):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(RAM_DISK))


def pytest_collection_finish() -> None:
    """Takes modules and tests out of the garbage collector's work: they live as long as the process."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Ends the PostgreSQL server of this process, if a test has started one."""
    stop_shared_server()


def _can_hold_tests(folder: Path) -> bool:
    """Whether there is room, and programs may be started there: containers often forbid it, or give 64 MB."""
    if not os.access(folder, os.W_OK):
        return False
    disk = os.statvfs(folder)
    return not disk.f_flag & os.ST_NOEXEC and disk.f_bavail * disk.f_frsize >= MIN_FREE_BYTES


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with opened_database(await empty_database(tmp_path)) as database:
        yield database


@pytest.fixture(scope="session")
def postgres() -> Server:
    """One PostgreSQL server for all tests of a worker; skipped, or failed if required, where there is none."""
    return shared_server()


@pytest.fixture
async def postgres_db(postgres: Server) -> AsyncIterator[Database]:
    async with opened_database(await postgres.create()) as database:
        yield database


@pytest.fixture(params=["postgres"] if ON_POSTGRES else ["sqlite", "postgres"])
def any_db(request: pytest.FixtureRequest) -> Database:
    """An empty migrated database, once of each kind."""
    found: Database = request.getfixturevalue("db" if request.param == "sqlite" else "postgres_db")
    return found


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(datetime(2026, 11, 24, 12, tzinfo=UTC), frozen=True)


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    """A running service between its pretend vendors; a test that needs other settings opens its own."""
    async with opened(clock, tmp_path) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One browser for all tests of a worker. They run in the session's event loop, each with a page of its own."""
    async with chromium() as running:
        yield running
