"""The web server of the demo: the page, its event stream, and a proxy to the control routes of the fakes."""

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
"""Joined into one script in this order, so the files share one scope."""

KEEPALIVE_INTERVAL = 15
"""Seconds without a change after which the stream sends a comment, so that a broken connection is noticed."""


class DemoSite:
    """The routes of the demo. Only pages of `origin` (http://127.0.0.1:8080) may use them."""

    def __init__(self, stack: DemoStack, http: aiohttp.ClientSession, origin: str) -> None:
        self._stack = stack
        self._http = http
        self._origin = origin
        self._stopping = asyncio.Event()
        self._html, self._headers = _build_page(stack)

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._require_own_origin])
        app.add_routes(
            [
                web.get("/", self._serve_page),
                web.get("/feed", self._serve_feed),
                web.get("/files/{id}", self._serve_file),
                web.post("/control/{service:stripe|telegram}/{path:.+}", self._serve_control),
            ]
        )
        return app

    def stop(self) -> None:
        """End every stream."""
        self._stopping.set()
        self._stack.services.changes.notify()

    async def _serve_page(self, _: web.Request) -> web.Response:
        return web.Response(text=self._html, content_type="text/html", headers=self._headers)

    async def _serve_feed(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: first a snapshot, then the changes."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        with suppress(ConnectionError):  # the page was closed
            await self._stream_changes(response)
        return response

    async def _stream_changes(self, response: web.StreamResponse) -> None:
        notifier, feed = self._stack.services.changes, Feed(self._stack)
        count, data = notifier.count, feed.snapshot()
        while not self._stopping.is_set():
            await response.write(f"data: {json.dumps(data)}\n\n".encode())
            try:
                async with asyncio.timeout(KEEPALIVE_INTERVAL):
                    count = await notifier.wait_after(count)
            except TimeoutError:
                await response.write(b": keepalive\n\n")
            data = feed.changes()

    async def _serve_file(self, request: web.Request) -> web.Response:
        return await self._forward("GET", "telegram", f"files/{request.match_info['id']}", b"")

    async def _serve_control(self, request: web.Request) -> web.Response:
        """Forward a request of the page to a control route of a fake."""
        service, path = request.match_info["service"], request.match_info["path"]
        return await self._forward("POST", service, path, await request.read())

    async def _forward(self, method: str, service: str, path: str, body: bytes) -> web.Response:
        services = self._stack.services
        base = services.stripe.base if service == "stripe" else services.telegram.base
        async with self._http.request(method, f"{base}/_control/{path}", data=body) as response:
            return web.Response(status=response.status, body=await response.read(), content_type=response.content_type)

    @web.middleware
    async def _require_own_origin(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Reject requests that another site sends through the browser; redirect other host names to the origin."""
        if request.host != self._origin.removeprefix("http://"):
            raise web.HTTPFound(self._origin + "/")
        if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none") and request.path != "/":
            raise web.HTTPForbidden(text="only the demo page may send this request\n")
        return await handler(request)


@asynccontextmanager
async def serve_site(stack: DemoStack, listener: socket.socket, origin: str) -> AsyncIterator[None]:
    """Serve the page on `listener`, a bound socket, while the context is open."""
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


def _build_page(stack: DemoStack) -> tuple[str, dict[str, str]]:
    """The page with inline style and script, and its headers; the policy allows only these two, by hash."""
    style = (STATIC / "page.css").read_text("utf-8")
    script = "".join((STATIC / name).read_text("utf-8") for name in SCRIPTS)
    page = (STATIC / "page.html").read_text("utf-8").replace("/*style*/", style).replace("/*script*/", script)
    policy = (
        f"default-src 'none'; style-src {hash_source(style)}; script-src {hash_source(script)}; connect-src 'self'; "
        f"img-src 'self' data:; frame-src {stack.services.stripe.base} {stack.service.base}; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return page, headers
