"""The proxies of deploy/ bound slow clients and connections, and keep other clients served."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from bot.web_server import make_runner
from tests.deploy.proxies import NAME, Connection, Proxy, RunProxy, any_certificate, caddy, nginx
from tests.support.evidence import eventually

LARGE = 32 * 1024**2
HOST = f"Host: {NAME}\r\n".encode()
INCOMPLETE_HEAD = b"GET / HTTP/1.1\r\n" + HOST
INCOMPLETE_BODY = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nab"
ONE_SECOND = {
    "nginx": {
        "client_header_timeout 10s": "client_header_timeout 1s",
        "client_body_timeout 15s": "client_body_timeout 1s",
        "keepalive_timeout 60s": "keepalive_timeout 1s",
        "send_timeout 30s": "send_timeout 1s",
    },
    "caddy": {"read_header 10s": "read_header 1s", "read_body 15s": "read_body 1s", "idle 2m": "idle 1s"},
}


@dataclass
class Upstream:
    """A web server with Kvit's limits; its responses to /wait come once `may_finish` is set."""

    address: str = ""
    complete: int = 0
    waiting: int = 0
    may_finish: asyncio.Event = field(default_factory=asyncio.Event)

    async def respond(self, request: web.Request) -> web.Response:
        """Counts the requests that have come whole."""
        await request.read()
        self.complete += 1
        return web.Response(text="a page")

    async def wait(self, _: web.Request) -> web.Response:
        """Waits."""
        self.waiting += 1
        await self.may_finish.wait()
        return web.Response(text="a page")

    async def large(self, _: web.Request) -> web.Response:
        """More than the buffers on the way can hold."""
        return web.Response(body=bytes(LARGE))


@asynccontextmanager
async def served() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    app = web.Application(client_max_size=2 * 1024**2)
    app.add_routes([web.get("/", upstream.respond), web.post("/", upstream.respond)])
    app.add_routes([web.get("/wait", upstream.wait), web.get("/large", upstream.large)])
    runner = make_runner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    upstream.address = f"127.0.0.1:{site.port}"
    try:
        yield upstream
    finally:
        upstream.may_finish.set()
        await runner.cleanup()


@asynccontextmanager
async def proxied(
    run_proxy: RunProxy,
    folder: Path,
    changes: Mapping[str, str] = {},
) -> AsyncIterator[tuple[Upstream, Proxy]]:
    async with served() as upstream, run_proxy(upstream.address, folder, changes) as proxy:
        yield upstream, proxy


both = pytest.mark.parametrize("run_proxy", [nginx, caddy], ids=["nginx", "caddy"])


def one_second(run_proxy: RunProxy) -> Mapping[str, str]:
    return ONE_SECOND["nginx" if run_proxy is nginx else "caddy"]


@both
async def test_proxy_serves_others_while_many_clients_are_slow(run_proxy: RunProxy, tmp_path: Path) -> None:
    async with proxied(run_proxy, tmp_path) as (_, proxy):
        for first in (b"", INCOMPLETE_HEAD, INCOMPLETE_BODY):
            await asyncio.gather(*(proxy.connect(first) for _ in range(100)))
        async with asyncio.timeout(5):
            assert await proxy.request("/") == (200, b"a page")
            assert (await proxy.request("/", "POST", b"event"))[0] == 200


@both
@pytest.mark.parametrize("first", [b"", INCOMPLETE_HEAD], ids=["nothing sent", "head incomplete"])
async def test_proxy_closes_connection_whose_head_does_not_complete(
    run_proxy: RunProxy, first: bytes, tmp_path: Path
) -> None:
    async with proxied(run_proxy, tmp_path, one_second(run_proxy)) as (upstream, proxy):
        connection = await proxy.connect(first)
        await connection.closed()
        assert upstream.complete == 0


@both
async def test_proxy_closes_connection_whose_head_comes_byte_by_byte(run_proxy: RunProxy, tmp_path: Path) -> None:
    async with proxied(run_proxy, tmp_path, one_second(run_proxy)) as (upstream, proxy):
        connection = await proxy.connect(INCOMPLETE_HEAD)
        async with asyncio.timeout(10):
            closed = asyncio.create_task(connection.closed())
            while not closed.done():
                connection.writer.write(b"a")
                await asyncio.wait([closed], timeout=0.2)
        assert upstream.complete == 0


@both
async def test_proxy_closes_connection_whose_body_does_not_complete(run_proxy: RunProxy, tmp_path: Path) -> None:
    async with proxied(run_proxy, tmp_path, one_second(run_proxy)) as (upstream, proxy):
        connection = await proxy.connect(INCOMPLETE_BODY)
        await connection.closed()
        assert upstream.complete == 0


@both
async def test_proxy_closes_idle_connection_and_no_waiting_one(run_proxy: RunProxy, tmp_path: Path) -> None:
    async with proxied(run_proxy, tmp_path, one_second(run_proxy)) as (upstream, proxy):
        idle = await proxy.connect()
        [waiting] = await waiting_requests(upstream, proxy, 1)
        assert await idle.is_open()
        await idle.closed()
        upstream.may_finish.set()
        assert await waiting.status() == 200


async def test_nginx_closes_connection_of_client_that_does_not_read(tmp_path: Path) -> None:
    def waits_to_be_closed(port: int | None) -> bool:
        """poll() without events reports only that a connection was reset or closed."""
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            any_certificate().wrap_socket(plain, server_hostname=NAME) as connection,
        ):
            connection.sendall(b"GET /large HTTP/1.1\r\n" + HOST + b"\r\n")
            poll = select.poll()
            poll.register(connection, 0)
            return bool(poll.poll(20_000))

    async with proxied(nginx, tmp_path, one_second(nginx)) as (_, proxy):
        assert await asyncio.to_thread(waits_to_be_closed, urlsplit(proxy.base).port)


async def waiting_requests(upstream: Upstream, proxy: Proxy, number: int, client: str = "") -> list[Connection]:
    """So many more requests, each on a connection of its own, that wait at the upstream."""
    request = b"GET /wait HTTP/1.1\r\n" + HOST + (f"X-Test-Client: {client}\r\n".encode() if client else b"") + b"\r\n"
    already = upstream.waiting
    connections = [await proxy.connect(request) for _ in range(number)]
    await eventually(lambda: upstream.waiting == already + number)
    return connections


@pytest.mark.parametrize(
    ("client", "same", "other"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("2001:db8:a:b::1", "2001:db8:a:b:1:2:3:4", "2001:db8:a:c::1"),
        ("2001:db8::1", "2001:db8:0:0:1:2:3:4", "2001:db8:0:1::1"),
    ],
)
async def test_nginx_rejects_more_than_its_share_of_requests_from_one_client(
    client: str, same: str, other: str, tmp_path: Path
) -> None:
    async with proxied(nginx, tmp_path, {"kvit_client 400": "kvit_client 2"}) as (upstream, proxy):
        waiting = await waiting_requests(upstream, proxy, 2, client)
        assert (await proxy.request("/", client=same))[0] == 429
        assert (await proxy.request("/", client=other))[0] == 200
        upstream.may_finish.set()
        assert [await connection.status() for connection in waiting] == [200, 200]
        assert (await proxy.request("/", client=same))[0] == 200


async def test_nginx_rejects_requests_beyond_its_connections_to_kvit(tmp_path: Path) -> None:
    async with proxied(nginx, tmp_path, {"max_conns=4000": "max_conns=2"}) as (upstream, proxy):
        waiting = await waiting_requests(upstream, proxy, 2)
        assert (await proxy.request("/"))[0] == 503
        upstream.may_finish.set()
        assert [await connection.status() for connection in waiting] == [200, 200]
        assert (await proxy.request("/"))[0] == 200


async def test_caddy_delays_requests_beyond_its_connections_to_kvit(tmp_path: Path) -> None:
    async with proxied(caddy, tmp_path, {"max_conns_per_host 4000": "max_conns_per_host 2"}) as (upstream, proxy):
        waiting = await waiting_requests(upstream, proxy, 2)
        third = await proxy.connect(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(third.reader.readexactly(1), 0.5)
        upstream.may_finish.set()
        assert [await connection.status() for connection in (*waiting, third)] == [200, 200, 200]


@both
async def test_proxy_rejects_large_heads_and_bodies(run_proxy: RunProxy, tmp_path: Path) -> None:
    async with proxied(run_proxy, tmp_path) as (upstream, proxy):
        large_field = await proxy.connect(
            INCOMPLETE_HEAD + b"X-Large: " + bytes(40_000).replace(b"\0", b"a") + b"\r\n\r\n"
        )
        assert await large_field.status() in (400, 431)
        assert (await proxy.request("/", "POST", bytes(1024**2 + 1)))[0] in (413, 503)
        assert upstream.complete == 0
        assert (await proxy.request("/", "POST", bytes(1024**2)))[0] == 200
