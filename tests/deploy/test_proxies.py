"""The proxies of deploy/ pass pages on, and log no URL of a page, whatever fails."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from handlers.i18n import LANGUAGES
from handlers.web.middleware import PROXY_RELOAD_SECONDS, proxy_error_page
from tests.deploy.proxies import DEPLOY, RunProxy, caddy, nginx

HSTS = {"Strict-Transport-Security": "max-age=31536000"}
PAGE = "/p/url-of-a-page"
UNAVAILABLE = (DEPLOY / "unavailable.html").read_text("utf-8")
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


def without_style(page: str) -> str:
    """The page without its style, which may be that of an older version."""
    return re.sub("<style>.*</style>", "", page, flags=re.DOTALL)


def test_page_of_the_proxies_has_the_texts_of_the_catalogues_and_loads_again() -> None:
    assert without_style(UNAVAILABLE) == without_style(proxy_error_page()), "run: python scripts/proxy_page.py"
    assert f'<meta http-equiv="refresh" content="{PROXY_RELOAD_SECONDS}">' in UNAVAILABLE
    assert all(f'<section lang="{language}">' in UNAVAILABLE for language in LANGUAGES)
    assert "src=" not in UNAVAILABLE


@pytest.mark.parametrize("run_proxy", [nginx, caddy], ids=["nginx", "caddy"])
async def test_proxy_passes_pages_on_and_logs_no_url_of_a_page(run_proxy: RunProxy, tmp_path: Path) -> None:
    async with kvit() as upstream, run_proxy(f"127.0.0.1:{upstream.port}", tmp_path) as proxy:
        assert await proxy.request(PAGE) == (200, b"a page")
        assert (await proxy.request(STREAM))[1] == b"data: 1\n\n"
        assert (await proxy.request("/metrics"))[0] == 404
        shutil.rmtree(tmp_path / "client_body", ignore_errors=True)  # where nginx buffers a large body
        assert (await proxy.request(PAGE, "POST", bytes(500_000)))[0] in (405, 500)
        assert HSTS.items() <= (await proxy.response(PAGE))[1].items()
        await upstream.close()
        for path, method in ((PAGE, "GET"), (PAGE, "POST"), (STREAM, "GET"), ("/stripe/webhook", "POST")):
            status, headers, text = await proxy.response(path, method)
            assert (status, text, headers["Content-Type"]) == (503, UNAVAILABLE, "text/html; charset=utf-8")
            assert (HSTS | {"Cache-Control": "no-store", "Retry-After": "10"}).items() <= headers.items()
        logs = proxy.logs()
    assert "url-of-a-page" not in logs + proxy.logs()
