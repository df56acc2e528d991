"""Keeps strangers from filling a chat, the disk, or the way out: few messages get through there, and money is first."""

from __future__ import annotations

from datetime import datetime, timedelta

from handlers.chat.context import Context
from handlers.chat.incoming import Said
from handlers.turnstile import Turnstile
from storage.people import Role

BETWEEN = timedelta(minutes=1)
MOST = 10_000
HEARD = 10
"""Messages of one stranger that are answered in a minute."""

HEARD_TOGETHER = 240
"""The same of all strangers together: an eighth of what Telegram lets out."""


class Restraint:
    """Who was refused when, in this process only; forgetting it costs a sentence, or a line in the history."""

    def __init__(self) -> None:
        self._each = Turnstile(HEARD, BETWEEN.total_seconds())
        self._together = Turnstile(HEARD_TOGETHER, BETWEEN.total_seconds())
        self._told: dict[tuple[int, int], datetime] = {}
        self._noted: dict[tuple[int, int], datetime] = {}

    def may_hear(self, context: Context) -> bool:
        """Whether what a stranger says is answered at all, for all answers go out in the order in which they came.

        One who brings an invitation is not held up by the others.
        """
        if context.role > Role.STRANGER or context.standing.choices:
            return True
        if self._each.wait(str(context.person.id), context.now):
            return False
        said = context.news
        invited = isinstance(said, Said) and said.command == "start" and bool(said.rest)
        return invited or not self._together.wait("", context.now)

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
