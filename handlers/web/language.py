"""The visitor's language: the one selected on the page, else the browser's preference among the supported ones."""

from __future__ import annotations

from aiohttp import web

from handlers.i18n import DEFAULT_LANGUAGE, LANGUAGES, language_of
from handlers.web.accept import quality


def selected_language(request: web.Request) -> str | None:
    """The supported language in the query (`?lang=da`); None if there is none."""
    language = request.query.get("lang", "")
    return language if language in LANGUAGES else None


def negotiate_language(request: web.Request, fallback: str = DEFAULT_LANGUAGE) -> str:
    """The selected language, else the best supported one of `Accept-Language` (RFC 9110, 12.5.4), else `fallback`."""
    if selected := selected_language(request):
        return selected
    accepted: list[tuple[float, str]] = []
    for item in request.headers.get("Accept-Language", "").split(","):
        tag, _, parameter = item.strip().partition(";")
        language = language_of(tag.strip())
        if language and (wanted := quality(parameter)) > 0:
            accepted.append((wanted, language))
    return max(accepted, key=lambda each: each[0])[1] if accepted else fallback
