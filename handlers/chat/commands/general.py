"""What Telegram's users expect of every bot: who it is, what it can do, and on which terms."""

from __future__ import annotations

from collections.abc import Sequence

from handlers.access.membership import CLAIM
from handlers.chat.commands import members
from handlers.chat.commands.shop import ask_which
from handlers.chat.context import Context
from handlers.i18n import Safe
from storage.errors import PaymentError
from storage.models.shop import Role


class ClaimRefused(PaymentError):
    """The claim link is used up, too old, or the installation has an owner."""

    code = "error.claim_refused"


async def start(context: Context) -> None:
    """Say who one is, and what comes next for this person; a link gives him the role it was made for."""
    if context.said.rest.startswith(CLAIM):
        await _claim(context)
        return
    if members.is_invitation(context.said.rest):
        await members.join(context)
        return
    if context.role is Role.STRANGER:
        await context.reply("start.stranger", id=context.person.id)
    elif context.standing.choices:
        await ask_which(context, context.standing.choices)
    elif context.standing.shop is None:
        await context.reply("start.homeless")
    else:
        await context.reply("start.member", shop=context.shop.name, currency=context.shop.currency)


async def _claim(context: Context) -> None:
    team = context.desks.team
    if not context.is_private or not await team.claim(context.said.rest, context.person):
        raise ClaimRefused
    shop = await team.first_shop(context.person)
    await context.reply("claim.done", shop=shop.name, currency=shop.currency)


async def help_(context: Context, commands: Sequence[str]) -> None:
    """These commands, a line each: the ones that this person may use here."""
    lines = [context.html("help.head")]
    lines += [Safe(f"/{name} – {context.html(f'command.{name}')}") for name in commands]
    if context.role is Role.STRANGER:
        lines.append(context.html("help.stranger", id=context.person.id))
    await context.send(Safe("\n".join(lines)))


async def id_(context: Context) -> None:
    """The numbers that an admin or an operator asks for."""
    key = "id.private" if context.is_private else "id.group"
    await context.reply(key, id=context.person.id, chat=context.place.chat_id)


async def terms(context: Context) -> None:
    """On which terms the bot is used; Telegram asks every bot that takes money for them."""
    await context.reply("terms.text")


async def paysupport(context: Context) -> None:
    """Whom to ask about a payment."""
    await context.reply("paysupport.text", shop=context.standing.shop.name if context.standing.shop else "Kvit")


async def privacy(context: Context) -> None:
    """What is kept about whom."""
    await context.reply("privacy.text")
