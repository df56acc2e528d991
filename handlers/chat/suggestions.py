"""Suggests commands as buttons: a payment to choose, or the command that a person probably meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from handlers import i18n
from handlers.chat.arguments import REFERENCE, bare, split_word
from handlers.chat.context import Context, prompt_button
from handlers.text_cleaning import shorten
from storage.models.payment import Payment

MAX_LABEL = 60
MAX_SUGGESTIONS = 5
MIN_SIMILARITY = 0.66
"""How similar a mistyped command has to be to a real one (difflib's ratio): `paye`, `pya`, `refnd`."""

NAMES_IN_LANGUAGES = {
    "pay": "betal betaling betale betala maksa maksu maksupyyntö opkræv request charge payment bill invoice",
    "hold": "reserve reserver reservér reservera varaa",
    "refund": "refunder refundér refundering refusjon återbetala återbetalning tilbagebetal hyvitä hyvitys",
    "cancel": "annuller annullér annullere avbryt avbryd peru peruuta",
    "help": "hjælp hjälp hjelp apua ohje",
    "settings": "indstillinger inställningar innstillinger asetukset",
    "open": "åbne öppna åpne avoimet",
}
"""Words for commands in the other languages."""

COMMAND_OF_WORD = {word: name for name, words in NAMES_IN_LANGUAGES.items() for word in words.split()}
WITH_NUMBER = re.compile(r"([^\W\d_]+)[:,=]?([0-9].*)", re.DOTALL)
MARKS = "/\\!"


@dataclass(frozen=True)
class Suggestion:
    """A command without its slash, and the text behind it; `label` is that of its button."""

    command: str
    args: str
    label: str


async def suggest(context: Context, key: str, suggestions: Sequence[Suggestion]) -> None:
    """Ask with one button for each command. A press runs it as if the person had typed it."""
    choices = [{"command": it.command, "rest": it.args} for it in suggestions]
    said = context.message
    body = {"message": said.message_id, "sent_at": said.sent_at.isoformat(), "choices": choices}
    prompt = await context.prompt("command", "command", body)
    buttons = [prompt_button(prompt, n, shorten(it.label, MAX_LABEL)) for n, it in enumerate(suggestions)]
    await context.reply(key, keyboard=tuple((button,) for button in buttons))


async def suggest_payments(context: Context, key: str, command: str, payments: Sequence[Payment]) -> None:
    """Ask which of these payments the command is about."""
    await suggest(context, key, [_about(context, command, payment) for payment in payments[:MAX_SUGGESTIONS]])


def intended_commands(name: str, args: str, known: Sequence[str]) -> list[tuple[str, str]]:
    """The commands and arguments that `/NAME ARGS` may have meant, the likeliest first."""
    if name in known:
        return [(name, args)]
    if name in COMMAND_OF_WORD:
        return [(COMMAND_OF_WORD[name], args)] if COMMAND_OF_WORD[name] in known else []
    for command in known:  # the space was left out: `/pay20`, `/statusK7F3`
        rest = name.removeprefix(command)
        if rest != name and (rest[:1].isdigit() or REFERENCE.fullmatch(rest)):
            return [(command, f"{rest} {args}".strip())]
    return [(command, args) for command in get_close_matches(name, known, 2, MIN_SIMILARITY)]


def command_in_words(text: str, known: Sequence[str]) -> list[tuple[str, str]]:
    """The commands that a text without a proper slash may have meant: `pay 20 coffee`, `/ pay 20`, `status K7F3`."""
    word, rest = split_word(text.lstrip(f"{MARKS} "))
    is_marked = text.startswith(tuple(MARKS))
    name = word.lower().rstrip(":")
    if found := WITH_NUMBER.fullmatch(name):
        name, rest = found[1], f"{found[2]} {rest}".strip()
    if name in known or COMMAND_OF_WORD.get(name) in known:
        return intended_commands(name, rest.lstrip(":,= "), known)
    return intended_commands(name, rest, known) if is_marked else []


def reads_as_command(args: str) -> bool:
    """Whether words behind the name of a command can be its arguments: none, or a reference."""
    found = REFERENCE.match(args)
    return not bare(args) or (found is not None and any(map(str.isdigit, found[1])))


def _about(context: Context, command: str, payment: Payment) -> Suggestion:
    amount = i18n.money(context.language, payment.amount)
    label = " · ".join(part for part in (f"#{payment.reference}", amount, payment.description) if part)
    return Suggestion(command, payment.reference, label)
