"""Takes a message up: is it for us, may this person do that here, is it still wanted; then its door is opened."""

from __future__ import annotations

import logging
from datetime import timedelta

from handlers.access.permissions import Action, may
from handlers.chat.commands import payments, shop
from handlers.chat.context import Context
from handlers.chat.routes import COMMANDS, CommandRoute
from handlers.chat.updates import Said
from handlers.telegram.messenger import Button
from storage.errors import NotAllowed, PaymentError
from storage.models.shop import Role
from storage.prompts import Question

log = logging.getLogger(__name__)

LONGEST_SHOWN = 200
LATE = timedelta(minutes=10)
"""A command about money that is older than this when it is seen is asked about before it is carried out."""


class SpeakAsYourself(PaymentError):
    """Many people stand behind the sender, so he has no role."""

    code = "error.speak_as_yourself"


class Forwarded(PaymentError):
    """Somebody else wrote the command, and this person passed it on."""

    code = "error.forwarded"


class UnknownCommand(PaymentError):
    """There is no such command."""

    code = "error.unknown_command"


async def take_up(context: Context) -> None:
    """Open the door of a command; in a group only what is meant for us is answered.

    Raises:
        PaymentError: the person is told why not.
    """
    said = context.said
    if said.command is None:
        await _plain_words(context)
        return
    command = COMMANDS.get(said.command)
    if command is None:
        if context.is_private or said.to_bot:
            raise UnknownCommand(command=said.command)
        return
    if context.standing.shop is None and not context.is_private and not command.allowed_in_unlinked_group:
        return  # a group of no shop: whatever is said there is not for us
    _refuse_the_wrong(context, command)
    if context.standing.shop is None and command.needs_shop:
        await shop.ask_which(context, context.standing.choices)
        return
    late = command.moves_money and context.now - said.at > LATE
    if late and await context.desks.queries.by_source(said.source) is None:  # else it was begun in time, and goes on
        await _ask_if_still_wanted(context, command)
        return
    await command.handler(context)


async def late_answered(context: Context, question: Question, choice: int) -> None:
    """The late command is carried out after all, or dropped."""
    if await context.decided(question, choice):
        await context.replace(context.html("late.dropped"))
        return
    kept = question.body
    command = COMMANDS[kept["command"]]
    tapped, context.news = context.tapped, _as_said(context, kept)
    try:
        _refuse_the_wrong(context, command)
        await command.handler(context)
    finally:
        context.news = tapped
    await context.replace(context.html("late.done"))


def _refuse_the_wrong(context: Context, command: CommandRoute) -> None:
    said = context.said
    if said.nameless or said.person.is_shared:
        raise SpeakAsYourself
    if not command.is_available(context.role, context.where):
        log.info("refused /%s to %s in chat %s", command.name, said.person.id, said.place.chat_id)
        raise NotAllowed(id=said.person.id)
    if said.forwarded and command.role > Role.STRANGER:
        raise Forwarded


async def _plain_words(context: Context) -> None:
    """An amount that a merchant types in his private chat is offered as a request; other words get a hint."""
    if not context.is_private:
        return
    if not may(context.role, Action.ASK):
        await context.reply("start.stranger", id=context.person.id)
        return
    if context.standing.shop is None:
        await shop.ask_which(context, context.standing.choices)
        return
    await payments.offer(context)


async def _ask_if_still_wanted(context: Context, command: CommandRoute) -> None:
    said = context.said
    body = {"command": command.name, "rest": said.rest, "message": said.message_id, "answers": said.answers}
    question = await context.ask("late", "late", body)
    keyboard = (
        (
            Button(context.text("late.yes"), data=f"q:{question.id}:0"),
            Button(context.text("late.no"), data=f"q:{question.id}:1"),
        ),
    )
    await context.reply("late.ask", keyboard=keyboard, command=f"/{command.name} {said.rest}".strip()[:LONGEST_SHOWN])


def _as_said(context: Context, kept: dict[str, object]) -> Said:
    """The late message as if it were said now, by whom it was said."""
    return Said(
        person=context.person,
        place=context.place,
        message_id=int(str(kept["message"])),
        at=context.now,
        command=str(kept["command"]),
        to_bot=None,
        rest=str(kept["rest"]),
        answers=kept["answers"] if isinstance(kept["answers"], int) else None,
        nameless=False,
        forwarded=False,
    )
