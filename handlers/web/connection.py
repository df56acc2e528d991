"""One client's connection: how aiohttp answers what no handler sees, and when the client is gone."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from handlers.web.middleware import malformed_request_response


class Connection(web.RequestHandler):
    """aiohttp's protocol with our error page, and with an event for the end of the connection."""

    def __init__(self, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self.closed = asyncio.Event()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Sets `closed`."""
        super().connection_lost(exc)
        self.closed.set()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The response to a request that cannot be parsed.

        aiohttp's own repeats parts of the request, and has none of our headers.
        """
        super().handle_error(request, status, exc)  # logs it, and raises where a response has begun
        return malformed_request_response(status, is_too_large=isinstance(exc, LineTooLong))


class Server(web.Server):
    """Makes a `Connection` for each client."""

    def __init__(self, inner: web.Server, **options: Any) -> None:
        """Serves the application of `inner`; `options` are those of aiohttp's request handler."""
        super().__init__(inner.request_handler, request_factory=inner.request_factory)
        self._options = options

    def __call__(self) -> Connection:
        """The protocol of a new connection."""
        return Connection(self, loop=asyncio.get_running_loop(), **self._options)


def closed_event(request: web.BaseRequest) -> asyncio.Event:
    """Set as soon as the client's connection ends. On a server that is not a `Server` it never is."""
    connection = request.protocol
    return connection.closed if isinstance(connection, Connection) else asyncio.Event()
