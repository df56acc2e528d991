"""Handles one stored update: parses it, runs its handler, and answers every error in one place."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from structlog.contextvars import bind_contextvars

from handlers.chat import callback_dispatch, command_dispatch
from handlers.chat.command_dispatch import STALE_AFTER, AnonymousSender
from handlers.chat.commands import inline
from handlers.chat.context import Context, Services
from handlers.chat.guest_limits import GuestRateLimits
from handlers.chat.leaked_secrets import void_leaked_secrets
from handlers.chat.routes import moves_money
from handlers.chat.updates import (
    BotAccessChanged,
    CallbackQuery,
    ChatMigrated,
    ChosenInlineResult,
    IncomingMessage,
    InlineQuery,
    parse_update,
)
from handlers.sliding_window import RateLimiter
from handlers.telegram.messenger import DeliveryError
from storage import audit_log, messages, shops
from storage.errors import PermissionDenied, UserError
from storage.models.job import DeadLetter, Done, Job, NewJob, Outcome, Retry

log = logging.getLogger(__name__)

UNREADABLE = "unreadable"
"""How the reason begins for which an update that cannot be parsed is dead-lettered."""


NAME_CHECK_SECONDS, NAME_CHECKS_PER_MINUTE = 600, 10
"""How often Telegram is asked whether the bot now has another name: about the same name, and about any."""


class UpdateHandler:
    """Handles updates. A repeated update has the effect of one: all keys are made from the update."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._rate_limits = GuestRateLimits()
        self._names_checked = RateLimiter(1, NAME_CHECK_SECONDS, max_keys=1000)
        self._checks = RateLimiter(NAME_CHECKS_PER_MINUTE, 60)

    async def handle(self, job: Job) -> Outcome:
        """Parse the update and run its handler."""
        try:
            update = parse_update(job.payload)
        except Exception as error:  # it will not become parseable
            log.exception("an update cannot be parsed")
            return DeadLetter(f"{UNREADABLE}: {type(error).__name__}")
        bind_contextvars(update=job.key)
        match update:
            case IncomingMessage():
                return await self._handle_message(update, job.key)
            case CallbackQuery():
                return await self._handle_callback(update, job)
            case InlineQuery():
                await self._inline_asked(update, job.key)
            case ChosenInlineResult():
                if _is_late(job, self._services.clock.now()):  # its button still makes the request
                    return Done("too late: nothing was requested")
                await inline.on_chosen(await self._context(update, job.key), update)
            case ChatMigrated(old, new):
                await self._services.chats.migrate(old, new)
            case BotAccessChanged(chat_id, is_open):
                await self._access(chat_id, is_open)
        return Done()

    async def on_dead_letter(self, job: Job, reason: str) -> Sequence[NewJob]:
        """The answer to an update that failed in all its tries, so that the person is not left without one."""
        if reason.startswith(UNREADABLE):
            return ()
        update = parse_update(job.payload)
        if not isinstance(update, IncomingMessage | CallbackQuery):
            return ()
        context = await self._context(update, job.key)
        return (context.answer_job(context.html("error.broken"), name="broken"),)

    async def _inline_asked(self, asked: InlineQuery, key: str) -> None:
        """Answer an inline query; a failed answer is not repeated, for the person has typed on."""
        context = await self._context(asked, key)
        if not self._rate_limits.allow_callback(context):
            return
        try:
            await inline.on_query(context, asked)
        except DeliveryError as failed:
            log.info("an inline query could not be answered: %s", failed)

    async def _handle_message(self, said: IncomingMessage, key: str) -> Outcome:
        context = await self._context(said, key)
        if await void_leaked_secrets(context):
            return Done("a secret in a group was voided")
        named = said.addressed_bot or said.via_bot
        if named and not self._services.messenger.username:
            return Retry("the bot's username is not known yet", 2)
        if said.addressed_bot is not None and not await self._is_this_bot(said.addressed_bot):
            return Done("addressed to another bot")
        is_unaddressed = said.chat.chat_id < 0 and (said.reply_to_bot is None or said.via_bot is not None)
        if said.command is None and (is_unaddressed or (said.via_bot and await self._is_this_bot(said.via_bot))):
            return Done("not addressed to the bot")
        if said.album is not None and not said.command and not said.args:
            context.key = f"update:album:{said.chat.chat_id}:{said.album}"  # its pictures get one answer
        if not await self._rate_limits.allow_message(context):
            return Done("rate limit for guests")
        await self._services.chats.reopen(said.chat.chat_id)
        try:
            await command_dispatch.dispatch_command(context)
        except UserError as refusal:
            await self._audit_denied(context, refusal)
            if self._rate_limits.allow_error_reply(context):
                await context.send_error(refusal)
        return Done()

    async def _is_this_bot(self, name: str) -> bool:
        """Whether the bot has this name; asks Telegram about another one, for the bot may have been renamed."""
        messenger, now, name = self._services.messenger, self._services.clock.now(), name.lower()
        if name != messenger.username.lower() and not (
            self._names_checked.acquire(name, now) or self._checks.acquire("", now)
        ):
            try:
                await messenger.get_me()
            except DeliveryError as failed:
                log.info("the bot's name could not be checked: %s", failed)
        return name == messenger.username.lower()

    async def _handle_callback(self, tapped: CallbackQuery, job: Job) -> Outcome:
        context = await self._context(tapped, job.key)
        if not self._rate_limits.allow_callback(context):
            return Done("rate limit for guests")
        try:
            await self._run_callback(context, job)
            if not context.answered:
                await self._services.messenger.answer_callback(tapped.query_id)
        except DeliveryError as failed:
            log.info("a button press could not be answered: %s", failed)
        return Done()

    async def _run_callback(self, context: Context, job: Job) -> None:
        """Handle a button press; one that moves money and is late is confirmed first, like a late command.

        Telegram drops a press after 150 seconds, so the time of its arrival is that of the press.
        """
        try:
            if _is_late(job, context.now) and context.has_role and moves_money(context.callback.data):
                await callback_dispatch.ask_about_late_press(context, job.created_at)
                return
            await callback_dispatch.dispatch_callback(context)
        except UserError as refusal:
            await self._audit_denied(context, refusal)
            await context.send_error(refusal)

    async def _audit_denied(self, context: Context, refusal: UserError) -> None:
        """Record a denied action in the audit log of the shop that it was aimed at."""
        payment, shop = context.denied_payment, context.access.shop
        forbidden = payment is not None or (
            shop is not None and isinstance(refusal, PermissionDenied | AnonymousSender)
        )
        if not forbidden or not self._rate_limits.allow_audit_entry(context):
            return
        update, actor = context.update, f"user:{context.actor.id}"
        detail = (
            {"command": update.command}
            if isinstance(update, IncomingMessage)
            else {"button": context.callback.data[:1]}
        )
        if payment is not None:
            await self._services.db.write(audit_log.record_denied_for_payment, payment, actor, detail, context.now)
        elif shop is not None:
            await self._services.db.write(audit_log.record_denied, shop.id, actor, detail, context.now)

    async def _context(
        self, update: IncomingMessage | CallbackQuery | InlineQuery | ChosenInlineResult, key: str
    ) -> Context:
        access = await self._services.membership.chat_access(_chat_of(update), update.actor)
        return Context(self._services, f"update:{key}", update, access, self._services.clock.now())

    async def _access(self, chat_id: int, is_open: bool) -> None:
        if is_open:
            await self._services.chats.reopen(chat_id)
        elif await self._is_ours(chat_id) and await self._services.db.write(
            messages.mark_blocked, chat_id, "the bot was removed"
        ):
            log.warning("the bot was removed from chat %s", chat_id)

    async def _is_ours(self, chat_id: int) -> bool:
        """Whether a shop uses this chat; guests come and go."""
        services = self._services
        if await services.db.read(shops.shop_of_chat, chat_id) is not None or await services.membership.is_owner(
            chat_id
        ):
            return True
        return bool(await services.db.read(shops.memberships, chat_id))


def _is_late(job: Job, now: datetime) -> bool:
    return now - job.created_at > STALE_AFTER


def _chat_of(update: IncomingMessage | CallbackQuery | InlineQuery | ChosenInlineResult) -> int:
    return update.chat.chat_id if isinstance(update, IncomingMessage | CallbackQuery) else update.actor.id
