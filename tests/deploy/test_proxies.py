"""The proxies of deploy/ pass pages on, and log no URL of a page, whatever fails."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.deploy.proxies import RunProxy, caddy, nginx

PAGE = "/p/url-of-a-page"
STREAM = f"{PAGE}/state"


async def page(_: web.Request) -> web.Response:
    return web.Response(text="a page")


async def broken_stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(b"data: 1\n\n")
    assert request.transport is not None
    request.transport.abort()
    return response


@asynccontextmanager
async def kvit() -> AsyncIterator[TestServer]:
    app = web.Application()
    app.add_routes([web.get(PAGE, page), web.get(STREAM, broken_stream)])
    server = TestServer(app)
    async with server:
        yield server


@pytest.mark.parametrize("run_proxy", [nginx, caddy], ids=["nginx", "caddy"])
async def test_proxy_passes_pages_on_and_logs_no_url_of_a_page(run_proxy: RunProxy, tmp_path: Path) -> None:
    async with kvit() as upstream, run_proxy(f"127.0.0.1:{upstream.port}", tmp_path) as proxy:
        assert await proxy.request(PAGE) == (200, b"a page")
        assert (await proxy.request(STREAM))[1] == b"data: 1\n\n"
        assert (await proxy.request("/metrics"))[0] == 404
        shutil.rmtree(tmp_path / "client_body", ignore_errors=True)  # where nginx buffers a large body
        assert (await proxy.request(PAGE, "POST", bytes(500_000)))[0] in (405, 500)
        await upstream.close()
        assert (await proxy.request(PAGE))[0] == 502
        assert (await proxy.request(STREAM))[0] == 502
        logs = proxy.logs()
    assert "url-of-a-page" not in logs + proxy.logs()
