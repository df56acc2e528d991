"""What Telegram's users expect of every bot: `/start`, `/help` and `/id`."""

from __future__ import annotations

from handlers.chat.context import Context
from handlers.commands import open_to
from handlers.i18n import Safe
from storage.people import Role


async def start(context: Context) -> None:
    """Say who one is, and what comes next for this person."""
    if context.role is Role.STRANGER:
        await context.reply("start.stranger", id=context.person.id)
    elif context.standing.shop is None and not context.standing.choices:
        await context.reply("start.homeless")
    else:
        shop = context.standing.shop
        await context.reply("start.member", shop=shop.name if shop else "", currency=shop.currency if shop else "")


async def help_(context: Context) -> None:
    """The commands that this person may use here, a line each."""
    lines = [context.html("help.head")]
    lines += [
        Safe(f"/{command.name} – {context.html(f'command.{command.name}')}")
        for command in open_to(context.role)
        if context.standing.shop is not None or command.homeless
    ]
    if context.role is Role.STRANGER:
        lines.append(context.html("help.stranger", id=context.person.id))
    await context.send(Safe("\n".join(lines)))


async def id_(context: Context) -> None:
    """The numbers that an admin or an operator asks for."""
    key = "id.private" if context.is_private else "id.group"
    await context.reply(key, id=context.person.id, chat=context.place.chat_id)
