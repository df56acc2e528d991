"""The `Accept` header (RFC 9110, 12.5.1), as far as the pages need it."""

from __future__ import annotations

from aiohttp import web


def accepts(request: web.BaseRequest, media_type: str, *, rather_than: str = "") -> bool:
    """Whether the header names this media type with a quality above 0.

    A range such as `*/*` does not count: programs send it that mean nothing by it. Where the header names `rather_than`
    too, `media_type` needs at least its quality.
    """
    qualities = {"": 0.0}
    for item in ",".join(request.headers.getall("Accept", [])).split(","):
        name, *parameters = ("".join(part.lower().split()) for part in item.split(";"))
        qualities[name] = next((quality(each) for each in parameters if each.startswith("q=")), 1.0)
    qualities[""] = 0.0
    return 0.0 < qualities.get(media_type, 0.0) >= qualities.get(rather_than, 0.0)


def quality(parameter: str) -> float:
    """The value of a parameter `q=…`; 1 for another or no parameter, 0 if it is not a number."""
    name, _, value = parameter.replace(" ", "").partition("=")
    try:
        return float(value) if name.lower() == "q" else 1.0
    except ValueError:
        return 0.0
