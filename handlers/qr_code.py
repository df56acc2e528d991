"""QR codes of pay page URLs, as SVG for pages and PNG for chats."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import segno

MASK = 2
"""Any of the eight masks can be read. Trying them all takes seven times as long as drawing with one."""

QUIET_ZONE = 4
"""Modules of white around the code, as ISO/IEC 18004 requires."""

PNG_SCALE = 12
"""Pixels per module: large enough for a poor camera."""


@lru_cache(maxsize=1024)
def qr_svg(url: str, *, standalone: bool = True) -> str:
    """The code as an SVG without a fixed size, black on white in every theme.

    `standalone` adds the XML namespace that a file needs; inline SVG in HTML does not.
    """
    svg = BytesIO()
    options = {"xmldecl": False, "svgclass": None, "lineclass": None, "nl": False}
    _code(url).save(svg, kind="svg", border=QUIET_ZONE, omitsize=True, light="#fff", svgns=standalone, **options)
    return svg.getvalue().decode()


@lru_cache(maxsize=1024)
def qr_png(url: str) -> bytes:
    """The code as a PNG."""
    png = BytesIO()
    _code(url).save(png, kind="png", border=QUIET_ZONE, scale=PNG_SCALE)
    return png.getvalue()


def _code(url: str) -> segno.QRCode:
    return segno.make_qr(url, error="m", boost_error=False, mask=MASK)
