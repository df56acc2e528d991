"""Rate limits for users without a role (guests), so that they cannot fill a chat, the disk or the outbox."""

from __future__ import annotations

from handlers.chat.context import Context
from handlers.chat.updates import IncomingMessage
from handlers.sliding_window import RateLimiter
from storage.models.shop import Role

MINUTE = 60.0
MESSAGES_PER_MINUTE = 10
"""Messages of one guest that are answered per minute."""

MESSAGES_TOGETHER = 40
TOGETHER_SECONDS = 10.0
"""The messages of all guests together that are answered in that time: less than a seventh of Telegram's 30 a second."""

CALLBACKS_PER_MINUTE = 60
"""Button presses and inline queries of one guest that are handled per minute."""


class GuestRateLimits:
    """Counts per guest, in this process only: after a restart, a few more messages and audit log entries pass."""

    def __init__(self) -> None:
        self._by_guest = RateLimiter(MESSAGES_PER_MINUTE, MINUTE)
        self._all_guests = RateLimiter(MESSAGES_TOGETHER, TOGETHER_SECONDS)
        self._callbacks = RateLimiter(CALLBACKS_PER_MINUTE, MINUTE)
        self._error_replies = RateLimiter(1, MINUTE)
        self._audit_entries = RateLimiter(1, MINUTE)

    async def allow_message(self, context: Context) -> bool:
        """Whether the message is answered; all answers share one outbox.

        A guest with a valid invitation or claim is not limited by the others.
        """
        if context.has_role:
            return True
        if self._by_guest.acquire(str(context.actor.id), context.now):
            return False
        return not self._all_guests.acquire("", context.now) or await _has_valid_secret(context)

    def allow_callback(self, context: Context) -> bool:
        """Whether a button press or inline query is handled; these are answered directly and delay no message."""
        return context.has_role or not self._callbacks.acquire(str(context.actor.id), context.now)

    def allow_error_reply(self, context: Context) -> bool:
        """Whether the person gets an error reply: a guest in a group once per minute, others always."""
        if context.is_private or context.role > Role.NONE:
            return True
        return not self._error_replies.acquire(_here(context), context.now)

    def allow_audit_entry(self, context: Context) -> bool:
        """Whether the denial is recorded: once per minute for each person and chat."""
        return not self._audit_entries.acquire(_here(context), context.now)


def _here(context: Context) -> str:
    return f"{context.actor.id} in {context.chat.chat_id}"


async def _has_valid_secret(context: Context) -> bool:
    update, services = context.update, context.services
    if not isinstance(update, IncomingMessage) or update.command != "start":
        return False
    return await services.membership.is_claim_valid(update.args) or await services.invitations.is_invited(update.args)
