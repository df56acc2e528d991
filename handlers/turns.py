"""Who asks Stripe about a payment takes turns with all others who do, in this process."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary


class Turns:
    """A lock for each payment: Stripe locks the intent as well, and a later look is then a newer one."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, payment_id: str) -> asyncio.Lock:
        """The lock of one payment; it lives as long as somebody holds or awaits it."""
        return self._locks.setdefault(payment_id, asyncio.Lock())
