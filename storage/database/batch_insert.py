"""Many writers, one commit: what is put at the same time shares one transaction and one wait for the disk."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from storage.database.database import Database
from storage.database.sqlite import Row
from storage.errors import DatabaseUnavailable

MAX_BATCH = 500
"""Rows per commit at most, so that nobody waits long behind a flood."""


class _PendingInsert:
    __slots__ = ("answer", "rows")

    def __init__(self, rows: list[Row], answer: asyncio.Future[int]) -> None:
        self.rows = rows
        self.answer = answer


class BatchInserter:
    """Inserts mails; while one commit waits for the disk, the next callers gather for the following one."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._waiting: deque[_PendingInsert] = deque()
        self._flusher: asyncio.Task[None] | None = None

    async def insert(self, rows: list[Row]) -> int:
        """Returns how many were new, after the commit. A caller who is canceled meanwhile disturbs nobody.

        Raises:
            DatabaseUnavailable: nothing of the batch was written; every caller of the batch hears of it.
        """
        loop = asyncio.get_running_loop()
        waiting = _PendingInsert(rows, loop.create_future())
        self._waiting.append(waiting)
        if self._flusher is None:
            self._flusher = loop.create_task(self._flush())
        return await waiting.answer

    async def _flush(self) -> None:
        batch: list[_PendingInsert] = []
        try:
            while batch := self._gather():
                await self._write(batch)
        finally:
            self._flusher = None
            if batch:  # canceled: the loop is coming to its end
                _answer_all([*batch, *self._waiting], DatabaseUnavailable("the program is stopping"))
                self._waiting.clear()

    def _gather(self) -> list[_PendingInsert]:
        batch: list[_PendingInsert] = []
        size = 0
        while self._waiting and (not batch or size + len(self._waiting[0].rows) <= MAX_BATCH):
            waiting = self._waiting.popleft()
            if not waiting.answer.done():
                batch.append(waiting)
                size += len(waiting.rows)
        return batch

    async def _write(self, batch: list[_PendingInsert]) -> None:
        try:
            new = await self._db.insert_jobs([row for waiting in batch for row in waiting.rows])
        except DatabaseUnavailable as error:
            _answer_all(batch, error)
        except Exception as error:
            if len(batch) == 1:
                _answer_all(batch, error)
                return
            for waiting in batch:  # one of them is at fault, and the others shall not suffer from it
                await self._write([waiting])
        else:
            for waiting in batch:
                _answer(waiting, _count(waiting.rows, new))


def _count(rows: Iterable[Row], new: set[tuple[str, str]]) -> int:
    """How many of the rows are new; of two alike the first one."""
    number = 0
    for row in rows:
        name = (row[0], row[1])
        if name in new:
            new.remove(name)
            number += 1
    return number


def _answer(waiting: _PendingInsert, number: int) -> None:
    if not waiting.answer.done():
        waiting.answer.set_result(number)


def _answer_all(batch: list[_PendingInsert], error: Exception) -> None:
    for waiting in batch:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)
