"""Lets anybody wait for the pretend state to change, without asking it again and again."""

from __future__ import annotations

import asyncio


class ChangeNotifier:
    """A count of what happened, that can be awaited."""

    def __init__(self) -> None:
        self.count = 0
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Something happened."""
        self.count += 1
        told, self._event = self._event, asyncio.Event()
        told.set()

    async def wait_after(self, count: int) -> int:
        """Return the new count once it is no longer `count`."""
        while self.count == count:
            await self._event.wait()
        return self.count


class ChangeIterator:
    """An endless iterator over the changes from now on; several that come at once are told as one."""

    def __init__(self, changes: ChangeNotifier) -> None:
        self._changes = changes
        self._seen = changes.count

    def __aiter__(self) -> ChangeIterator:
        return self

    async def __anext__(self) -> int:
        self._seen = await self._changes.wait_after(self._seen)
        return self._seen
