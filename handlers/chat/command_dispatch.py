"""Checks that a message is a command for the bot, allowed here and recent; then runs its handler."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from handlers.access.permissions import Action, is_allowed
from handlers.amounts.tokens import has_amount_ahead
from handlers.chat.commands import payments, shop
from handlers.chat.context import Context, prompt_button
from handlers.chat.routes import COMMANDS, CommandRoute, available_commands
from handlers.chat.suggestions import Suggestion, command_in_words, intended_commands, reads_as_command, suggest
from handlers.chat.updates import IncomingMessage
from handlers.telegram.messenger import Keyboard
from handlers.text_cleaning import clean_text
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
        if await _suggest_command(context, said.command):
            return
        if context.is_private or said.addressed_bot:
            raise UnknownCommand(command=said.command)
        return
    if context.access.shop is None and not context.is_private and not command.allowed_in_unlinked_group:
        if is_allowed(context.role, Action.LINK_CHAT):
            await context.reply("error.unlinked_group")
        return  # others get no answer in a group that is linked to no shop
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


async def run_suggested_command(context: Context, prompt: Prompt, choice: int) -> None:
    """Run the command of the button that was pressed first, once."""
    chosen = prompt.payload["choices"][await context.record_answer(prompt, choice)]
    command = COMMANDS[chosen["command"]]
    tapped, context.update = context.callback, _as_said(context, {**prompt.payload, **chosen})
    context.key = f"prompt:{prompt.id}"
    try:
        _check_permission(context, command)
        await command.handler(context)
    finally:
        context.update = tapped
    await context.edit(context.html("command.chosen", command=f"/{command.name} {chosen['rest']}".strip()))


async def _suggest_command(context: Context, name: str) -> bool:
    """Offer what an unknown command of a member may have meant; False if that is not clear."""
    if context.access.shop is None or not is_allowed(context.role, Action.VIEW) or context.message.forwarded:
        return False
    return await _offer(context, intended_commands(name, context.message.args, _known(context)))


async def _offer(context: Context, intended: list[tuple[str, str]]) -> bool:
    """Offer a request by its amount, other commands by their names."""
    name, args = intended[0] if intended else ("", "")
    is_request = name in {"pay", "hold"} and is_allowed(context.role, Action.REQUEST_PAYMENT) and args
    if is_request and await payments.offer_request(context, args, manual=name == "hold"):
        return True
    suggestions = [Suggestion(name, args, f"/{name} {args}".strip()) for name, args in intended]
    if suggestions:
        await suggest(context, "command.did_you_mean", suggestions)
    return bool(suggestions)


def _known(context: Context) -> list[str]:
    return [route.name for route in available_commands(context.role, context.chat_kind)]


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
        await _handle_group_reply(context)
        return
    if not is_allowed(context.role, Action.REQUEST_PAYMENT):
        await context.reply("start.guest", id=context.actor.id, wallet=context.wallet)
        return
    if context.access.shop is None:
        await shop.ask_which(context, context.access.selectable_shops)
        return
    words = context.message.args
    intended = command_in_words(words, _known(context))
    is_sentence = intended and not reads_as_command(intended[0][1]) and intended[0][0] not in {"pay", "hold"}
    if not is_sentence and await _offer(context, intended):
        return
    if not await payments.offer_request(context, words):
        await context.reply("error.unknown_words")


async def _handle_group_reply(context: Context) -> None:
    """Offer a request for an amount that a merchant types in a group as a reply to the bot; ignore other text."""
    if context.access.shop is None or not context.replies_to_us or context.message.is_anonymous:
        return
    if not is_allowed(context.role, Action.REQUEST_PAYMENT) or context.message.forwarded:
        return
    words = context.message.args
    requests = [(name, args) for name, args in command_in_words(words, _known(context)) if name in {"pay", "hold"}]
    if requests:
        await _offer(context, requests)
    elif has_amount_ahead(words):
        await payments.offer_request(context, words)


async def _ask_to_confirm(context: Context, command: CommandRoute) -> None:
    said = context.message
    body = {
        "command": command.name,
        "rest": said.args,
        "message": said.message_id,
        "answers": said.reply_to_message_id,
        "answers_bot": said.reply_to_bot,
        "answers_about": said.reply_to_references,
        "sent_at": said.sent_at.isoformat(),
    }
    prompt = await context.prompt("late", "late", body)
    await context.reply(
        "late.ask",
        keyboard=late_keyboard(context, prompt),
        command=clean_text(f"/{command.name} {said.args}"[:LONGEST_SHOWN]),
    )


def late_keyboard(context: Context, prompt: Prompt) -> Keyboard:
    """The two answers to the question whether a late command or button press is still meant."""
    answers = (context.text("late.yes"), context.text("late.no"))
    return (tuple(prompt_button(prompt, number, label) for number, label in enumerate(answers)),)


def _as_said(context: Context, kept: dict[str, object]) -> IncomingMessage:
    """The late message, confirmed by the same person."""
    return IncomingMessage(
        actor=context.actor,
        chat=context.chat,
        message_id=int(str(kept["message"])),
        sent_at=datetime.fromisoformat(str(kept["sent_at"])),
        command=str(kept["command"]),
        addressed_bot=None,
        args=str(kept["rest"]),
        reply_to_message_id=answers if isinstance(answers := kept.get("answers"), int) else None,
        is_anonymous=False,
        forwarded=False,
        reply_to_bot=str(bot) if (bot := kept.get("answers_bot")) else None,
        reply_to_references=tuple(about) if isinstance(about := kept.get("answers_about"), list) else (),
    )
