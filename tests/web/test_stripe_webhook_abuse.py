"""Requests to Stripe's webhook that are too large, too slow or broken, or come while the database is unavailable."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import pytest
from aiohttp import ClientResponse, ClientSession, web
from aiohttp.test_utils import TestClient, TestServer

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.web.request_body import MAX_BODY, SMALL_BODY, BodyReader
from handlers.web.stripe_webhook import StripeWebhook
from storage.database.database import Database
from storage.job_queue import JobQueue
from tests.support.evidence import eventually
from tests.support.web_server import NEW, UnreachableQueue, WebServer, app, event, ignore, raw, signed

Client = TestClient[web.Request, web.Application]


@pytest.fixture
def inbox(db: Database) -> JobQueue:
    return JobQueue(db, "inbox")


@pytest.fixture
async def client(inbox: JobQueue, clock: FakeClock) -> AsyncIterator[Client]:
    async with TestClient(WebServer(app(inbox, clock))) as client:
        yield client


Post = Callable[..., Awaitable[ClientResponse]]


@pytest.fixture
def post(client: Client, clock: FakeClock) -> Post:
    async def post(body: bytes | None = None, header: str | None = None) -> ClientResponse:
        body = raw() if body is None else body
        header = signed(body, clock.now(), NEW) if header is None else header
        headers = {"Stripe-Signature": header, "Content-Type": "application/json"}
        return await client.post("/stripe/webhook", data=io.BytesIO(body), headers=headers)

    return post


async def test_body_over_one_mebibyte_is_413(post: Post, inbox: JobQueue) -> None:
    body = raw(event(padding="x" * MAX_BODY))
    assert (await post(body)).status == 413
    assert await inbox.depth() == 0


async def test_chunked_body_over_one_mebibyte_is_413(client: Client, inbox: JobQueue) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b" " * 65536

    assert (await client.post("/stripe/webhook", data=pieces())).status == 413
    assert await inbox.depth() == 0


async def test_body_of_one_mebibyte_is_stored(post: Post, inbox: JobQueue) -> None:
    small = json.dumps(event(padding="")).encode()
    body = json.dumps(event(padding="x" * (MAX_BODY - len(small)))).encode()
    assert len(body) == MAX_BODY
    assert (await post(body)).status == 200
    assert await inbox.depth() == 1


async def test_unavailable_database_is_503_with_retry_after(clock: FakeClock) -> None:
    async with TestClient(WebServer(app(cast("JobQueue", UnreachableQueue()), clock))) as client:
        header = signed(raw(), clock.now(), NEW)
        answer = await client.post("/stripe/webhook", data=raw(), headers={"Stripe-Signature": header})
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert "locked" not in await answer.text()


async def test_slow_body_is_408(inbox: JobQueue, clock: FakeClock) -> None:
    webhook = StripeWebhook(inbox, clock, BodyReader(seconds=0.05), secrets=[NEW], livemode=False, on_event=ignore)
    app_with_timeout = web.Application()
    app_with_timeout.add_routes([web.post("/stripe/webhook", webhook.receive)])
    async with TestServer(app_with_timeout) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST /stripe/webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in (await reader.readuntil(b"\r\n\r\n")).lower()
        writer.close()
        await writer.wait_closed()
    assert await inbox.depth() == 0


@pytest.mark.parametrize("header", [f"Content-Length: {SMALL_BODY + 1}", "Transfer-Encoding: chunked"])
async def test_large_bodies_beyond_the_limit_are_503_and_small_ones_are_read(
    inbox: JobQueue, clock: FakeClock, header: str
) -> None:
    webhook = StripeWebhook(
        inbox, clock, BodyReader(max_large_bodies=1), secrets=[NEW], livemode=False, on_event=ignore
    )
    limited_app = web.Application()
    limited_app.add_routes([web.post("/stripe/webhook", webhook.receive)])
    head = f"POST /stripe/webhook HTTP/1.1\r\nHost: x\r\n{header}\r\nExpect: 100-continue\r\n\r\n".encode()
    async with TestClient(TestServer(limited_app)) as client:
        first, second = [await asyncio.open_connection("127.0.0.1", client.port) for _ in range(2)]
        first[1].write(head)
        assert (await first[0].readline()).startswith(b"HTTP/1.1 100 ")  # it is being read
        second[1].write(head)
        assert (await second[0].readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        assert (await second[0].readline()).startswith(b"HTTP/1.1 503 ")
        small = await client.post("/stripe/webhook", data=raw(), headers={"Stripe-Signature": "t=1,v1=00"})
        assert small.status == 400
        first[1].close()
        await first[1].wait_closed()
        second[1].close()
        await eventually(lambda: webhook._body_reader._large == 0)


async def test_disconnect_during_the_body_stores_and_logs_nothing(
    client: Client, inbox: JobQueue, caplog: pytest.LogCaptureFixture
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(b"POST /stripe/webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await client.get("/healthz")).status == 200
    assert await inbox.depth() == 0
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "GZIP", "identity, gzip", "x-gzip"])
async def test_compressed_body_is_400_and_not_stored(
    client: Client, clock: FakeClock, inbox: JobQueue, encoding: str
) -> None:
    body = raw()
    packed = gzip.compress(body) if "gzip" in encoding.lower() else body
    headers = {"Content-Encoding": encoding, "Stripe-Signature": signed(body, clock.now(), NEW)}
    async with ClientSession() as session:
        answer = await session.post(
            client.make_url("/stripe/webhook"), data=packed, headers=headers, skip_auto_headers=["Accept-Encoding"]
        )
    assert answer.status == 400
    assert await inbox.depth() == 0
