"""When a payment or refund calls Stripe again: retry delays, and the lifetime of idempotency keys.

The retries within one call are in `bot/stripe/http_client.py`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from zlib import crc32

from handlers.backoff import backoff
from handlers.stripe.gateway import MAX_CALL_DURATION

FIRST_RETRY_SECONDS = 5.0
MAX_RETRY_SECONDS = 300.0
"""A payment is checked at the latest this long after Stripe can be reached again."""

IDEMPOTENCY_KEY_TTL = timedelta(hours=20)
"""How long an idempotency key is used: Stripe may forget it after 24 hours."""

SEARCH_AFTER = IDEMPOTENCY_KEY_TTL + MAX_CALL_DURATION
"""The age of a key at which Stripe is searched for what it created: its last request has arrived by then."""


def retry_delay(key: str, failures: int) -> timedelta:
    """The delay after that many failures. The same key always gets the same one; different keys are spread out."""
    chance = crc32(f"{key}:{failures}".encode()) / 2**32
    return timedelta(
        seconds=backoff(failures, first=FIRST_RETRY_SECONDS, longest=MAX_RETRY_SECONDS, jitter=0.5, chance=chance)
    )


def may_still_arrive(sent_at: datetime | None, now: datetime) -> bool:
    """Whether a request last sent at `sent_at` may still reach Stripe.

    False for a time that lies ahead of `now` by more than a call can take: the clock that gave it was wrong.
    """
    return sent_at is not None and abs(now - sent_at) < MAX_CALL_DURATION
