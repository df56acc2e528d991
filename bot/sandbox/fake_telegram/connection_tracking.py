"""Sees on the connections themselves whether an answer was taken away by whoever asked, or can only be thought lost."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from aiohttp import web

from bot.sandbox.fake_telegram.transcript import Transcript


def track_response(request: web.Request, transcript: Transcript, number: int | None) -> None:
    """An answer is about to be written, about the entry `number` if any; who has gone by now will not read it."""
    transport = request.transport
    if number is not None and (transport is None or transport.is_closing()):
        transcript.mark_lost(number)
    if transport is not None:
        _tracker(transport, transcript).last_entry = number


def _tracker(transport: asyncio.Transport, transcript: Transcript) -> ConnectionTracker:
    """The one on this connection, put there by the first answer."""
    protocol = cast("asyncio.Protocol", transport.get_protocol())
    if isinstance(protocol, ConnectionTracker):
        return protocol
    wire = ConnectionTracker(protocol, transport, transcript)
    transport.set_protocol(wire)
    return wire


class ConnectionTracker(asyncio.Protocol):
    """Stands between a connection and the HTTP server. `last` is the entry that its last answer is about, if any.

    A client that closes with all of its answer read says so in peace; with a part of it unread, or if the answer comes
    after it has gone, its system resets the connection. Nobody has to guess.
    """

    def __init__(self, server: asyncio.Protocol, transport: asyncio.Transport, transcript: Transcript) -> None:
        self._server, self._transport, self._transcript = server, transport, transcript
        self.last_entry: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Passed on."""
        self._server.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Passed on."""
        self._server.data_received(data)

    def eof_received(self) -> bool | None:
        """Passed on."""
        return self._server.eof_received()

    def pause_writing(self) -> None:
        """Passed on."""
        self._server.pause_writing()

    def resume_writing(self) -> None:
        """Passed on."""
        self._server.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The error may have been seen by whoever read or wrote, or wait at the socket still."""
        if self.last_entry is not None and (isinstance(exc, ConnectionError) or self._was_reset()):
            self._transcript.mark_lost(self.last_entry)
        self._server.connection_lost(exc)

    def _was_reset(self) -> bool:
        wire = self._transport.get_extra_info("socket")
        return wire is not None and wire.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
