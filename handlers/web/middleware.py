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
from handlers.web.accept import accepts
from handlers.web.language import negotiate_language, selected_language
from handlers.web.templating import SCRIPT_SOURCE, STYLE_SOURCE, render
from storage.errors import DatabaseUnavailable

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5
PROXY_RELOAD_SECONDS = 10
"""Seconds until the page of a proxy loads again; a restart takes a few."""

_request_numbers = count(secrets.randbits(32))
"""Counts from a random start. A random id per request would take longer than verifying its signature."""

TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""The form of a page token. Anything else is not looked up in the database."""

_PUNCTUATED_PATH = re.compile(rf"(/p/{TOKEN.pattern}(?:/[a-z.]*[a-z])?)[^A-Za-z0-9]+", re.DOTALL)
"""The path of a page, as long as possible, and what the text around a link left behind it."""

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


def content_security_policy(frame_ancestors: str) -> str:
    """The content security policy of every response.

    It has no `form-action`: browsers apply that to every redirect on the way to the wallet, whose hosts change.
    """
    sources = f"default-src 'none'; style-src {STYLE_SOURCE}; script-src {SCRIPT_SOURCE}; connect-src 'self'"
    return f"{sources}; img-src 'self' data:; base-uri 'none'; frame-ancestors {frame_ancestors}"


def security_headers(frame_ancestors: str) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """A signal handler that sets the security headers of every response, also of errors."""
    headers = _headers(frame_ancestors)

    async def set_headers(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(headers)
        if isinstance(response, web.HTTPExpectationFailed):  # made before any middleware, and repeats the header
            response.text = f"{response.reason}\n"

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
            response = _without_punctuation(raised, request)
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


def malformed_request_response(status: int, *, is_too_large: bool) -> web.Response:
    """The page for a request that cannot be parsed. It is in all languages, as no header of the request is known."""
    key = "page.head_too_large" if is_too_large else "page.bad_request"
    response = web.Response(
        status=status,
        text=render("notices.html", DEFAULT_LANGUAGE, key=key, reload_seconds=None),
        content_type="text/html",
    )
    response.headers.update(_headers("'none'"))
    response.force_close()
    return response


def proxy_error_page() -> str:
    """The page that a proxy shows while it cannot reach Kvit: `deploy/unavailable.html`."""
    return render("notices.html", DEFAULT_LANGUAGE, key="page.restarting", reload_seconds=PROXY_RELOAD_SECONDS) + "\n"


def _headers(frame_ancestors: str) -> dict[str, str]:
    headers = SECURITY_HEADERS | {"Content-Security-Policy": content_security_policy(frame_ancestors)}
    return headers | ({"X-Frame-Options": "DENY"} if frame_ancestors == "'none'" else {})


def _render_error(response: web.HTTPException, request: web.Request, request_id: str) -> None:
    """Fills the response: a page for a browser, one line of text for a program."""
    key = ERROR_MESSAGES.get(response.status, "page.bad_request")
    if accepts(request, "text/html"):
        retry_url, retry_after = _retry_url(response, request), response.headers.get("Retry-After", "")
        if retry_url and retry_after:
            response.headers["Refresh"] = f"{retry_after};url={retry_url}"
        response.text = render(
            "notice.html",
            negotiate_language(request),
            key=key,
            request_id=request_id if response.status == 500 else "",
            retry_after=retry_after,
            retry_url=retry_url,
        )
        response.content_type = "text/html"
    elif response.text in (None, f"{response.status}: {response.reason}"):
        response.text = f"{response.reason}\n"


def _without_punctuation(response: web.HTTPException, request: web.Request) -> web.HTTPException:
    """303 to the page without the punctuation that the text around a link left behind it, instead of a 404.

    Those that may end a token, `_` and `-`, are cut last and one by one.
    """
    punctuated = _PUNCTUATED_PATH.fullmatch(request.path)
    if response.status != 404 or request.method not in {"GET", "HEAD"} or punctuated is None:
        return response
    return web.HTTPSeeOther(punctuated[1] + _language_query(request))


def _retry_url(response: web.HTTPException, request: web.Request) -> str:
    """The pay page, where a request to it failed temporarily; otherwise empty."""
    token = request.match_info.get("token", "")
    if response.status not in {429, 500, 503} or not TOKEN.fullmatch(token):
        return ""
    return f"/p/{token}{_language_query(request)}"


def _language_query(request: web.Request) -> str:
    language = selected_language(request)
    return f"?lang={language}" if language else ""


def _route(request: web.Request) -> str:
    """Method and route pattern. The path itself may contain a page's token."""
    resource = request.match_info.route.resource
    return f"{request.method} {resource.canonical if resource else '(no route)'}"
