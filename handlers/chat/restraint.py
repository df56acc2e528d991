"""Keeps one person's refusals from filling a group or the disk: few messages get through there, and money is first."""

from __future__ import annotations

from datetime import datetime, timedelta

from handlers.chat.context import Context
from storage.people import Role

BETWEEN = timedelta(minutes=1)
MOST = 10_000


class Restraint:
    """Who was refused when, in this process only; forgetting it costs a sentence, or a line in the history."""

    def __init__(self) -> None:
        self._told: dict[tuple[int, int], datetime] = {}
        self._noted: dict[tuple[int, int], datetime] = {}

    def may_refuse(self, context: Context) -> bool:
        """Whether the person is told why not: somebody without a role in a group once a minute, others always."""
        if context.is_private or context.role > Role.STRANGER:
            return True
        return _once_a_minute(self._told, context)

    def may_note(self, context: Context) -> bool:
        """Whether the refusal is written down: once a minute for each person and chat."""
        return _once_a_minute(self._noted, context)


def _once_a_minute(done: dict[tuple[int, int], datetime], context: Context) -> bool:
    who = (context.place.chat_id, context.person.id)
    last = done.get(who)
    if last is not None and context.now - last < BETWEEN:
        return False
    if len(done) >= MOST:
        done.clear()
    done[who] = context.now
    return True
