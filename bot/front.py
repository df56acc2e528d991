"""Stands before the web server: how many may be connected, and how long a caller may take to say what he wants.

aiohttp itself bounds neither; without this a few programs that open connections and say nothing keep Stripe out.
A caller is silent until his request is complete, then he is attended to, then idle until he says more.
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

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from bot.relay import Relay
from handlers.runtime.logging import ThrottledLogger
from handlers.web.client_address import client_network, is_in_networks

log = logging.getLogger(__name__)

MOST = 4000
PER_HOUSEHOLD = 400
"""Twice as many as may have a page open with its stream; a proxy of ours speaks for many and has no such bound."""

HEAD_SECONDS = 10.0
IDLE_SECONDS = 150.0
"""How long a connection is kept between two requests: longer than proxies keep theirs, so that it is they who end it
(Caddy 120 seconds, nginx 60)."""

SHUTDOWN_SECONDS = 2.0
"""How long a request may take to its end once the service is to stop; it is cut then, and given as long for that."""

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


def behind(site: web.Application, *, idle_seconds: float = IDLE_SECONDS) -> web.AppRunner:
    """What serves a site behind a `Front`, to be set up once; it ends what is idle for so many seconds."""
    site.middlewares.insert(0, attend)
    logger = logging.getLogger(f"{__name__}.web")
    logger.filters[:] = [NoRequest()]
    return web.AppRunner(
        site, access_log=None, logger=logger, keepalive_timeout=idle_seconds, shutdown_timeout=SHUTDOWN_SECONDS
    )


class NoRequest(logging.Filter):
    """Keeps the tracebacks of malformed requests out of the log, and says now and then how many there were."""

    def __init__(self) -> None:
        super().__init__()
        self._throttled_log = ThrottledLogger()

    def filter(self, record: logging.LogRecord) -> bool:
        """False for what came over the wire and is not HTTP."""
        kind = record.exc_info[0] if record.exc_info else None
        if kind is None or not issubclass(kind, (HttpProcessingError, web.RequestPayloadError)):
            return True
        if record.levelno >= logging.WARNING:
            self._throttled_log.warning(log, "what came in is no request (%s)", kind.__name__)
        return False


@web.middleware
async def attend(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The outermost of the site: it is called once a head is complete, and is over when the answer is ready.

    A body may come later, or never: until it is here nothing is owed to the caller.
    """
    transport = request.transport
    caller = None if transport is None else transport.get_protocol()
    if not isinstance(caller, Caller):
        return await handler(request)
    caller.spoke(has_more=not request.content.is_eof())
    request.content.on_eof(caller.has_said_all)
    try:
        return await handler(request)
    finally:
        caller.is_answered()


class Front:
    """Makes the protocol of each connection; `opened` hears how many there are, `refused` why one was turned away.

    `server` has to be that of a runner that `behind` made.
    """

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
        self._idle: dict[Caller, None] = {}
        self._throttled_log = ThrottledLogger()

    def __call__(self) -> Caller:
        """The protocol of one more connection."""
        return Caller(self, cast("asyncio.Protocol", self._server()))

    def admit(self, caller: Caller, peer: str) -> bool:
        """Let the caller in, if need be in the place of another, to whom nothing is owed now."""
        address = client_network(peer)
        if self._open[address] >= self._per_household and not is_in_networks(peer, self._trusted):
            self.turn_away("household")
            return False
        if self._open.total() >= self._most:
            self.turn_away("full")
            longest = next(iter(self._silent), None) or next(iter(self._idle), None)
            if longest is None:
                return False
            longest.hang_up()
        self._open[address] += 1
        self._opened(self._open.total())
        return True

    def is_silent(self, caller: Caller) -> None:
        """The caller has not said all that he wants: such make room first, the longest silent before the others."""
        self._idle.pop(caller, None)
        self._silent[caller] = None

    def is_attended(self, caller: Caller) -> None:
        """The caller has said what he wants, and keeps his place until he has it; or he is gone."""
        self._silent.pop(caller, None)
        self._idle.pop(caller, None)

    def is_idle(self, caller: Caller) -> None:
        """The caller has been answered: such make room next."""
        self._silent.pop(caller, None)
        self._idle[caller] = None

    def left(self, caller: Caller, peer: str) -> None:
        """The connection is over."""
        self.is_attended(caller)
        address = client_network(peer)
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]
        self._opened(self._open.total())

    def turn_away(self, why: str) -> None:
        """Count it, and write down once a minute how many that were."""
        self._refused(why)
        self._throttled_log.warning(log, "connections were turned away (%s)", why)


class Caller(Relay):
    """One connection: hands everything on to the web server, once it is let in."""

    def __init__(self, front: Front, server: asyncio.Protocol) -> None:
        super().__init__(server)
        self._front = front
        self._transport: asyncio.Transport | None = None
        self._peer = ""
        self._attended = False
        self._has_more = False
        self._spoke_on = False
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
        self._begins()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """The first word of a head begins its time, or as soon as what he said before is answered.

        A body has a time of its own.
        """
        if self._attended and not self._has_more:
            self._spoke_on = True
        elif self._late is None and not self._has_more:
            self._begins()
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over, if it ever began."""
        if self._transport is None:
            return
        self._stop_waiting()
        self._front.left(self, self._peer)
        super().connection_lost(exc)

    def spoke(self, *, has_more: bool) -> None:
        """The head of a request is complete, and perhaps a body is to come."""
        self._attended, self._has_more, self._spoke_on = True, has_more, False
        self._stop_waiting()
        if has_more:
            self._front.is_silent(self)

    def has_said_all(self) -> None:
        """The request is here, body and all; it may have been answered before."""
        self._has_more = False
        if self._attended:
            self._front.is_attended(self)

    def is_answered(self) -> None:
        """What he wanted is done; the web server ends the connection if nothing more comes for long."""
        self._attended = False
        if self._transport is None or self._transport.is_closing():
            return
        if self._spoke_on:
            self._begins()
        else:
            self._front.is_idle(self)

    def hang_up(self) -> None:
        """Make room for another."""
        self._stop_waiting()
        self._front.is_attended(self)
        if self._transport is not None:
            self._transport.abort()

    def _begins(self) -> None:
        self._late = asyncio.get_running_loop().call_later(self._front.head_seconds, self._too_late)
        self._front.is_silent(self)

    def _too_late(self) -> None:
        self._late = None
        self._front.turn_away("slow")
        self.hang_up()

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _bound_what_is_unread(self, transport: asyncio.Transport) -> None:
        wire = transport.get_extra_info("socket")
        option = getattr(socket, "TCP_USER_TIMEOUT", None)
        if wire is not None and option is not None:
            wire.setsockopt(socket.IPPROTO_TCP, option, round(self._front.unread_seconds * 1000))
