"""Telegram's webhook stores an update with the right secret once, before it answers, and rejects all other requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.web.request_body import MAX_BODY
from storage.database.database import Database
from storage.job_queue import JobQueue
from tests.support.web_server import UPDATE_SECRET, UnreachableQueue, WebServer, app
from tests.support.world import OWNER, World, free_port, opened

SECRET = {"X-Telegram-Bot-Api-Secret-Token": UPDATE_SECRET}
UPDATE = {"update_id": 7, "message": {"message_id": 1, "date": 1, "chat": {"id": 5, "type": "private"}, "text": "hi"}}
Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def updates(db: Database) -> JobQueue:
    return JobQueue(db, "updates")


@pytest.fixture
async def client(db: Database, updates: JobQueue, clock: FakeClock) -> AsyncIterator[Client]:
    async with TestClient(WebServer(app(JobQueue(db, "events"), clock, updates=updates))) as client:
        yield client


async def test_repeated_update_is_stored_once(client: Client, updates: JobQueue) -> None:
    raw = json.dumps(UPDATE, indent=1).encode()
    answers = await asyncio.gather(*(client.post("/telegram/webhook", data=raw, headers=SECRET) for _ in range(10)))
    assert {answer.status for answer in answers} == {200}
    assert await updates.depth() == 1
    [job] = await updates.claim(now=FakeClock().now(), limit=9, lease_seconds=1)
    assert ("{0}:{2}".format(*job.key.split(":")), job.ordering_key, job.payload) == ("4242:7", "5", raw)


@pytest.mark.parametrize("secret", ["", "wrong", UPDATE_SECRET + "x", "ø"])
async def test_request_without_the_secret_is_403(client: Client, updates: JobQueue, secret: str) -> None:
    headers = {"X-Telegram-Bot-Api-Secret-Token": secret} if secret else {}
    answer = await client.post("/telegram/webhook", json=UPDATE, headers=headers)
    assert answer.status == 403
    assert await updates.depth() == 0


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"null", b'{"update_id":"7"}', b'{"update_id":true}', b"\xff", b"[" * 100_000]
)
async def test_body_that_is_no_update_is_400(client: Client, updates: JobQueue, body: bytes) -> None:
    answer = await client.post("/telegram/webhook", data=body, headers=SECRET)
    assert answer.status == 400
    assert await updates.depth() == 0


async def test_body_that_is_too_large_is_413(client: Client, updates: JobQueue) -> None:
    answer = await client.post("/telegram/webhook", data=BytesIO(b" " * (MAX_BODY + 1)), headers=SECRET)
    assert answer.status == 413
    assert await updates.depth() == 0


async def test_unavailable_database_is_503_with_retry_after(clock: FakeClock) -> None:
    unreachable = cast("JobQueue", UnreachableQueue())
    async with TestClient(WebServer(app(unreachable, clock))) as client:
        answer = await client.post("/telegram/webhook", json=UPDATE, headers=SECRET)
        assert answer.status == 503
        assert "Retry-After" in answer.headers


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    port = free_port()
    public = f"http://127.0.0.1:{port}"
    async with opened(clock, tmp_path, telegram_mode="webhook", public_url=public, port=port) as running:
        yield running


async def set_webhook(world: World) -> None:
    """Sets the webhook, as the operator does once."""
    secret = world.settings.update_secret.get_secret_value()
    data = {"url": f"{world.service.base}/telegram/webhook", "secret_token": secret}
    address = f"{world.telegram.base}/bot{world.telegram.token}/setWebhook"
    async with world.http.post(address, data=data) as answer:
        assert (await answer.json())["ok"]


async def test_payment_works_with_webhooks_alone(world: World) -> None:
    await set_webhook(world)
    world.say("/pay 125 DKK Coffee")
    payment_message = await world.message("Waiting for payment")
    await world.decide("approve")
    await world.message("Paid · TEST")
    assert world.telegram.open_polls == 0
    assert len(world.stripe.store.intents) == 1
    assert payment_message["chat"]["id"] == OWNER


async def test_updates_during_downtime_are_delivered_after_the_restart(world: World) -> None:
    await set_webhook(world)
    await world.stop()
    world.say("/pay 80 DKK Cake")
    await world.begin()
    world.advance(70)
    await world.message("Waiting for payment")
    assert len(world.stripe.store.intents) == 1
