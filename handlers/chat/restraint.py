"""Keeps one person's refusals from filling a group: Telegram lets few messages through there, and money comes first."""

from __future__ import annotations

from datetime import datetime, timedelta

from handlers.chat.context import Context
from storage.people import Role

BETWEEN = timedelta(minutes=1)
MOST = 10_000


class Restraint:
    """Who was refused when, in this process only; forgetting it costs a sentence."""

    def __init__(self) -> None:
        self._refused: dict[tuple[int, int], datetime] = {}

    def may_refuse(self, context: Context) -> bool:
        """Whether the person is told why not: somebody without a role in a group once a minute, others always."""
        if context.is_private or context.role > Role.STRANGER:
            return True
        who = (context.place.chat_id, context.person.id)
        last = self._refused.get(who)
        if last is not None and context.now - last < BETWEEN:
            return False
        if len(self._refused) >= MOST:
            self._refused.clear()
        self._refused[who] = context.now
        return True
