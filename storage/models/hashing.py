"""The hash under which secret tokens are stored and looked up."""

from __future__ import annotations

import hashlib


def sha256_hex(text: str) -> str:
    """The SHA-256 of the text in UTF-8, as 64 hexadecimal digits; a lone surrogate counts as `?`."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
