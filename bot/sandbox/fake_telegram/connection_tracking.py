"""Detects responses that the client did not read, by the state of their connections."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from aiohttp import web

from bot.sandbox.fake_telegram.transcript import Transcript


def track_response(request: web.Request, transcript: Transcript, number: int | None) -> None:
    """Call before a response is written. `number` is the transcript entry of the call, if any.

    The entry is marked as lost if the client has disconnected already, or disconnects without reading the response.
    """
    transport = request.transport
    if number is not None and (transport is None or transport.is_closing()):
        transcript.mark_lost(number)
    if transport is not None:
        _tracker(transport, transcript).last_entry = number


def _tracker(transport: asyncio.Transport, transcript: Transcript) -> ConnectionTracker:
    """The tracker of this connection; the first response installs it."""
    protocol = cast("asyncio.Protocol", transport.get_protocol())
    if isinstance(protocol, ConnectionTracker):
        return protocol
    tracker = ConnectionTracker(protocol, transport, transcript)
    transport.set_protocol(tracker)
    return tracker


class ConnectionTracker(asyncio.Protocol):
    """A protocol around the HTTP server's. `last_entry` is the transcript entry of the last response, if any.

    A client that has read the whole response closes the connection normally. If a part is unread, or the response
    arrives after the client has closed, the client's system resets the connection.
    """

    def __init__(self, server: asyncio.Protocol, transport: asyncio.Transport, transcript: Transcript) -> None:
        self._server, self._transport, self._transcript = server, transport, transcript
        self.last_entry: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._server.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._server.data_received(data)

    def eof_received(self) -> bool | None:
        return self._server.eof_received()

    def pause_writing(self) -> None:
        self._server.pause_writing()

    def resume_writing(self) -> None:
        self._server.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        # asyncio reports the reset if it read or wrote; otherwise the error is still pending on the socket.
        if self.last_entry is not None and (isinstance(exc, ConnectionError) or self._was_reset()):
            self._transcript.mark_lost(self.last_entry)
        self._server.connection_lost(exc)

    def _was_reset(self) -> bool:
        sock = self._transport.get_extra_info("socket")
        return sock is not None and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
