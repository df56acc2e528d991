"""Health, readiness and metrics, for the operator's monitoring."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_address

from aiohttp import web

from handlers.clock import Clock
from handlers.runtime.heartbeats import Heartbeats
from handlers.runtime.logging import ThrottledLogger

log = logging.getLogger(__name__)

MetricsPage = Callable[[], Awaitable[bytes]]
Check = Callable[[], Awaitable[bool]]
"""Returns whether a part is ready. An exception counts as not ready."""

CHECK_TIMEOUT_SECONDS = 2.0
PROXY_HEADERS = frozenset({"forwarded", "via", "x-real-ip"})
PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"


class MonitoringRoutes:
    """`GET /healthz`, `GET /readyz` and `GET /metrics`. None of them calls Stripe or Telegram."""

    def __init__(
        self,
        clock: Clock,
        heartbeats: Heartbeats,
        ready: Mapping[str, Check],
        *,
        metrics_page: MetricsPage | None = None,
        token: str = "",
        is_public: bool = False,
        check_timeout_seconds: float = CHECK_TIMEOUT_SECONDS,
    ) -> None:
        """`ready` are the checks of `/readyz` by name; each may take `check_timeout_seconds`.

        `metrics_page` makes the page of `/metrics`; `token` is the bearer token that it requires. Without a token only
        programs on this machine may read it. If the site also `is_public`, the page is closed: a proxy or a tunnel on
        this machine may send no header by which its requests could be told from local ones.
        """
        self._clock = clock
        self._heartbeats = heartbeats
        self._ready = ready
        self._metrics_page = metrics_page
        self._token = token.encode()
        self._is_public = is_public
        self._check_timeout = check_timeout_seconds
        self._throttled_log = ThrottledLogger()

    async def healthz(self, request: web.Request) -> web.Response:
        """200 while the process responds."""
        return web.json_response({"alive": True})

    async def readyz(self, request: web.Request) -> web.Response:
        """200 if everything is ready, else 503; `not_ready` names the parts that are not."""
        passed = await asyncio.gather(*(self._passes(name) for name in self._ready))
        failed = [name for name, is_ready in zip(self._ready, passed, strict=True) if not is_ready]
        not_ready = failed + self._heartbeats.stale(self._clock.now())
        if not_ready:
            body = {"ready": False, "not_ready": not_ready}
            return web.json_response(body, status=503, headers={"Retry-After": "5"})
        return web.json_response({"ready": True, "not_ready": []})

    async def metrics(self, request: web.Request) -> web.Response:
        """The metrics, for requests with the token; if none is set, for direct requests from this machine only."""
        is_open = not self._is_public and _is_from_this_machine(request)
        if self._metrics_page is None or not (self._token or is_open):
            raise web.HTTPNotFound
        if self._token and not hmac.compare_digest(_bearer_token(request), self._token):
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer"})
        return web.Response(body=await self._metrics_page(), headers={"Content-Type": PROMETHEUS_TEXT})

    async def _passes(self, name: str) -> bool:
        try:
            async with asyncio.timeout(self._check_timeout):
                return await self._ready[name]()
        except Exception as error:  # any error means not ready; the log has the reason
            self._throttled_log.warning(log, "not ready: %s", f"{name} ({type(error).__name__}: {error})")
            return False


def _bearer_token(request: web.Request) -> bytes:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip().encode(errors="replace") if scheme.lower() == "bearer" else b""


def _is_from_this_machine(request: web.Request) -> bool:
    """Whether the client is a program on this machine, and not a proxy, which adds forwarding headers."""
    names = {name.lower() for name in request.headers}
    is_proxied = names & PROXY_HEADERS or any(name.startswith("x-forwarded-") for name in names)
    peer = request.transport.get_extra_info("peername") if request.transport else None
    if is_proxied or not isinstance(peer, tuple):
        return False
    address = ip_address(peer[0].partition("%")[0])
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
