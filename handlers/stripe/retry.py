"""How long to leave alone what Stripe could not be asked about."""

from __future__ import annotations

from datetime import datetime, timedelta
from zlib import crc32

from handlers.stripe.gateway import MAX_CALL_DURATION

SHORTEST = 2.0
LONGEST = 300.0
"""Seconds; a payment waits no longer than that for a vendor who is back."""


def backoff(key: str, failures: int) -> timedelta:
    """Longer after each failure, up to five minutes, and spread by `key` so that many do not come back at once."""
    longest = min(LONGEST, 5.0 * 2 ** min(failures, 8))
    spread = crc32(f"{key}:{failures}".encode()) / 2**32
    return timedelta(seconds=max(SHORTEST, longest * (0.5 + spread / 2)))


def may_still_arrive(sent_at: datetime | None, now: datetime) -> bool:
    """Whether a request that was sent last at that time may still reach Stripe.

    A date that lies further ahead of `now` was made by a clock that was wrong, and says nothing.
    """
    return sent_at is not None and abs(now - sent_at) < MAX_CALL_DURATION


IDEMPOTENCY_KEY_TTL = timedelta(hours=20)
"""How long an idempotency key is trusted: Stripe may forget it after 24 hours."""


SEARCH_AFTER = IDEMPOTENCY_KEY_TTL + MAX_CALL_DURATION
"""When Stripe is searched for what a key had asked for: its last request has arrived by then."""
