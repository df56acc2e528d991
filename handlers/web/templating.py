"""Renders the templates. All values are escaped; the content security policy allows style and script by hash."""

from __future__ import annotations

import base64
import hashlib
from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from handlers.i18n import LANGUAGE_NAMES, text

_TEMPLATES = Path(__file__).parent / "templates"
_ENVIRONMENT = Environment(
    loader=FileSystemLoader(_TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)


def hash_source(content: str) -> str:
    """The source of a content security policy that allows exactly this inline style or script (CSP level 3)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


STYLE_SOURCE = hash_source(_ENVIRONMENT.get_template("page.css").render())
SCRIPT_SOURCE = " ".join(hash_source(_ENVIRONMENT.get_template(name).render()) for name in ("page.js", "receipt.js"))


def render(template: str, language: str, **values: object) -> str:
    """The rendered page.

    In a template, `t(key, …)` is the message in `language`, and `text(language, key, …)` in any other.
    """
    return _ENVIRONMENT.get_template(template).render(
        language=language, languages=LANGUAGE_NAMES, t=partial(text, language), text=text, **values
    )
