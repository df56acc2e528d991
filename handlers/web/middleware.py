"""What every response gets: security headers, an error page that reveals nothing, and a request id in the log."""

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

RETRY_AFTER_SECONDS = 5

_request_numbers = count(secrets.randbits(32))
"""Counts from a random start. A random id per request would take longer than verifying its signature."""

TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""The form of a page token. Anything else is not looked up in the database."""

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "kvit",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
}

ERROR_MESSAGES = {
    404: "page.not_found",
    405: "page.wrong_method",
    413: "page.too_large",
    429: "page.too_many",
    500: "page.error",
    503: "page.unavailable",
}
"""Message keys by HTTP status; other statuses get `page.bad_request`."""


class StripeUnavailableResponse(web.HTTPServiceUnavailable):
    """503: Stripe does not answer, so no attempt can be started. `language` is the shop's."""

    def __init__(self, language: str) -> None:
        super().__init__(headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
        self.language = language


def content_security_policy(frame_ancestors: str) -> str:
    """The content security policy of every response.

    It has no `form-action`: browsers apply that to every redirect on the way to the wallet, whose hosts change.
    """
    sources = f"default-src 'none'; style-src {STYLE_SOURCE}; script-src {SCRIPT_SOURCE}; connect-src 'self'"
    return f"{sources}; img-src 'self' data:; base-uri 'none'; frame-ancestors {frame_ancestors}"


def security_headers(frame_ancestors: str) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """A signal handler that sets the security headers of every response, also of errors."""
    headers = SECURITY_HEADERS | {"Content-Security-Policy": content_security_policy(frame_ancestors)}
    if frame_ancestors == "'none'":
        headers["X-Frame-Options"] = "DENY"

    async def set_headers(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(headers)

    return set_headers


def error_middleware() -> Middleware:
    """A middleware that turns every exception into a plain response without internal details."""
    throttled_log = ThrottledLogger()

    @web.middleware
    async def handle_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id = f"{next(_request_numbers) & 0xFFFFFFFF:08x}"
        clear_contextvars()  # aiohttp serves all requests of a connection in one task
        bind_contextvars(request=request_id)
        try:
            return await handler(request)
        except web.HTTPException as raised:
            response = raised
        except DatabaseUnavailable:
            throttled_log.warning(log, "%s: the database is unavailable", _route(request))
            response = web.HTTPServiceUnavailable(headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
        except Exception:
            log.exception("%s failed", _route(request))
            response = web.HTTPInternalServerError()
        if response.status >= 400:
            _render_error(response, request, request_id)
        raise response

    return handle_errors


def _render_error(response: web.HTTPException, request: web.Request, request_id: str) -> None:
    """Fills the response: a page for a browser, one line of text for a program."""
    key = ERROR_MESSAGES.get(response.status, "page.bad_request")
    if isinstance(response, StripeUnavailableResponse):
        key = "page.stripe_unavailable"
    if "text/html" in request.headers.get("Accept", ""):
        response.text = render(
            "notice.html",
            negotiate_language(request, getattr(response, "language", DEFAULT_LANGUAGE)),
            key=key,
            request_id=request_id if response.status == 500 else "",
            retry_after=response.headers.get("Retry-After", ""),
            retry_url=_retry_url(response, request),
        )
        response.content_type = "text/html"
    elif response.text in (None, f"{response.status}: {response.reason}"):
        response.text = f"{response.reason}\n"


def _retry_url(response: web.HTTPException, request: web.Request) -> str:
    """The pay page, where a request to it failed temporarily; otherwise empty."""
    token = request.match_info.get("token", "")
    if response.status not in {429, 500, 503} or not TOKEN.fullmatch(token):
        return ""
    language = selected_language(request)
    return f"/p/{token}" + (f"?lang={language}" if language else "")


def _route(request: web.Request) -> str:
    """Method and route pattern. The path itself may contain a page's token."""
    resource = request.match_info.route.resource
    return f"{request.method} {resource.canonical if resource else '(no route)'}"
