"""Heartbeats of the parts of this process, so that one that stopped is noticed."""

from __future__ import annotations

from datetime import datetime, timedelta


class Heartbeats:
    """The time of the last heartbeat of each part."""

    def __init__(self) -> None:
        self._stale_after: dict[str, timedelta] = {}
        self._last: dict[str, datetime] = {}

    def register(self, name: str, stale_after_seconds: float) -> None:
        """Expects a heartbeat of `name` at least this often. Until its first heartbeat the part is stale."""
        self._stale_after[name] = timedelta(seconds=stale_after_seconds)

    def beat(self, name: str, now: datetime) -> None:
        """Records a heartbeat of `name` at `now` (aware UTC)."""
        self._last[name] = now

    def stale(self, now: datetime) -> list[str]:
        """The registered parts whose last heartbeat is too old, in order of registration."""
        return [name for name, limit in self._stale_after.items() if not self._is_fresh(name, limit, now)]

    def ages(self, now: datetime) -> dict[str, float]:
        """Seconds since the last heartbeat, for each part that ever sent one."""
        return {name: max((now - last).total_seconds(), 0.0) for name, last in self._last.items()}

    def _is_fresh(self, name: str, limit: timedelta, now: datetime) -> bool:
        last = self._last.get(name)
        return last is not None and now - last <= limit
