"""Stands before the web server: how many may be connected, and how long a caller may take to say what he wants.

aiohttp itself bounds neither; without this a few programs that open connections and say nothing keep Stripe out.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network
from typing import cast

from handlers.seldom import Seldom
from handlers.web.address import household, is_within

log = logging.getLogger(__name__)

MOST = 4000
PER_HOUSEHOLD = 400
"""Twice as many as may have a page open with its stream; a proxy of ours speaks for many and has no such bound."""

HEAD_SECONDS = 10.0
UNREAD_SECONDS = 30.0
"""How long somebody may leave unread what was sent to him; the system itself keeps that time, where it can."""

FILES = 200
"""What the process keeps open besides: the database, the vendors, the log."""


def most_connections() -> int:
    """`MOST`, or fewer where the system does not let the process open as many files; it is asked for them first."""
    try:
        import resource
    except ImportError:  # Windows has another limit, which is higher
        return MOST
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST + FILES if hard == resource.RLIM_INFINITY else min(MOST + FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return MOST if soft == resource.RLIM_INFINITY else max(FILES, min(MOST, soft - FILES))


class Front:
    """Makes the protocol of each connection; `opened` hears how many there are, `refused` why one was turned away."""

    def __init__(
        self,
        server: Callable[[], asyncio.BaseProtocol],
        trusted: tuple[IPv4Network | IPv6Network, ...] = (),
        *,
        most: int | None = None,
        per_household: int = PER_HOUSEHOLD,
        head_seconds: float = HEAD_SECONDS,
        unread_seconds: float = UNREAD_SECONDS,
        opened: Callable[[int], None] = lambda number: None,
        refused: Callable[[str], None] = lambda why: None,
    ) -> None:
        self.head_seconds = head_seconds
        self.unread_seconds = unread_seconds
        self._server = server
        self._trusted = trusted
        self._most = most_connections() if most is None else most
        self._per_household = per_household
        self._opened = opened
        self._refused = refused
        self._open: Counter[str] = Counter()
        self._silent: dict[Caller, None] = {}
        self._seldom = Seldom()

    def __call__(self) -> Caller:
        """The protocol of one more connection."""
        return Caller(self, cast("asyncio.Protocol", self._server()))

    def admit(self, caller: Caller, peer: str) -> bool:
        """Let the caller in, if need be in the place of whoever has been silent the longest."""
        address = household(peer)
        if self._open[address] >= self._per_household and not is_within(peer, self._trusted):
            self.turn_away("household")
            return False
        if self._open.total() >= self._most:
            longest = next(iter(self._silent), None)
            self.turn_away("full")
            if longest is None:
                return False
            longest.hang_up()
        self._open[address] += 1
        self._silent[caller] = None
        self._opened(self._open.total())
        return True

    def spoke(self, caller: Caller) -> None:
        """The caller has said what he wants."""
        self._silent.pop(caller, None)

    def left(self, caller: Caller, peer: str) -> None:
        """The connection is over."""
        address = household(peer)
        self._silent.pop(caller, None)
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]
        self._opened(self._open.total())

    def turn_away(self, why: str) -> None:
        """Count it, and write down once a minute how many that were."""
        self._refused(why)
        self._seldom.say(log, "connections were turned away (%s)", why)


class Caller(asyncio.Protocol):
    """One connection: hands everything on to the web server, once it is let in."""

    def __init__(self, front: Front, server: asyncio.Protocol) -> None:
        self._front = front
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._peer = ""
        self._tail = b""
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let in, with the time for a head running; or shut at once."""
        plain = cast("asyncio.Transport", transport)
        peer = str((plain.get_extra_info("peername") or ("?",))[0])
        if not self._front.admit(self, peer):
            plain.abort()
            return
        self._transport, self._peer = plain, peer
        self._bound_what_is_unread(plain)
        self._late = asyncio.get_running_loop().call_later(self._front.head_seconds, self._too_late)
        self._server.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Watch for the end of the first head; the server itself keeps the time of those that follow."""
        if self._late is not None:
            seen = self._tail + data
            self._tail = seen[-3:]
            if b"\r\n\r\n" in seen:
                self._spoke()
        if self._transport is not None:
            self._server.data_received(data)

    def eof_received(self) -> bool | None:
        """He has said all that he will say."""
        return self._server.eof_received() if self._transport is not None else None

    def pause_writing(self) -> None:
        """He does not read as fast as he is written to."""
        self._server.pause_writing()

    def resume_writing(self) -> None:
        """He reads again."""
        self._server.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over, if it ever began."""
        if self._transport is None:
            return
        self._spoke()
        self._front.left(self, self._peer)
        self._server.connection_lost(exc)

    def hang_up(self) -> None:
        """Make room for another."""
        self._front.spoke(self)
        if self._transport is not None:
            self._transport.abort()

    def _too_late(self) -> None:
        self._late = None
        self._front.turn_away("slow")
        self.hang_up()

    def _spoke(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
        self._front.spoke(self)

    def _bound_what_is_unread(self, transport: asyncio.Transport) -> None:
        wire = transport.get_extra_info("socket")
        option = getattr(socket, "TCP_USER_TIMEOUT", None)
        if wire is not None and option is not None:
            wire.setsockopt(socket.IPPROTO_TCP, option, round(self._front.unread_seconds * 1000))
