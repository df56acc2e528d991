"""How the clients of Stripe and Telegram report their requests."""

from __future__ import annotations

from collections.abc import Callable

OnApiCall = Callable[[str, str, float, int], None]
"""Called after each request with vendor, call, duration in seconds, and HTTP status (0: no response)."""
