"""What watches the service asks here: whether the process lives, and whether it can do its work."""

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

Read = Callable[[], Awaitable[bytes]]
Check = Callable[[], Awaitable[bool]]
"""Answers whether something is as it has to be; an error means that it is not."""

CHECK_SECONDS = 2.0
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class MonitoringRoutes:
    """`GET /healthz`, `GET /readyz` and `GET /metrics`; none of them asks Stripe or Telegram."""

    def __init__(
        self,
        clock: Clock,
        heartbeats: Heartbeats,
        ready: Mapping[str, Check],
        *,
        readings: Read | None = None,
        token: str = "",
        check_seconds: float = CHECK_SECONDS,
    ) -> None:
        """`ready` are checks by the name that is shown when they fail, `check_seconds` how long each may take.

        `readings` makes the page of `/metrics`, `token` is what has to be shown for it.
        """
        self._clock = clock
        self._heartbeats = heartbeats
        self._ready = ready
        self._readings = readings
        self._token = token.encode()
        self._check_seconds = check_seconds
        self._throttled_log = ThrottledLogger()

    async def healthz(self, request: web.Request) -> web.Response:
        """200 while the process can answer at all."""
        return web.json_response({"alive": True})

    async def readyz(self, request: web.Request) -> web.Response:
        """200 when everything works, else 503; `not_ready` names what does not."""
        passed = await asyncio.gather(*(self._passes(name) for name in self._ready))
        failed = [name for name, good in zip(self._ready, passed, strict=True) if not good]
        not_ready = failed + self._heartbeats.stale(self._clock.now())
        if not_ready:
            said = {"ready": False, "not_ready": not_ready}
            return web.json_response(said, status=503, headers={"Retry-After": "5"})
        return web.json_response({"ready": True, "not_ready": []})

    async def metrics(self, request: web.Request) -> web.Response:
        """The numbers: to whoever shows the token, or where none is set to this machine itself, by no detour."""
        if self._readings is None or not (self._token or _is_this_machine(request)):
            raise web.HTTPNotFound
        if self._token and not hmac.compare_digest(_shown(request), self._token):
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer"})
        return web.Response(body=await self._readings(), headers={"Content-Type": PROMETHEUS})

    async def _passes(self, name: str) -> bool:
        try:
            async with asyncio.timeout(self._check_seconds):
                return await self._ready[name]()
        except Exception as error:  # whatever it is, the answer is the same, and the log has the reason
            self._throttled_log.warning(log, "not ready: %s", f"{name} ({type(error).__name__}: {error})")
            return False


def _shown(request: web.Request) -> bytes:
    """The token that a request shows."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip().encode(errors="replace") if scheme.lower() == "bearer" else b""


def _is_this_machine(request: web.Request) -> bool:
    """Whether a program of this machine asks for itself; what a proxy passes on has a header that says so."""
    passed_on = any(name.lower() == "forwarded" or name.lower().startswith("x-forwarded-") for name in request.headers)
    peer = request.transport.get_extra_info("peername") if request.transport else None
    if passed_on or not isinstance(peer, tuple):
        return False
    address = ip_address(peer[0].partition("%")[0])
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
