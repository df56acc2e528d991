"""Whether Stripe sent it: the HMAC over the raw bytes, checked without the SDK and held against it by a test."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import datetime

TOLERANCE = 300
"""Seconds that a signature may be old, or ahead of our clock; the first is Stripe's own default."""


class InvalidSignature(Exception):
    """The signature is missing, malformed, too old or too new, or made with none of the secrets."""


def verify_signature(raw: bytes, header: str, secrets: Sequence[bytes], *, now: datetime) -> None:
    """Return if `header` (`t=SECONDS,v1=HEX[,v1=HEX…]`) signs exactly these bytes with one of the secrets.

    Other schemes than `v1` count for nothing. While a secret is replaced, Stripe sends one `v1` for each.

    Raises:
        BadSignature: in every other case, with a reason that repeats nothing of what was sent.
    """
    sent_at, signatures = _read(header)
    signed = b"%d." % sent_at + raw
    valid = [hmac.digest(secret, signed, "sha256").hex().encode() for secret in secrets if secret]
    if not any(hmac.compare_digest(ours, theirs) for ours in valid for theirs in signatures):
        raise InvalidSignature("none of the signatures is made with one of the secrets")
    if not now.timestamp() - TOLERANCE <= sent_at <= now.timestamp() + TOLERANCE:
        raise InvalidSignature("the signature's time is too far from ours")


def _read(header: str) -> tuple[int, list[bytes]]:
    """The header's time and its `v1` signatures."""
    if not header.isascii():
        raise InvalidSignature("the header is not ASCII")
    parts = [item.split("=", 2) for item in header.split(",")]
    try:
        times = [part[1] for part in parts if part[0] == "t"]
        return int(times[0]), [part[1].encode() for part in parts if part[0] == "v1"]
    except (IndexError, ValueError):
        raise InvalidSignature("the header has no time or a part without a value") from None
