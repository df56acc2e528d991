"""The clock that the application is given, so that tests turn it by hand."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """The one clock of the program."""

    def now(self) -> datetime:
        """The time, aware UTC."""

    async def sleep(self, seconds: float) -> None:
        """Return once `seconds` have passed on this clock."""
