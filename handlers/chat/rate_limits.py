"""Keeps strangers from filling a chat, the disk, or the way out: few messages get through there, and money is first."""

from __future__ import annotations

from handlers.chat.context import Context
from handlers.chat.updates import Said
from handlers.runtime.rate_limit import Turnstile
from storage.models.shop import Role

MINUTE = 60.0
HEARD = 10
"""Messages of one stranger that are answered in a minute."""

HEARD_TOGETHER = 40
TOGETHER_SECONDS = 10.0
"""The same of all strangers together: a seventh of what Telegram lets out, and a card waits two seconds for them."""

SEEN = 60
"""Taps and inline queries of one stranger that are looked at in a minute."""


class Restraint:
    """Who was refused when, in this process only; forgetting it costs a sentence, or a line in the history."""

    def __init__(self) -> None:
        self._each = Turnstile(HEARD, MINUTE)
        self._together = Turnstile(HEARD_TOGETHER, TOGETHER_SECONDS)
        self._seen = Turnstile(SEEN, MINUTE)
        self._told = Turnstile(1, MINUTE)
        self._noted = Turnstile(1, MINUTE)

    async def may_hear(self, context: Context) -> bool:
        """Whether what a stranger says is answered at all, for all answers go out in the order in which they came.

        One who brings the word of a link that we gave is not held up by the others.
        """
        if context.is_known:
            return True
        if self._each.wait(str(context.person.id), context.now):
            return False
        return not self._together.wait("", context.now) or await _brings_a_word(context)

    def may_see(self, context: Context) -> bool:
        """Whether a tap or an inline query is looked at; these are answered apart, and hold up no message."""
        return context.is_known or not self._seen.wait(str(context.person.id), context.now)

    def may_refuse(self, context: Context) -> bool:
        """Whether the person is told why not: somebody without a role in a group once a minute, others always."""
        if context.is_private or context.role > Role.STRANGER:
            return True
        return not self._told.wait(_here(context), context.now)

    def may_note(self, context: Context) -> bool:
        """Whether the refusal is written down: once a minute for each person and chat."""
        return not self._noted.wait(_here(context), context.now)


def _here(context: Context) -> str:
    return f"{context.person.id} in {context.place.chat_id}"


async def _brings_a_word(context: Context) -> bool:
    said, desks = context.news, context.desks
    if not isinstance(said, Said) or said.command != "start":
        return False
    return await desks.team.is_offered(said.rest) or await desks.colleagues.is_invited(said.rest)
