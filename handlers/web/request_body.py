"""Reads what a sender sends, within bounds of size and time, and never so much at once that it fills the memory."""

from __future__ import annotations

import asyncio

from aiohttp import web

MAX_BODY = 1024**2
"""Bytes of a body; events and updates are some kilobytes."""

SMALL = 64 * 1024
LARGE_AT_ONCE = 32
"""How many bodies that are, or may become, larger than `SMALL` are read at the same time, by all doors together."""

READ_SECONDS = 15.0
AGAIN_SECONDS = 5


class BodyReader:
    """Reads bodies. Whoever finds too many large ones on their way is asked to come again, as the vendors do."""

    def __init__(self, *, seconds: float = READ_SECONDS, large_at_once: int = LARGE_AT_ONCE) -> None:
        """`seconds` is how long a sender may take for one."""
        self._seconds = seconds
        self._large_at_once = large_at_once
        self._large = 0

    async def read(self, request: web.Request) -> bytes:
        """The raw bytes of a body.

        Raises:
            web.HTTPException: 413 over `LARGEST`, 408 after `seconds`, 400 for one that breaks off, 503 for a large
                one while there are too many.
        """
        if (request.content_length or 0) > MAX_BODY:
            raise web.HTTPRequestEntityTooLarge(MAX_BODY)
        if _is_small(request):
            came_whole = request.content.is_eof()  # with its headers, as nearly all do: nothing to wait for
            return await (request.read() if came_whole else self._in_time(request))
        if self._large >= self._large_at_once:
            busy = web.HTTPServiceUnavailable(headers={"Retry-After": str(AGAIN_SECONDS)})
            busy.force_close()  # or what is left of the body would still be read
            raise busy
        self._large += 1
        try:
            return await self._in_time(request)
        finally:
            self._large -= 1

    async def _in_time(self, request: web.Request) -> bytes:
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
    """Whether it says so: without a length, or packed, it can become as large as any."""
    length = request.content_length
    return length is not None and length <= SMALL and "Content-Encoding" not in request.headers
