"""Reads request bodies, with limits on size, time and memory.

Compressed ones are refused: neither Stripe nor Telegram sends any, and unpacking one holds up the event loop.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

MAX_BODY = 1024**2
"""The largest body, in bytes. Events and updates have some kilobytes."""

SMALL_BODY = 64 * 1024
MAX_LARGE_BODIES = 32
"""How many bodies that may be larger than `SMALL_BODY` are read at once, in the whole process."""

READ_SECONDS = 15.0
RETRY_AFTER_SECONDS = 5


class BodyReader:
    """Reads bodies. While too many large ones are being read, another large one gets 503; Stripe and Telegram retry."""

    def __init__(self, *, seconds: float = READ_SECONDS, max_large_bodies: int = MAX_LARGE_BODIES) -> None:
        """A client may take `seconds` for one body."""
        self._seconds = seconds
        self._max_large = max_large_bodies
        self._large = 0

    async def read(self, request: web.Request) -> bytes:
        """The raw bytes of the body.

        Raises:
            web.HTTPException: 400 if it is compressed or ends early, 413 over `MAX_BODY`, 408 after `seconds`, 503 if
                it may be large while there are too many.
        """
        if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
            raise web.HTTPBadRequest(text="Compressed bodies are not accepted.\n")
        if (request.content_length or 0) > MAX_BODY:
            raise web.HTTPRequestEntityTooLarge(MAX_BODY)
        if _is_small(request):
            is_complete = request.content.is_eof()  # it came with the headers, as nearly all do
            return await (request.read() if is_complete else self._read_in_time(request))
        if self._large >= self._max_large:
            busy = web.HTTPServiceUnavailable(headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
            busy.force_close()  # otherwise aiohttp reads the rest of the body
            raise busy
        self._large += 1
        try:
            return await self._read_in_time(request)
        finally:
            self._large -= 1

    async def _read_in_time(self, request: web.Request) -> bytes:
        try:
            async with asyncio.timeout(self._seconds):
                return await request.read()
        except TimeoutError:
            late = web.HTTPRequestTimeout(text="The body took too long.\n")
            late.force_close()
            raise late from None
        except (web.RequestPayloadError, ConnectionError):
            raise web.HTTPBadRequest(text="The body broke off.\n") from None


def _is_small(request: web.Request) -> bool:
    """Whether its headers rule out a large body; without a length it can have any size."""
    return request.content_length is not None and request.content_length <= SMALL_BODY
