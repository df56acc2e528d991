"""Turns templates into pages: everything is escaped, and its one style and one script are allowed by hash."""

from __future__ import annotations

import base64
import hashlib
from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from handlers.i18n import LANGUAGE_NAMES, text

_TEMPLATES = Path(__file__).parent / "templates"
_PAGES = Environment(
    loader=FileSystemLoader(_TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)


def _source(template: str) -> str:
    """How the content security policy names what a template writes (CSP level 3, hash-source)."""
    written = _PAGES.get_template(template).render().encode()
    return f"'sha256-{base64.b64encode(hashlib.sha256(written).digest()).decode()}'"


STYLE_SOURCE = _source("page.css")
SCRIPT_SOURCE = _source("page.js")


def render(template: str, language: str, **values: object) -> str:
    """The page in that language; in a template `t(key, …)` says a sentence."""
    page = _PAGES.get_template(template)
    return page.render(language=language, languages=LANGUAGE_NAMES, t=partial(text, language), **values)
