"""Checks that a message is a command for the bot, allowed here and recent; then runs its handler."""

from __future__ import annotations

import logging
from datetime import timedelta

from handlers.access.permissions import Action, is_allowed
from handlers.chat.commands import payments, shop
from handlers.chat.context import Context
from handlers.chat.routes import COMMANDS, CommandRoute
from handlers.chat.updates import IncomingMessage
from handlers.telegram.messenger import Button
from storage import payment_queries
from storage.errors import PermissionDenied, UserError
from storage.models.shop import Role
from storage.prompts import Prompt

log = logging.getLogger(__name__)

LONGEST_SHOWN = 200
STALE_AFTER = timedelta(minutes=10)
"""A command that moves money and is older than this when it arrives is confirmed first."""


class AnonymousSender(UserError):
    """Several people share the sender's account, so it has no role."""

    message_key = "error.anonymous_sender"


class ForwardedCommand(UserError):
    """Another person wrote the command and this one forwarded it."""

    message_key = "error.forwarded_command"


class UnknownCommand(UserError):
    """There is no such command."""

    message_key = "error.unknown_command"


async def dispatch_command(context: Context) -> None:
    """Run the handler of a command; in a group only messages addressed to the bot are answered.

    Raises:
        UserError: shown to the person as a reply.
    """
    said = context.message
    if said.command is None:
        await _handle_plain_text(context)
        return
    command = COMMANDS.get(said.command)
    if command is None:
        if context.is_private or said.addressed_bot:
            raise UnknownCommand(command=said.command)
        return
    if context.access.shop is None and not context.is_private and not command.allowed_in_unlinked_group:
        return  # a group that is linked to no shop
    _check_permission(context, command)
    if context.access.shop is None and command.needs_shop:
        await shop.ask_which(context, context.access.selectable_shops)
        return
    late = command.moves_money and context.now - said.sent_at > STALE_AFTER
    if (
        late and await context.db.read(payment_queries.by_request_key, said.request_key) is None
    ):  # otherwise it began in time and continues
        await _ask_to_confirm(context, command)
        return
    await command.handler(context)


async def confirm_late_command(context: Context, prompt: Prompt, choice: int) -> None:
    """Run the late command after all, or drop it."""
    if await context.record_answer(prompt, choice):
        await context.edit(context.html("late.dropped"))
        return
    kept = prompt.payload
    command = COMMANDS[kept["command"]]
    tapped, context.update = context.callback, _as_said(context, kept)
    try:
        _check_permission(context, command)
        await command.handler(context)
    finally:
        context.update = tapped
    await context.edit(context.html("late.done"))


def _check_permission(context: Context, command: CommandRoute) -> None:
    said = context.message
    if said.is_anonymous or said.actor.is_shared_account:
        raise AnonymousSender
    if not command.is_available(context.role, context.chat_kind):
        log.info("denied /%s to %s in chat %s", command.name, said.actor.id, said.chat.chat_id)
        raise PermissionDenied(id=said.actor.id)
    if said.forwarded and command.role > Role.NONE:
        raise ForwardedCommand


async def _handle_plain_text(context: Context) -> None:
    """Offer a request for an amount that a merchant types in a private chat; answer other text with a hint."""
    if not context.is_private:
        return
    if not is_allowed(context.role, Action.REQUEST_PAYMENT):
        await context.reply("start.guest", id=context.actor.id, wallet=context.wallet)
        return
    if context.access.shop is None:
        await shop.ask_which(context, context.access.selectable_shops)
        return
    await payments.offer_request(context)


async def _ask_to_confirm(context: Context, command: CommandRoute) -> None:
    said = context.message
    body = {"command": command.name, "rest": said.args, "message": said.message_id, "answers": said.reply_to_message_id}
    prompt = await context.prompt("late", "late", body)
    keyboard = (
        (
            Button(context.text("late.yes"), data=f"q:{prompt.id}:0"),
            Button(context.text("late.no"), data=f"q:{prompt.id}:1"),
        ),
    )
    await context.reply("late.ask", keyboard=keyboard, command=f"/{command.name} {said.args}".strip()[:LONGEST_SHOWN])


def _as_said(context: Context, kept: dict[str, object]) -> IncomingMessage:
    """The late message as if it were sent now by the same person."""
    return IncomingMessage(
        actor=context.actor,
        chat=context.chat,
        message_id=int(str(kept["message"])),
        sent_at=context.now,
        command=str(kept["command"]),
        addressed_bot=None,
        args=str(kept["rest"]),
        reply_to_message_id=kept["answers"] if isinstance(kept["answers"], int) else None,
        is_anonymous=False,
        forwarded=False,
    )
