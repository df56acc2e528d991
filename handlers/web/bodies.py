"""Reads what a sender sends, within bounds of size and time."""

from __future__ import annotations

import asyncio

from aiohttp import web

LARGEST = 1024**2
"""Bytes of a body; events and updates are some kilobytes."""

READ_SECONDS = 15.0


async def read_body(request: web.Request, *, seconds: float = READ_SECONDS) -> bytes:
    """The raw bytes of the body.

    Raises:
        web.HTTPException: 413 over `LARGEST`, 408 after `seconds`, 400 for one that breaks off.
    """
    if (request.content_length or 0) > LARGEST:
        raise web.HTTPRequestEntityTooLarge(LARGEST)
    if request.content.is_eof():  # it came whole with its headers, as nearly all do: nothing to wait for
        return await request.read()
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except TimeoutError:
        late = web.HTTPRequestTimeout(text="The body took too long.\n")
        late.force_close()
        raise late from None
    except (web.RequestPayloadError, ConnectionError):
        raise web.HTTPBadRequest(text="The body broke off.\n") from None
