"""What watches the service asks here: whether the process lives, and whether it can do its work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from handlers.health import Health
from handlers.ports import Clock

log = logging.getLogger(__name__)

Check = Callable[[], Awaitable[bool]]
"""Answers whether something is as it has to be; an error means that it is not."""

CHECK_SECONDS = 2.0


class Operations:
    """`GET /healthz` and `GET /readyz`; neither asks Stripe or Telegram."""

    def __init__(
        self, clock: Clock, health: Health, ready: Mapping[str, Check], *, check_seconds: float = CHECK_SECONDS
    ) -> None:
        """`ready` are checks by the name that is shown when they fail, `check_seconds` how long each may take."""
        self._clock = clock
        self._health = health
        self._ready = ready
        self._check_seconds = check_seconds

    async def alive(self, request: web.Request) -> web.Response:
        """200 while the process can answer at all."""
        return web.json_response({"alive": True})

    async def readiness(self, request: web.Request) -> web.Response:
        """200 when everything works, else 503; `not_ready` names what does not."""
        passed = await asyncio.gather(*(self._passes(name) for name in self._ready))
        failed = [name for name, good in zip(self._ready, passed, strict=True) if not good]
        not_ready = failed + self._health.stale(self._clock.now())
        if not_ready:
            said = {"ready": False, "not_ready": not_ready}
            return web.json_response(said, status=503, headers={"Retry-After": "5"})
        return web.json_response({"ready": True, "not_ready": []})

    async def _passes(self, name: str) -> bool:
        try:
            async with asyncio.timeout(self._check_seconds):
                return await self._ready[name]()
        except Exception as error:  # whatever it is, the answer is the same, and the log has the reason
            log.warning("not ready: %s (%s: %s)", name, type(error).__name__, error)
            return False
