"""Draws what is scanned or printed: the QR code of a page's address, the same one everywhere."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import segno

MASK = 2
"""Any of the eight masks can be read; to try all of them costs seven times as much as to draw with one."""

QUIET = 4
"""Modules of white around the code, as ISO/IEC 18004 asks for."""

PNG_MODULE = 12
"""Pixels of one module in the picture for the chat."""


@lru_cache(maxsize=1024)
def qr_svg(address: str, *, alone: bool = True) -> str:
    """The code as an SVG that fills the room it is given, black on white in every theme.

    `alone` is for a file of its own; within a page the code needs no name of its kind.
    """
    drawn = BytesIO()
    plain = {"xmldecl": False, "svgclass": None, "lineclass": None, "nl": False}
    _code(address).save(drawn, kind="svg", border=QUIET, omitsize=True, light="#fff", svgns=alone, **plain)
    return drawn.getvalue().decode()


@lru_cache(maxsize=1024)
def qr_png(address: str) -> bytes:
    """The code as a PNG, large enough for a poor camera."""
    drawn = BytesIO()
    _code(address).save(drawn, kind="png", border=QUIET, scale=PNG_MODULE)
    return drawn.getvalue()


def _code(address: str) -> segno.QRCode:
    return segno.make_qr(address, error="m", boost_error=False, mask=MASK)
