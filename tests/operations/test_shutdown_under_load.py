"""Told to end in the middle of everything: open streams, callers who dawdle, payments that Stripe has not answered."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.process_world import Outside, outside
from tests.support.world import OWNER, free_port

pytestmark = pytest.mark.timeout(300)

OWNERS = [OWNER + number for number in range(6)]
"""So many chats that none has to wait for Telegram's limit of one message a second."""

HEAD = b"POST /stripe/webhook HTTP/1.1\r\nHost: kvit\r\n"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Outside]:
    settings = {"OWNER_IDS": ",".join(map(str, OWNERS)), "RECONCILE_SECONDS": "1", "TELEGRAM_MODE": "polling"}
    async with outside(tmp_path, **settings, PUBLIC_URL=f"http://127.0.0.1:{free_port()}") as around:
        yield around


@asynccontextmanager
async def dawdlers(world: Outside) -> AsyncIterator[None]:
    """Callers with half a head, half a body, and a page that they have open."""
    host, port = world.base.removeprefix("http://").split(":")
    lines = [await asyncio.open_connection(host, int(port)) for _ in range(20)]
    for number, (_, writer) in enumerate(lines):
        writer.write(HEAD if number % 2 else HEAD + b"Content-Length: 5000\r\n\r\n{")
    [(token,), *_] = world.rows("SELECT page_token FROM payments")
    headers = {"Accept": "text/event-stream"}
    streams = [await world.http.get(f"{world.base}/p/{token}/state", headers=headers) for _ in range(20)]
    for stream in streams:
        assert (await stream.content.readline()).startswith(b"data: ")
    try:
        yield
    finally:
        for stream in streams:
            stream.close()
        for _, writer in lines:
            writer.close()


@pytest.mark.long
@pytest.mark.parametrize("signals", [1, 2])
async def test_it_ends_in_time_and_the_next_one_loses_and_doubles_nothing(world: Outside, signals: int) -> None:
    process = await world.ready()
    await world.subscribe("*")
    world.stripe.options.webhook_retries = (0.2,) * 100
    await world.ask(OWNERS[:3])
    cards = [await world.message("Waiting for payment", chat=owner) for owner in OWNERS[:3]]
    world.stripe.options.latency = 1.0
    async with dawdlers(world):
        await world.ask(OWNERS[3:])
        await asyncio.gather(*(world.approve(card) for card in cards))
        began = world.stripe.state.now()
        if signals == 1:
            await world.stopped(process)
        else:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(60):
                while "shutting down" not in world.log:
                    await asyncio.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            assert (await world.ended(process))[0] == -signal.SIGTERM
        assert (world.stripe.state.now() - began).total_seconds() < 20
    world.stripe.options.latency = 0
    process = await world.ready()
    await world.all_paid(process, OWNERS, waiting=OWNERS[3:])
    assert len(world.stripe.store.intents) == len(OWNERS)
    if signals == 1:
        assert len(world.sent()) == 2 * len(OWNERS)
