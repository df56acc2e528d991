"""aiohttp's limits as the web server sets them: idle connections, large heads and bodies, malformed requests."""

from __future__ import annotations

import asyncio
import gzip
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from bot.web_server import (
    MAX_FIELD_BYTES,
    MAX_HEADERS,
    MAX_OPEN_PAGES,
    OTHER_OPEN_FILES,
    make_runner,
)
from handlers.i18n import LANGUAGES
from handlers.web.request_body import MAX_BODY
from tests.support.evidence import eventually

GET = b"GET / HTTP/1.1\r\nHost: kvit\r\n\r\n"
GET_WAIT = b"GET /wait HTTP/1.1\r\nHost: kvit\r\n\r\n"
POST_NOWHERE = b"POST /nowhere HTTP/1.1\r\nHost: kvit\r\nContent-Length: 5\r\n\r\n"


@dataclass
class Server:
    """A small site; its responses to /wait come once `may_finish` is set."""

    port: int = 0
    waiting: int = 0
    bytes_read: int = 0
    may_finish: asyncio.Event = field(default_factory=asyncio.Event)
    connections: list[Connection] = field(default_factory=list)

    async def connect(self, first: bytes = b"") -> Connection:
        """A new connection, on which `first` is sent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        connection = Connection(reader, writer)
        self.connections.append(connection)
        writer.write(first)
        return connection

    async def respond(self, request: web.Request) -> web.Response:
        self.bytes_read += len(await request.read())
        return web.Response(text="a page")

    async def wait(self, _: web.Request) -> web.Response:
        self.waiting += 1
        await self.may_finish.wait()
        return web.Response(text="a page")


@dataclass
class Connection:
    """A client's connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def status(self) -> int:
        """The status of the next response."""
        async with asyncio.timeout(10):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await self.reader.readexactly(int(length.partition(b":")[2]))
        return int(head.split()[1])

    async def is_closed(self) -> bool:
        """Returns once the server closes the connection; False if it sends something before."""
        async with asyncio.timeout(10):
            return await self.reader.read(1) == b""


@asynccontextmanager
async def served(*, keepalive_timeout: float = 60) -> AsyncIterator[Server]:
    server = Server()
    app = web.Application(client_max_size=MAX_BODY)
    app.add_routes([web.get("/", server.respond), web.post("/", server.respond), web.get("/wait", server.wait)])
    runner = make_runner(app, keepalive_timeout=keepalive_timeout)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.port = site.port
    try:
        yield server
    finally:
        server.may_finish.set()
        for connection in server.connections:
            connection.writer.close()
        ends = (connection.writer.wait_closed() for connection in server.connections)
        await asyncio.gather(*ends, return_exceptions=True)
        await runner.cleanup()


async def test_server_closes_idle_connection_and_no_waiting_one() -> None:
    async with served(keepalive_timeout=0.3) as server:
        idle, waiting = await server.connect(GET), await server.connect(GET_WAIT)
        assert await idle.status() == 200
        assert await idle.is_closed()
        server.may_finish.set()
        assert await waiting.status() == 200


async def test_server_answers_requests_sent_while_another_is_answered() -> None:
    async with served() as server:
        connection = await server.connect(GET_WAIT)
        await eventually(lambda: server.waiting)
        connection.writer.write(GET + GET)
        server.may_finish.set()
        assert [await connection.status() for _ in range(3)] == [200, 200, 200]


async def test_server_reads_a_body_that_comes_after_the_response() -> None:
    async with served() as server:
        connection = await server.connect(POST_NOWHERE)
        assert await connection.status() == 404
        for piece in (b"pla", b"in"):
            connection.writer.write(piece)
            await connection.writer.drain()
        connection.writer.write(GET)
        assert await connection.status() == 200


LINE = b"GET / HTTP/1.1\r\nHost: kvit"
SECRET = b"canary" * (MAX_FIELD_BYTES // 5)


@pytest.mark.parametrize(
    ("head", "text"),
    [
        (b"GET /" + SECRET + b" HTTP/1.1\r\nHost: kvit", "Open the link in a private window"),
        (LINE + b"\r\nCookie: " + SECRET, "Open the link in a private window"),
        (LINE + b"\r\n" + SECRET + b": 1", "Open the link in a private window"),
        (LINE + b"\r\nX-More: canary" * MAX_HEADERS, "Open the link you were given again"),
        (LINE + b"\r\nContent-Length: 5\r\nTransfer-Encoding: canary", "Open the link you were given again"),
        (LINE + b"\r\nContent-Length: canary", "Open the link you were given again"),
        (b"GET http://[canary HTTP/1.1\r\nHost: kvit", "Open the link you were given again"),
        (b"canary<b> / HTTP/1.1\r\nHost: kvit", "Open the link you were given again"),
        (b"GET / HTTP/canary\r\nHost: kvit", "Open the link you were given again"),
        (LINE + b"\r\ncanary", "Open the link you were given again"),
        (b"\x16\x03\x01canary", "Open the link you were given again"),
    ],
    ids=[
        "long line",
        "long cookie",
        "long name",
        "many headers",
        "framing",
        "length",
        "url",
        "method",
        "version",
        "no colon",
        "tls",
    ],
)
async def test_malformed_request_gets_our_page_which_repeats_none_of_it(head: bytes, text: str) -> None:
    async with served() as server:
        connection = await server.connect(head + b"\r\n\r\n")
        async with asyncio.timeout(10):
            response = (await connection.reader.read()).decode()
    assert response.split()[1] == "400"
    assert "canary" not in response
    assert "aiohttp" not in response
    assert "Server: kvit" in response
    assert "Content-Security-Policy: default-src 'none'" in response
    assert text in response
    assert all(f'lang="{language}"' in response for language in LANGUAGES)


@pytest.mark.parametrize(
    "more", ["Cookie: " + "; ".join(f"c{n}={'a' * 90}" for n in range(250)), "Referer: https://e/" + "a" * 25_000]
)
async def test_large_cookies_and_urls_do_not_keep_a_customer_out(more: str) -> None:
    async with served() as server:
        connection = await server.connect(f"GET /?q={'a' * 25_000} HTTP/1.1\r\nHost: kvit\r\n{more}\r\n\r\n".encode())
        assert await connection.status() == 200


async def test_server_rejects_a_large_body() -> None:
    async with served() as server:
        for size, status in ((MAX_BODY, 200), (MAX_BODY + 1, 413)):
            head = f"POST / HTTP/1.1\r\nHost: kvit\r\nContent-Length: {size}\r\n\r\n"
            connection = await server.connect(head.encode() + bytes(size))
            assert await connection.status() == status


async def test_malformed_requests_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async with served() as server:
        for _ in range(20):
            connection = await server.connect(GET)
            assert await connection.status() == 200
            connection.writer.write(b"GET / HTTP/9.9.9\r\nHost: kvit\r\n\r\n")
            assert await connection.status() == 400
    assert [record.levelno for record in caplog.records if record.exc_info] == []
    [line] = [record for record in caplog.records if "malformed request" in record.getMessage()]
    assert line.levelno == logging.WARNING


@pytest.mark.parametrize("path", ["/", "/nowhere"])
async def test_compressed_bodies_are_not_unpacked(path: str) -> None:
    """A mebibyte of gzip can hold a gibibyte, which takes a second to unpack."""
    bomb = gzip.compress(bytes(64 * MAX_BODY))
    head = f"POST {path} HTTP/1.1\r\nHost: kvit\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
    async with served() as server:
        connection = await server.connect(head.encode() + bomb)
        assert await connection.status() == (200 if path == "/" else 404)
        connection.writer.write(GET)
        assert await connection.status() == 200
        assert server.bytes_read == (len(bomb) if path == "/" else 0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize(("soft", "hard", "pages"), [(256, 256, 100), (256, 1200, 500), (256, 100_000, MAX_OPEN_PAGES)])
async def test_open_pages_fit_the_limit_on_open_files(soft: int, hard: int, pages: int) -> None:
    program = f"""
import resource
from bot.web_server import max_open_pages
hard = min({hard}, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, hard))
print(max_open_pages(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    output, _ = await child.communicate()
    assert output.split() == [str(pages).encode(), str(min(hard, 2 * MAX_OPEN_PAGES + OTHER_OPEN_FILES)).encode()]
