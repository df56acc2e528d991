"""A connection's protocol that stands before another one and hands everything on to it."""

from __future__ import annotations

import asyncio


class Relay(asyncio.Protocol):
    """Passes on what it hears; whoever stands there for a reason listens in on what he needs."""

    def __init__(self, server: asyncio.Protocol) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._server.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """The other side says something."""
        self._server.data_received(data)

    def eof_received(self) -> bool | None:
        """He has said all that he will say."""
        return self._server.eof_received()

    def pause_writing(self) -> None:
        """He does not read as fast as he is written to."""
        self._server.pause_writing()

    def resume_writing(self) -> None:
        """He reads again."""
        self._server.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._server.connection_lost(exc)
