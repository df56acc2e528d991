"""Verifies Stripe's signature: an HMAC over the raw bytes. A test compares it with the SDK's."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import datetime

TOLERANCE = 300
"""Seconds that a signature may be old, which is Stripe's default, or ahead of our clock."""


class InvalidSignature(Exception):
    """The signature is missing, malformed, too old, too new, or made with another secret."""


def verify_signature(raw: bytes, header: str, secrets: Sequence[bytes], *, now: datetime) -> None:
    """Returns if `header` (`t=SECONDS,v1=HEX[,v1=HEX…]`) signs exactly these bytes with one of the secrets.

    Schemes other than `v1` are ignored. While a secret is being rotated, Stripe sends a `v1` for each.

    Raises:
        InvalidSignature: in every other case; its reason contains nothing of the request.
    """
    sent_at, signatures = _parse(header)
    signed = b"%d." % sent_at + raw
    expected = [hmac.digest(secret, signed, "sha256").hex().encode() for secret in secrets if secret]
    if not any(hmac.compare_digest(ours, theirs) for ours in expected for theirs in signatures):
        raise InvalidSignature("no signature is made with one of the secrets")
    if not now.timestamp() - TOLERANCE <= sent_at <= now.timestamp() + TOLERANCE:
        raise InvalidSignature("the signature's time is too far from ours")


def _parse(header: str) -> tuple[int, list[bytes]]:
    """The header's time and its `v1` signatures."""
    if not header.isascii():
        raise InvalidSignature("the header is not ASCII")
    parts = [item.split("=", 2) for item in header.split(",")]
    try:
        times = [part[1] for part in parts if part[0] == "t"]
        return int(times[0]), [part[1].encode() for part in parts if part[0] == "v1"]
    except (IndexError, ValueError):
        raise InvalidSignature("the header has no time or a part without a value") from None
