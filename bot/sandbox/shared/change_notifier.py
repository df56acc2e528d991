"""Lets anybody wait for the pretend world to change, without asking it again and again."""

from __future__ import annotations

import asyncio


class Changes:
    """A count of what happened, that can be awaited."""

    def __init__(self) -> None:
        self.count = 0
        self._told = asyncio.Event()

    def tell(self) -> None:
        """Something happened."""
        self.count += 1
        told, self._told = self._told, asyncio.Event()
        told.set()

    async def after(self, count: int) -> int:
        """Return the new count once it is no longer `count`."""
        while self.count == count:
            await self._told.wait()
        return self.count


class Watch:
    """An endless iterator over the changes from now on; several that come at once are told as one."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._seen = changes.count

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> int:
        self._seen = await self._changes.after(self._seen)
        return self._seen
