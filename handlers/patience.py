"""How long to leave alone what Stripe could not be asked about."""

from __future__ import annotations

from datetime import timedelta
from zlib import crc32

SHORTEST = 2.0
LONGEST = 300.0
"""Seconds; a payment waits no longer than that for a vendor who is back."""


def patience(key: str, failures: int) -> timedelta:
    """Longer after each failure, up to five minutes, and spread by `key` so that many do not come back at once."""
    longest = min(LONGEST, 5.0 * 2 ** min(failures, 8))
    spread = crc32(f"{key}:{failures}".encode()) / 2**32
    return timedelta(seconds=max(SHORTEST, longest * (0.5 + spread / 2)))
