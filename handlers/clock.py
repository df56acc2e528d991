"""The clock of the application. Tests pass one that they turn themselves."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """The only source of the current time below `bot/`."""

    def now(self) -> datetime:
        """The current time, aware UTC."""

    async def sleep(self, seconds: float) -> None:
        """Returns when `seconds` have passed on this clock."""
