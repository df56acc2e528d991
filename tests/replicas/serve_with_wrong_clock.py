"""`serve` on a machine whose clock is wrong by so many seconds."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta

from bot import cli
from bot.clock import SystemClock


class WrongClock(SystemClock):
    """The machine's clock, and what it is wrong by."""

    def machine_time(self) -> datetime:
        """What this machine's clock shows."""
        return super().machine_time() + timedelta(seconds=float(sys.argv[1]))


if __name__ == "__main__":
    cli.SystemClock = WrongClock  # type: ignore[attr-defined]
    cli.main(["serve"])
