"""Open event streams do not delay the shutdown of the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.process_world import Outside, outside
from tests.support.world import OWNER, free_port

STREAM_END_SECONDS = 10
"""Real seconds, on a busy machine. A stream that is not closed would be cut off in the middle."""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Outside]:
    async with outside(tmp_path, TELEGRAM_MODE="polling", PUBLIC_URL=f"http://127.0.0.1:{free_port()}") as running:
        yield running


async def test_sigterm_ends_every_stream_and_then_the_process(world: Outside) -> None:
    process = await world.ready()
    world.telegram.send(OWNER, OWNER, "/pay 125 DKK Coffee")
    await world.message("Waiting for payment")
    [(token,)] = world.rows("SELECT page_token FROM payments")
    headers = {"Accept": "text/event-stream"}
    streams = [await world.http.get(f"{world.base}/p/{token}/state", headers=headers) for _ in range(20)]
    for stream in streams:
        assert (await stream.content.readline()).startswith(b"data: ")
    stopping = asyncio.create_task(world.stopped(process))
    for stream in streams:
        async with asyncio.timeout(STREAM_END_SECONDS):
            assert (await stream.content.read()).strip() == b""
    await stopping
