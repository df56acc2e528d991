"""What most tests stand on: an empty migrated database and a clock that moves by hand only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import settings

from bot.sandbox.shared.fake_clock import FakeClock
from storage.database.database import Database
from tests.support.migrated_file import lay_out
from tests.support.world import World, opened

settings.register_profile("kvit", deadline=None)
settings.load_profile("kvit")
# A busy machine must not fail a test: times are measured in benchmarks only.


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    await lay_out(tmp_path / "kvit.db")
    database = Database(f"sqlite:///{tmp_path}/kvit.db")
    yield database
    await database.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(datetime(2026, 11, 24, 12, tzinfo=UTC), frozen=True)


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    """The whole of Kvit between its pretend halves; a test of other settings opens one of its own."""
    async with opened(clock, tmp_path) as running:
        yield running
