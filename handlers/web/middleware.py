"""What every answer has, whichever door it comes from: strict headers, a plain error page, a mark in the log."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Awaitable, Callable
from itertools import count

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from structlog.contextvars import bind_contextvars, clear_contextvars

from handlers.i18n import DEFAULT_LANGUAGE
from handlers.runtime.logging import ThrottledLogger
from handlers.web.language import negotiate_language, selected_language
from handlers.web.templating import SCRIPT_SOURCE, STYLE_SOURCE, render
from storage.errors import DatabaseUnavailable

log = logging.getLogger(__name__)

RETRY_SECONDS = 5
_MARKS = count(secrets.randbits(32))
"""Counted from a random start: asking the system for each would cost a request more than its signature does."""

TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""What a page's token is made of; anything else needs no look into the database."""

ALWAYS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "kvit",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
}

SAID = {
    404: "page.not_found",
    405: "page.wrong_method",
    413: "page.too_large",
    429: "page.too_many",
    500: "page.error",
    503: "page.unavailable",
}
"""What a person is told; a status that is not here is a request that no person makes."""


class StripeUnavailableResponse(web.HTTPServiceUnavailable):
    """Stripe does not answer, so nothing can be begun now; `language` is the shop's."""

    def __init__(self, language: str) -> None:
        super().__init__(headers={"Retry-After": str(RETRY_SECONDS)})
        self.language = language


def content_security_policy(framed_by: str) -> str:
    """The content security policy of every answer.

    There is no `form-action`: browsers apply it to every hop of the way to the wallet, and the names on it change.
    """
    sources = f"default-src 'none'; style-src {STYLE_SOURCE}; script-src {SCRIPT_SOURCE}; connect-src 'self'"
    return f"{sources}; img-src 'self' data:; base-uri 'none'; frame-ancestors {framed_by}"


def security_headers(framed_by: str) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """What puts the headers on an answer just before it leaves, errors included."""
    always = ALWAYS | {"Content-Security-Policy": content_security_policy(framed_by)}
    if framed_by == "'none'":
        always["X-Frame-Options"] = "DENY"

    async def secure(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(always)

    return secure


def error_middleware() -> Middleware:
    """What turns every refusal and every error into a plain answer that tells nothing of the inside."""
    seldom = ThrottledLogger()

    @web.middleware
    async def friendly(request: web.Request, handler: Handler) -> web.StreamResponse:
        mark = f"{next(_MARKS) & 0xFFFFFFFF:08x}"
        clear_contextvars()  # aiohttp serves all requests of a connection in one task
        bind_contextvars(request=mark)
        try:
            return await handler(request)
        except web.HTTPException as refusal:
            stop = refusal
        except DatabaseUnavailable:
            seldom.warning(log, "%s: the database is unavailable", _route(request))
            stop = web.HTTPServiceUnavailable(headers={"Retry-After": str(RETRY_SECONDS)})
        except Exception:
            log.exception("%s failed", _route(request))
            stop = web.HTTPInternalServerError()
        if stop.status >= 400:
            _render_error(stop, request, mark)
        raise stop

    return friendly


def _render_error(stop: web.HTTPException, request: web.Request, mark: str) -> None:
    """Say it as a page to a browser, and in one line to a program."""
    key = SAID.get(stop.status, "page.bad_request")
    if isinstance(stop, StripeUnavailableResponse):
        key = "page.stripe_unavailable"
    if "text/html" in request.headers.get("Accept", ""):
        said = {"key": key, "mark": mark if stop.status == 500 else "", "again": _again(stop, request)}
        language = negotiate_language(request, getattr(stop, "language", DEFAULT_LANGUAGE))
        stop.text = render("notice.html", language, seconds=stop.headers.get("Retry-After", ""), **said)
        stop.content_type = "text/html"
    elif stop.text in (None, f"{stop.status}: {stop.reason}"):
        stop.text = f"{stop.reason}\n"


def _again(stop: web.HTTPException, request: web.Request) -> str:
    """Where to try again what failed for now: the page itself; empty where there is none."""
    token = request.match_info.get("token", "")
    passing = stop.status in {429, 500, 503} and TOKEN.fullmatch(token)
    chosen = selected_language(request)
    return f"/p/{token}" + (f"?lang={chosen}" if chosen else "") if passing else ""


def _route(request: web.Request) -> str:
    """The route as it stands in the table: the address itself may hold a page's token."""
    resource = request.match_info.route.resource
    return f"{request.method} {resource.canonical if resource else 'elsewhere'}"
