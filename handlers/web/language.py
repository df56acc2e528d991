"""Which language a visitor reads: the one picked on the page, else the first of ours that the browser asks for."""

from __future__ import annotations

from aiohttp import web

from handlers.i18n import DEFAULT_LANGUAGE, LANGUAGES, language_of


def selected_language(request: web.Request) -> str | None:
    """The language that the address asks for (`?lang=da`), if it is one of ours."""
    wanted = request.query.get("lang", "")
    return wanted if wanted in LANGUAGES else None


def negotiate_language(request: web.Request, otherwise: str = DEFAULT_LANGUAGE) -> str:
    """What was picked, else what `Accept-Language` (RFC 9110, 12.5.4) likes best, else `otherwise`."""
    if chosen := selected_language(request):
        return chosen
    wanted: list[tuple[float, str]] = []
    for item in request.headers.get("Accept-Language", "").split(","):
        tag, _, weight = item.strip().partition(";")
        language = language_of(tag.strip())
        if language and (liking := _liking(weight)) > 0:
            wanted.append((liking, language))
    return max(wanted, key=lambda wish: wish[0])[1] if wanted else otherwise


def _liking(weight: str) -> float:
    name, _, value = weight.replace(" ", "").partition("=")
    try:
        return float(value) if name == "q" else 1.0
    except ValueError:
        return 0.0
