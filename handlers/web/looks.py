"""Turns templates into pages: everything is escaped, and the one style is allowed by its hash."""

from __future__ import annotations

import base64
import hashlib
from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from handlers.i18n import text

_TEMPLATES = Path(__file__).parent / "templates"
_PAGES = Environment(
    loader=FileSystemLoader(_TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_STYLE = _PAGES.get_template("page.css").render()

STYLE_SOURCE = f"'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"
"""How the content security policy names the style (CSP level 3, hash-source)."""


def render(template: str, language: str, **values: object) -> str:
    """The page in that language; in a template `t(key, …)` says a sentence."""
    return _PAGES.get_template(template).render(language=language, t=partial(text, language), **values)
