"""The web server: aiohttp's limits, set explicitly, and how many pages can be open at a time.

Kvit speaks no TLS, so a proxy or a tunnel always stands in front of it. Limits on connections and on slow clients
belong there (deploy/nginx.conf, deploy/Caddyfile); the limits here apply to what the proxy passes on.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from handlers.runtime.logging import ThrottledLogger
from handlers.web.connection import Server

if sys.platform != "win32":
    import resource

log = logging.getLogger(__name__)

MAX_LINE_BYTES = 32_000
MAX_FIELD_BYTES = 32_000
MAX_HEADERS = 128
"""Limits on the request line, on each header field, and on their number; beyond them the client gets 400.

A customer's browser also sends the cookies of the parent domain, up to some 10 KB, which Kvit does not use.
"""

KEEPALIVE_TIMEOUT = 150.0
"""Seconds that an idle connection stays open: longer than at the proxy (Caddy 120 seconds, nginx 60), which then
never sends a request on a connection that is being closed here."""

LINGERING_TIMEOUT = 10.0
"""Seconds for reading the rest of a body that no handler read, before the connection is closed."""

SHUTDOWN_TIMEOUT = 2.0
"""Seconds that requests get to finish when the service stops; after that they are canceled."""

MAX_OPEN_PAGES = 2000
OTHER_OPEN_FILES = 200
"""File descriptors besides connections to the web server: database, Stripe, Telegram, log."""

REQUIRED_OPEN_FILES = 2 * MAX_OPEN_PAGES + OTHER_OPEN_FILES
"""Open pages take at most half of the connections, so that webhooks and payments always find one."""


def make_runner(app: web.Application, *, keepalive_timeout: float = KEEPALIVE_TIMEOUT) -> web.AppRunner:
    """The runner that serves the application, to be set up once."""
    logger = logging.getLogger(f"{__name__}.requests")
    logger.filters[:] = [MalformedRequestFilter()]
    return Runner(
        app,
        access_log=None,
        auto_decompress=False,
        logger=logger,
        keepalive_timeout=keepalive_timeout,
        lingering_time=LINGERING_TIMEOUT,
        max_line_size=MAX_LINE_BYTES,
        max_field_size=MAX_FIELD_BYTES,
        max_headers=MAX_HEADERS,
        shutdown_timeout=SHUTDOWN_TIMEOUT,
    )


class Runner(web.AppRunner):
    """aiohttp's runner, with our `Server`."""

    def __init__(self, app: web.Application, *, shutdown_timeout: float, **options: Any) -> None:
        super().__init__(app, shutdown_timeout=shutdown_timeout)
        self._options = options

    async def _make_server(self) -> web.Server:
        return Server(await super()._make_server(), **self._options)


class MalformedRequestFilter(logging.Filter):
    """Keeps tracebacks of malformed requests out of the log and logs their number at most once a minute."""

    def __init__(self) -> None:
        super().__init__()
        self._throttled_log = ThrottledLogger()

    def filter(self, record: logging.LogRecord) -> bool:
        """False for an error that only the client caused."""
        kind = record.exc_info[0] if record.exc_info else None
        if kind is None or not issubclass(kind, (HttpProcessingError, web.RequestPayloadError)):
            return True
        if record.levelno >= logging.WARNING:
            self._throttled_log.warning(log, "malformed request (%s)", kind.__name__)
        return False


def max_open_pages() -> int:
    """`MAX_OPEN_PAGES`, or fewer where the process may not open `REQUIRED_OPEN_FILES` files.

    Raises the soft limit on open files first, as far as the hard limit allows.
    """
    if sys.platform == "win32":
        return MAX_OPEN_PAGES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    required = REQUIRED_OPEN_FILES if hard == resource.RLIM_INFINITY else min(REQUIRED_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < required:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (required, hard))
            soft = required
    if soft == resource.RLIM_INFINITY:
        return MAX_OPEN_PAGES
    return max(OTHER_OPEN_FILES, min(REQUIRED_OPEN_FILES, soft) - OTHER_OPEN_FILES) // 2
