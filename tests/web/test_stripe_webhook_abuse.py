"""Whoever sends what is too large, too slow or broken is cut off in bounds; without a database nothing is kept."""

from __future__ import annotations

import asyncio
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
from tests.support.web_server import NEW, UnreachableQueue, app, event, ignore, raw, signed

Client = TestClient[web.Request, web.Application]


@pytest.fixture
def inbox(db: Database) -> JobQueue:
    return JobQueue(db, "inbox")


@pytest.fixture
async def client(inbox: JobQueue, clock: FakeClock) -> AsyncIterator[Client]:
    async with TestClient(TestServer(app(inbox, clock))) as client:
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


async def test_a_body_over_a_mebibyte_is_refused(post: Post, inbox: JobQueue) -> None:
    body = raw(event(padding="x" * MAX_BODY))
    assert (await post(body)).status == 413
    assert await inbox.depth() == 0


async def test_a_body_over_a_mebibyte_that_does_not_say_so_is_refused(client: Client, inbox: JobQueue) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b" " * 65536

    assert (await client.post("/stripe/webhook", data=pieces())).status == 413
    assert await inbox.depth() == 0


async def test_a_body_of_a_mebibyte_is_taken(post: Post, inbox: JobQueue) -> None:
    small = json.dumps(event(padding="")).encode()
    body = json.dumps(event(padding="x" * (MAX_BODY - len(small)))).encode()
    assert len(body) == MAX_BODY
    assert (await post(body)).status == 200
    assert await inbox.depth() == 1


async def test_without_a_database_stripe_is_asked_to_come_again(clock: FakeClock) -> None:
    async with TestClient(TestServer(app(cast("JobQueue", UnreachableQueue()), clock))) as client:
        header = signed(raw(), clock.now(), NEW)
        answer = await client.post("/stripe/webhook", data=raw(), headers={"Stripe-Signature": header})
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert "locked" not in await answer.text()


async def test_a_sender_that_dribbles_is_cut_off(inbox: JobQueue, clock: FakeClock) -> None:
    door = StripeWebhook(inbox, clock, BodyReader(seconds=0.05), secrets=[NEW], livemode=False, on_event=ignore)
    slow = web.Application()
    slow.add_routes([web.post("/stripe/webhook", door.receive)])
    async with TestServer(slow) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST /stripe/webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in (await reader.readuntil(b"\r\n\r\n")).lower()
        writer.close()
        await writer.wait_closed()
    assert await inbox.depth() == 0


@pytest.mark.parametrize(
    "how", [f"Content-Length: {SMALL_BODY + 1}", "Transfer-Encoding: chunked", "Content-Encoding: gzip"]
)
async def test_of_large_bodies_only_a_few_are_read_at_once_and_small_ones_all_the_same(
    inbox: JobQueue, clock: FakeClock, how: str
) -> None:
    door = StripeWebhook(inbox, clock, BodyReader(max_large_bodies=1), secrets=[NEW], livemode=False, on_event=ignore)
    site = web.Application()
    site.add_routes([web.post("/stripe/webhook", door.receive)])
    length = "\r\nContent-Length: 100" if "gzip" in how else ""
    head = f"POST /stripe/webhook HTTP/1.1\r\nHost: x\r\n{how}{length}\r\nExpect: 100-continue\r\n\r\n".encode()
    async with TestClient(TestServer(site)) as client:
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
        await eventually(lambda: door._body_reader._large == 0)


async def test_a_sender_that_hangs_up_in_the_middle_leaves_nothing_behind(
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


async def test_a_broken_chunk_or_compression_is_a_bad_request(client: Client) -> None:
    url = client.make_url("/stripe/webhook")
    async with ClientSession() as session:
        answer = await session.post(url, data=b"not gzip", headers={"Content-Encoding": "gzip"}, skip_auto_headers=[])
    assert answer.status == 400
