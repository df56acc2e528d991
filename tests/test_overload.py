"""Strangers in floods, and callers who say nothing: payments go through meanwhile, and the log stays readable."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from bot.front import Front
from bot.sandbox.clock import TurnedClock
from tests.crowd import open_shop
from tests.evidence import rest
from tests.page_world import page_of, paged
from tests.till import paid
from tests.world import World, opened

FLOOD = 200
STRANGERS = 5_000_000


@pytest.fixture
async def world(clock: TurnedClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


async def numbers(world: World) -> dict[str, float]:
    """What `/metrics` says."""
    async with world.http.get(f"{world.service.base}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


async def test_bad_signatures_by_the_hundred_hold_up_no_payment_and_are_one_line_in_the_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def forge() -> int:
        headers = {"Stripe-Signature": "t=1,v1=00"}
        async with world.http.post(f"{world.service.base}/stripe/webhook", data=b"{}", headers=headers) as answer:
            return answer.status

    flood = asyncio.gather(*(forge() for _ in range(FLOOD)))
    await paid(world)
    assert set(await flood) == {400}
    assert sum("refused what came to Stripe's webhook" in line for line in caplog.messages) == 1


async def test_posts_to_a_page_by_the_hundred_hold_up_no_other_payment(clock: TurnedClock, tmp_path: Path) -> None:
    async with paged(clock, tmp_path) as world:
        page, before = page_of(world), len(world.stripe.ledger.intents)

        async def post() -> int:
            async with world.http.post(page, allow_redirects=False) as answer:
                return answer.status

        flood = asyncio.gather(*(post() for _ in range(FLOOD)))
        await paid(world)
        assert set(await flood) <= {303, 429}
        assert len(world.stripe.ledger.intents) == before + 1


async def test_strangers_in_private_chats_are_answered_so_often_only_and_members_always(world: World) -> None:
    for number in range(300):
        world.say("/id", by=STRANGERS + number)
    for _ in range(30):
        world.say("/id", by=STRANGERS)
    await paid(world)
    await rest(world)
    heard = [entry for entry in world.sent("Your number is") if int(entry.params["chat_id"]) >= STRANGERS]
    assert len(heard) == 240
    world.advance(61)
    for _ in range(30):
        world.say("/id", by=STRANGERS)
    await world.until(lambda: len([e for e in world.sent("Your number is") if e.params["chat_id"] == STRANGERS]) >= 10)
    await rest(world)
    mine = [e for e in world.sent("Your number is") if e.params["chat_id"] == STRANGERS]
    assert len(mine) == 11


MORE = b"GET /more"
MUCH = 8 * 1024**2


class Echo(asyncio.Protocol):
    """A web server that answers whatever it hears."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(bytes(MUCH) if data.startswith(MORE) else b"heard\n")


async def standing(front: Front) -> tuple[asyncio.Server, int]:
    server = await asyncio.get_running_loop().create_server(front, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def is_shut(line: Line) -> bool:
    """Whether the other end hangs up."""
    try:
        async with asyncio.timeout(10):
            over = await line[0].read(1) == b""
    except ConnectionResetError:
        over = True
    if over:
        line[1].close()
    return over


async def test_where_all_places_are_taken_whoever_said_nothing_makes_room() -> None:
    why: list[str] = []
    front = Front(Echo, most=2, refused=why.append)
    server, port = await standing(front)
    async with server:
        silent = await asyncio.open_connection("127.0.0.1", port)
        spoken = await asyncio.open_connection("127.0.0.1", port)
        spoken[1].write(b"GET / HTTP/1.1\r\n\r\n")
        assert await spoken[0].readline() == b"heard\n"
        third = await asyncio.open_connection("127.0.0.1", port)
        assert await is_shut(silent)
        third[1].write(b"GET / HTTP/1.1\r\n\r\n")
        assert await third[0].readline() == b"heard\n"
        assert await is_shut(await asyncio.open_connection("127.0.0.1", port))
        assert why == ["full", "full"]
        spoken[1].close()
        third[1].close()


async def test_one_household_takes_its_share_and_a_proxy_of_ours_as_much_as_there_is() -> None:
    why: list[str] = []
    for trusted, shut in (((), True), (("127.0.0.0/8",), False)):
        networks = tuple(map(ip_network, trusted))
        server, port = await standing(Front(Echo, networks, per_household=1, refused=why.append))
        async with server:
            first = await asyncio.open_connection("127.0.0.1", port)
            first[1].write(b"GET / HTTP/1.1\r\n\r\n")
            assert await first[0].readline() == b"heard\n"
            second = await asyncio.open_connection("127.0.0.1", port)
            second[1].write(b"GET / HTTP/1.1\r\n\r\n")
            assert (await is_shut(second)) is shut
            for _, writer in (first, second):
                writer.close()
    assert why == ["household"]


async def test_a_head_that_does_not_come_to_its_end_is_cut_and_one_that_does_is_not() -> None:
    why: list[str] = []
    server, port = await standing(Front(Echo, head_seconds=0.3, refused=why.append))
    async with server:
        quick = await asyncio.open_connection("127.0.0.1", port)
        for part in (b"GET / HTTP/1.1\r", b"\n\r", b"\n"):
            quick[1].write(part)
            await quick[0].readline()
        slow = await asyncio.open_connection("127.0.0.1", port)
        slow[1].write(b"GET / HTTP/1.1\r\nHost: ")
        await slow[0].readline()
        assert await is_shut(slow)
        quick[1].write(b"GET / HTTP/1.1\r\n\r\n")
        assert await quick[0].readline() == b"heard\n"
        assert why == ["slow"]
        quick[1].close()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system keeps no such time")
async def test_whoever_does_not_read_what_he_asked_for_is_cut() -> None:
    gone = asyncio.Event()
    front = Front(Echo, unread_seconds=0.5, opened=lambda number: None if number else gone.set())
    server, port = await standing(front)
    async with server:
        with socket.create_connection(("127.0.0.1", port)) as deaf:
            deaf.sendall(MORE + b" HTTP/1.1\r\n\r\n")
            async with asyncio.timeout(60):
                await gone.wait()


async def test_the_service_counts_who_is_connected(world: World) -> None:
    reader, writer = await asyncio.open_connection(*world.service.base.removeprefix("http://").split(":"))
    before = (await numbers(world))["kvit_http_connections"]
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: kvit\r\nConnection: close\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    await reader.read()
    writer.close()
    async with asyncio.timeout(10):
        while (await numbers(world))["kvit_http_connections"] >= before:
            await asyncio.sleep(0.01)
