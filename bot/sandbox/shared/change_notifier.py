"""Waiting for changes of the sandbox without polling."""

from __future__ import annotations

import asyncio


class ChangeNotifier:
    """Counts changes; `wait_after` waits for the next one."""

    def __init__(self) -> None:
        self.count = 0
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Count a change and wake every waiter."""
        self.count += 1
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait_after(self, count: int) -> int:
        """Return the new count once it differs from `count`."""
        while self.count == count:
            await self._event.wait()
        return self.count


class ChangeIterator:
    """An endless iterator over the changes from now on; several changes at once are one iteration."""

    def __init__(self, changes: ChangeNotifier) -> None:
        self._changes = changes
        self._count = changes.count

    def __aiter__(self) -> ChangeIterator:
        return self

    async def __anext__(self) -> int:
        self._count = await self._changes.wait_after(self._count)
        return self._count
