"""Whether what should be going on still does: every loop shows a sign of life, and silence is noticed."""

from __future__ import annotations

from datetime import datetime, timedelta


class Heartbeats:
    """The last sign of life of each part of this process."""

    def __init__(self) -> None:
        self._within: dict[str, timedelta] = {}
        self._beaten: dict[str, datetime] = {}

    def register(self, name: str, within_seconds: float) -> None:
        """Have `name` show a sign of life at least every `within_seconds`; until the first it counts as silent."""
        self._within[name] = timedelta(seconds=within_seconds)

    def beat(self, name: str, now: datetime) -> None:
        """A sign of life of `name` at `now` (aware UTC)."""
        self._beaten[name] = now

    def stale(self, now: datetime) -> list[str]:
        """The parts that are silent for longer than expected, in the order they were announced."""
        return [name for name, within in self._within.items() if not self._is_fresh(name, within, now)]

    def ages(self, now: datetime) -> dict[str, float]:
        """Seconds since the last sign of life of each part that ever showed one."""
        return {name: max((now - last).total_seconds(), 0.0) for name, last in self._beaten.items()}

    def _is_fresh(self, name: str, within: timedelta, now: datetime) -> bool:
        last = self._beaten.get(name)
        return last is not None and now - last <= within
