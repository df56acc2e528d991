"""The demo's own web server: one page, one stream of news for it, and the hand that reaches the control routes."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler

from bot.sandbox.demo.feed import Feed
from bot.sandbox.demo.stack import DemoStack
from handlers.web.templating import hash_source

STATIC = Path(__file__).parent / "static"
SCRIPTS = ("page.js", "chat.js", "controls.js")
"""One script in three parts, which share their names."""

KEEPALIVE_INTERVAL = 15
"""After so long without news the stream says that it still lives, so that a dead one is noticed."""


class DemoSite:
    """`origin` is the page's own, like http://127.0.0.1:8080; it alone may use the rest."""

    def __init__(self, market: DemoStack, http: aiohttp.ClientSession, origin: str) -> None:
        self._stack = market
        self._http = http
        self._origin = origin
        self._stopping = asyncio.Event()
        self._html, self._headers = _build_page(market)

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._require_own_origin])
        app.add_routes(
            [
                web.get("/", self._serve_page),
                web.get("/feed", self._serve_feed),
                web.get("/files/{id}", self._serve_file),
                web.post("/do/{vendor:stripe|telegram}/{act:.+}", self._serve_control),
            ]
        )
        return app

    def stop(self) -> None:
        """Let every stream end."""
        self._stopping.set()
        self._stack.services.changes.notify()

    async def _serve_page(self, _: web.Request) -> web.Response:
        return web.Response(text=self._html, content_type="text/html", headers=self._headers)

    async def _serve_feed(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: the first one is everything, each further one what is new."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        with suppress(ConnectionError):  # whoever closes the page just goes
            await self._stream_changes(response)
        return response

    async def _stream_changes(self, page: web.StreamResponse) -> None:
        changes, feed = self._stack.services.changes, Feed(self._stack)
        seen, news = changes.count, feed.snapshot()
        while not self._stopping.is_set():
            await page.write(f"data: {json.dumps(news)}\n\n".encode())
            try:
                async with asyncio.timeout(KEEPALIVE_INTERVAL):
                    seen = await changes.wait_after(seen)
            except TimeoutError:
                await page.write(b": still here\n\n")
            news = feed.changes()

    async def _serve_file(self, request: web.Request) -> web.Response:
        return await self._forward("GET", "telegram", f"files/{request.match_info['id']}", b"")

    async def _serve_control(self, request: web.Request) -> web.Response:
        """Pass an act on to the control routes of a pretend service."""
        return await self._forward(
            "POST", request.match_info["vendor"], request.match_info["act"], await request.read()
        )

    async def _forward(self, method: str, vendor: str, what: str, body: bytes) -> web.Response:
        vendors = self._stack.services
        base = vendors.stripe.base if vendor == "stripe" else vendors.telegram.base
        async with self._http.request(method, f"{base}/_control/{what}", data=body) as answer:
            return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)

    @web.middleware
    async def _require_own_origin(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn away other names of this machine, and other sites that reach for it through the browser."""
        if request.host != self._origin.removeprefix("http://"):
            raise web.HTTPFound(self._origin + "/")
        if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none") and request.path != "/":
            raise web.HTTPForbidden(text="only the demo's own page may do that\n")
        return await handler(request)


@asynccontextmanager
async def serve_site(stack: DemoStack, listener: socket.socket, origin: str) -> AsyncIterator[None]:
    """Serve the page at `door`, a bound socket, for as long as the context lasts."""
    async with aiohttp.ClientSession() as http:
        site = DemoSite(stack, http, origin)
        runner = web.AppRunner(site.app(), shutdown_timeout=1, access_log=None)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        try:
            yield
        finally:
            site.stop()
            await runner.cleanup()


def _build_page(market: DemoStack) -> tuple[str, dict[str, str]]:
    """The page with everything in it, and the policy that allows exactly that."""
    style = (STATIC / "page.css").read_text("utf-8")
    script = "".join((STATIC / name).read_text("utf-8") for name in SCRIPTS)
    page = (STATIC / "page.html").read_text("utf-8").replace("/*style*/", style).replace("/*script*/", script)
    policy = (
        f"default-src 'none'; style-src {hash_source(style)}; script-src {hash_source(script)}; connect-src 'self'; "
        f"img-src 'self' data:; frame-src {market.services.stripe.base} {market.service.base}; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return page, headers
