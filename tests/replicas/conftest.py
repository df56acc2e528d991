"""A world on PostgreSQL, and further replicas in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from bot.app import Service
from bot.sandbox.shared.fake_clock import FakeClock
from handlers.telegram.rate_limit import TelegramRateLimiter
from tests.support.postgres import Server
from tests.support.world import BRISK, World, free_port, opened

Replica = Callable[[], Awaitable[Service]]


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path, postgres: Server) -> AsyncIterator[World]:
    """The same world as that of other tests, on PostgreSQL."""
    async with opened(clock, tmp_path, database_url=await postgres.create()) as running:
        yield running


@pytest.fixture
async def replica(world: World) -> AsyncIterator[Replica]:
    """Starts one more replica beside `world.service`, which leads."""
    started: list[Service] = []

    async def start() -> Service:
        settings = world.settings.model_copy(update={"port": free_port()})
        limiter = TelegramRateLimiter(BRISK, BRISK, BRISK, BRISK)
        started.append(Service(settings, world.clock, rate_limiter=limiter, overrides=world.overrides))
        await started[-1].start()
        return started[-1]

    yield start
    for service in started:
        await service.stop()
