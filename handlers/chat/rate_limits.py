"""Keeps strangers from filling a chat, the disk, or the way out: few messages get through there, and money is first."""

from __future__ import annotations

from handlers.chat.context import Context
from handlers.chat.updates import IncomingMessage
from handlers.rate_limit import RateLimiter
from storage.models.shop import Role

MINUTE = 60.0
MESSAGES_PER_MINUTE = 10
"""Messages of one stranger that are answered in a minute."""

HEARD_TOGETHER = 40
TOGETHER_SECONDS = 10.0
"""The same of all strangers together: a seventh of what Telegram lets out, and a card waits two seconds for them."""

CALLBACKS_PER_MINUTE = 60
"""Taps and inline queries of one stranger that are looked at in a minute."""


class GuestRateLimits:
    """Who was refused when, in this process only; forgetting it costs a sentence, or a line in the history."""

    def __init__(self) -> None:
        self._each = RateLimiter(MESSAGES_PER_MINUTE, MINUTE)
        self._together = RateLimiter(HEARD_TOGETHER, TOGETHER_SECONDS)
        self._seen = RateLimiter(CALLBACKS_PER_MINUTE, MINUTE)
        self._told = RateLimiter(1, MINUTE)
        self._noted = RateLimiter(1, MINUTE)

    async def allow_message(self, context: Context) -> bool:
        """Whether what a stranger says is answered at all, for all answers go out in the order in which they came.

        One who brings the word of a link that we gave is not held up by the others.
        """
        if context.has_role:
            return True
        if self._each.acquire(str(context.actor.id), context.now):
            return False
        return not self._together.acquire("", context.now) or await _brings_a_word(context)

    def allow_callback(self, context: Context) -> bool:
        """Whether a tap or an inline query is looked at; these are answered apart, and hold up no message."""
        return context.has_role or not self._seen.acquire(str(context.actor.id), context.now)

    def allow_error_reply(self, context: Context) -> bool:
        """Whether the person is told why not: somebody without a role in a group once a minute, others always."""
        if context.is_private or context.role > Role.NONE:
            return True
        return not self._told.acquire(_here(context), context.now)

    def allow_audit_entry(self, context: Context) -> bool:
        """Whether the refusal is written down: once a minute for each person and chat."""
        return not self._noted.acquire(_here(context), context.now)


def _here(context: Context) -> str:
    return f"{context.actor.id} in {context.chat.chat_id}"


async def _brings_a_word(context: Context) -> bool:
    said, services = context.update, context.services
    if not isinstance(said, IncomingMessage) or said.command != "start":
        return False
    return await services.membership.is_claim_valid(said.args) or await services.invitations.is_invited(said.args)
