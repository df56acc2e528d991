"""Callers who say nothing, or not enough, or nothing more: none keeps others out, and each head has its time."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import web

from bot.front import Front, behind
from tests.support.evidence import eventually

MUCH = 8 * 1024**2
ASK = b"GET / HTTP/1.1\r\nHost: kvit\r\n\r\n"
WAIT = b"GET /wait HTTP/1.1\r\nHost: kvit\r\n\r\n"
READ = b"GET /much HTTP/1.1\r\nHost: kvit\r\n\r\n"
SEND = b"POST / HTTP/1.1\r\nHost: kvit\r\nContent-Length: 5\r\n\r\n"
SLOW = SEND.replace(b"/", b"/wait", 1)
NOWHERE = SEND.replace(b"/", b"/nowhere", 1)
PACKED = NOWHERE.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\nheard")


@dataclass
class Stand:
    """A small site behind the front; `why` is whom it turned away, `may_end` ends what waits."""

    port: int = 0
    why: list[str] = field(default_factory=list)
    connected: int = 0
    waits: int = 0
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    lines: list[Line] = field(default_factory=list)

    async def call(self, first: bytes = b"") -> Line:
        """One more connection, on which that is said."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        line = Line(reader, writer)
        self.lines.append(line)
        line.say(first)
        return line

    async def asked(self) -> Line:
        """A connection on which one request was answered."""
        line = await self.call(ASK)
        assert await line.is_heard()
        return line

    async def holds(self, number: int) -> None:
        """Return once so many are connected."""
        await eventually(lambda: self.connected == number)

    def _opened(self, number: int) -> None:
        self.connected = number

    async def _heard(self, request: web.Request) -> web.Response:
        return web.Response(body=b"heard" if request.method == "GET" else await request.read())

    async def _waited(self, request: web.Request) -> web.Response:
        await request.read()
        self.waits += 1
        await self.may_end.wait()
        return web.Response(body=b"heard")

    async def _much(self, request: web.Request) -> web.Response:
        return web.Response(body=bytes(MUCH))


@dataclass
class Line:
    """A connection, as a caller has it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def say(self, what: bytes) -> None:
        self.writer.write(what)

    async def is_heard(self) -> bool:
        """Whether an answer comes."""
        try:
            async with asyncio.timeout(10):
                head = await self.reader.readuntil(b"\r\n\r\n")
                await self.reader.readexactly(5)
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return False
        return head.startswith(b"HTTP/1.1 200")

    async def is_shut(self) -> bool:
        """Whether the other end hangs up, and says nothing before."""
        try:
            async with asyncio.timeout(10):
                return await self.reader.read(1) == b""
        except ConnectionResetError:
            return True


@asynccontextmanager
async def standing(trusted: tuple[str, ...] = (), *, idle_seconds: float = 60, **bounds: Any) -> AsyncIterator[Stand]:
    stand = Stand()
    site = web.Application()
    site.add_routes([web.get("/", stand._heard), web.post("/", stand._heard), web.get("/wait", stand._waited)])
    site.add_routes([web.post("/wait", stand._waited)])
    site.add_routes([web.get("/much", stand._much)])
    runner = behind(site, idle_seconds=idle_seconds)
    await runner.setup()
    assert runner.server is not None
    networks = tuple(map(ip_network, trusted))
    front = Front(runner.server, networks, opened=stand._opened, refused=stand.why.append, **bounds)
    door = await asyncio.get_running_loop().create_server(front, "127.0.0.1", 0)
    stand.port = door.sockets[0].getsockname()[1]
    try:
        yield stand
    finally:
        stand.may_end.set()
        for line in stand.lines:
            line.writer.close()
        await asyncio.gather(*(line.writer.wait_closed() for line in stand.lines), return_exceptions=True)
        door.close()
        await runner.cleanup()


async def test_where_all_places_are_taken_whoever_said_nothing_makes_room_first_and_then_whoever_was_answered() -> None:
    async with standing(most=3) as stand:
        first, silent, second = await stand.asked(), await stand.call(), await stand.asked()
        await stand.holds(3)
        busy = await stand.call(WAIT)
        assert await silent.is_shut()
        other = await stand.call(WAIT)
        assert await first.is_shut()
        third = await stand.call(WAIT)
        assert await second.is_shut()
        await stand.holds(3)
        assert await (await stand.call(ASK)).is_shut(), "each of the three waits for his answer"
        assert stand.why == ["full"] * 4
        stand.may_end.set()
        assert [await line.is_heard() for line in (busy, other, third)] == [True] * 3


async def test_whoever_owes_a_body_makes_room_and_whoever_sent_it_does_not() -> None:
    async with standing(most=2) as stand:
        busy = await stand.call(SLOW)
        await stand.holds(1)
        owing = await stand.call(SEND)
        await stand.holds(2)
        busy.say(b"heard")
        await asyncio.sleep(0.1)
        third = await stand.call(WAIT)
        assert await owing.is_shut()
        assert await (await stand.call(ASK)).is_shut(), "each of the two waits for his answer"
        stand.may_end.set()
        assert [await line.is_heard() for line in (busy, third)] == [True] * 2


async def test_a_body_that_comes_after_its_answer_is_no_head() -> None:
    async with standing(head_seconds=0.3) as stand:
        line = await stand.call(NOWHERE)
        assert (await line.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404")
        await line.reader.readexactly(len("404: Not Found"))
        for piece in (b"hea", b"rd"):
            line.say(piece)
            await asyncio.sleep(0.4)
        line.say(ASK)
        assert await line.is_heard()
        assert stand.why == []


async def test_whoever_asks_again_is_the_last_of_the_idle() -> None:
    async with standing(most=2) as stand:
        first, second = await stand.asked(), await stand.asked()
        first.say(ASK)
        assert await first.is_heard()
        third = await stand.asked()
        assert await second.is_shut()
        for line in (first, third):
            line.say(ASK)
            assert await line.is_heard()


async def test_one_household_takes_its_share_and_a_proxy_of_ours_as_much_as_there_is() -> None:
    for trusted, is_shut in (((), True), (("127.0.0.0/8",), False)):
        async with standing(trusted, per_household=1) as stand:
            await stand.asked()
            second = await stand.call(ASK)
            assert (await second.is_shut() if is_shut else await second.is_heard()) is True
            assert stand.why == ["household"] * is_shut


@pytest.mark.parametrize("unfinished", [b"", b"GET / HTTP/1.1\r\nHost: ", b"\r\n\r\n"])
async def test_each_head_that_does_not_come_to_its_end_is_cut(unfinished: bytes) -> None:
    async with standing(head_seconds=0.3) as stand:
        first = await stand.call(unfinished)
        assert await first.is_shut()
        if unfinished:
            later = await stand.asked()
            later.say(unfinished)
            assert await later.is_shut()
        assert stand.why == ["slow"] * (2 if unfinished else 1)


async def test_a_head_in_pieces_and_a_body_that_comes_later_are_not_cut() -> None:
    async with standing(head_seconds=1) as stand:
        line = await stand.call()
        for piece in (b"GET / HTTP/1.1\r\nHost: kvit\r", b"\n\r", b"\n"):
            line.say(piece)
            await asyncio.sleep(0.01)
        assert await line.is_heard()
        line.say(SEND)
        await asyncio.sleep(1.1)
        line.say(b"hea")
        await asyncio.sleep(1.1)
        line.say(b"rd")
        assert await line.is_heard()
        line.say(ASK + ASK)
        assert [await line.is_heard(), await line.is_heard()] == [True, True]
        await asyncio.sleep(1.1)
        line.say(ASK)
        assert await line.is_heard(), "it was idle, and said no part of a head"
        assert stand.why == []


async def test_a_head_that_begins_while_another_request_is_answered_has_its_time_from_then() -> None:
    async with standing(head_seconds=0.3) as stand:
        line = await stand.call(WAIT)
        await eventually(lambda: stand.waits)
        line.say(ASK[:9])
        await asyncio.sleep(0.5)
        stand.may_end.set()
        assert await line.is_heard(), "nobody is cut before he is answered"
        assert await line.is_shut()
        assert stand.why == ["slow"]


async def test_a_whole_request_that_comes_while_another_is_answered_is_answered_next() -> None:
    async with standing(head_seconds=1) as stand:
        line = await stand.call(WAIT)
        await eventually(lambda: stand.waits)
        line.say(ASK)
        await asyncio.sleep(0.05)
        stand.may_end.set()
        assert [await line.is_heard(), await line.is_heard()] == [True, True]
        await asyncio.sleep(1.1)
        line.say(ASK)
        assert await line.is_heard()
        assert stand.why == []


async def test_whoever_says_nothing_more_is_let_go_and_nobody_else() -> None:
    async with standing(idle_seconds=0.3) as stand:
        idle, busy = await stand.asked(), await stand.call(WAIT)
        assert await idle.is_shut()
        stand.may_end.set()
        assert await busy.is_heard()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system keeps no such time")
async def test_whoever_does_not_read_what_he_asked_for_is_cut() -> None:
    async with standing(unread_seconds=0.5) as stand:
        with socket.create_connection(("127.0.0.1", stand.port)) as deaf:
            deaf.sendall(READ)
            await stand.holds(1)
            await stand.holds(0)


async def test_what_is_no_request_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with standing() as stand:
        for _ in range(20):
            line = await stand.asked()
            line.say(b"GET / HTTP/9.9.9\r\nHost: kvit\r\n\r\n")
            head = await line.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.0 400")
            await line.reader.read()
    assert [record.levelno for record in caplog.records if record.exc_info] == []
    [said] = [record for record in caplog.records if "is no request" in record.getMessage()]
    assert said.levelno == logging.WARNING


async def test_bodies_that_cannot_be_unpacked_are_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with standing() as stand:
        for _ in range(20):
            line = await stand.call(PACKED)
            assert (await line.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404")
            await line.reader.read()
    assert [record.getMessage() for record in caplog.records] == ["what came in is no request (RequestPayloadError)"]
