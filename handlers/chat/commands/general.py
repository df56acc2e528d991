"""What Telegram users expect of every bot: /start, /help, /id, /terms, /paysupport, /privacy."""

from __future__ import annotations

from collections.abc import Sequence

from handlers.access.membership import CLAIM_PREFIX
from handlers.chat.commands import members
from handlers.chat.commands.shop import ask_which
from handlers.chat.context import Context
from handlers.i18n import SafeHtml
from storage import shops
from storage.errors import UserError
from storage.models.shop import Role


class ClaimRefused(UserError):
    """The claim link is used or expired, or the installation has an owner."""

    message_key = "error.invalid_claim"


async def start(context: Context) -> None:
    """Greet the person and say what comes next for them; a link gives them the role it was made for."""
    if context.message.args.startswith(CLAIM_PREFIX):
        await _claim(context)
        return
    if members.is_invitation(context.message.args):
        await members.accept_invitation(context)
        return
    if context.role is Role.NONE:
        await context.reply("start.guest", id=context.actor.id, wallet=context.wallet)
    elif context.access.selectable_shops:
        await ask_which(context, context.access.selectable_shops)
    elif context.access.shop is None:
        await context.reply("start.unlinked_group")
    else:
        await context.reply("start.member", shop=context.shop.name, currency=context.shop.currency)


async def _claim(context: Context) -> None:
    membership = context.services.membership
    if not context.is_private or not await membership.claim(context.message.args, context.actor):
        raise ClaimRefused
    shop = await membership.first_shop(context.actor)
    await context.reply("claim.done", shop=shop.name, currency=shop.currency)


async def help_(context: Context, commands: Sequence[str]) -> None:
    """List these commands, a line each: the ones that this person may use here."""
    lines = [context.html("help.head")]
    lines += [SafeHtml(f"/{name} – {context.html(f'command.{name}')}") for name in commands]
    if context.role is Role.NONE:
        lines.append(context.html("help.guest", id=context.actor.id))
    else:
        lines.append(context.html("kvit.is_not"))
    await context.send(SafeHtml("\n".join(lines)))


async def id_(context: Context) -> None:
    """The ids that an admin or an operator asks for."""
    key = "id.private" if context.is_private else "id.group"
    await context.reply(key, id=context.actor.id, chat=context.chat.chat_id)


async def terms(context: Context) -> None:
    """The terms of use; Telegram requires them of every bot that takes payments."""
    await context.reply("terms.text")


async def paysupport(context: Context) -> None:
    """Whom to ask about a payment: this chat's shop, or the only one that there is."""
    shop = context.access.shop
    if shop is None and len(every := await context.db.read(shops.list_shops)) == 1:
        shop = every[0]
    if shop is None:
        await context.reply("paysupport.no_shop")
        return
    lines = [context.html("paysupport.text", shop=shop.seller_name or shop.name)]
    if shop.seller_contact:
        lines.append(context.html("paysupport.contact", contact=shop.seller_contact))
    await context.send(SafeHtml("\n".join(lines)))


async def privacy(context: Context) -> None:
    """What is stored about whom."""
    await context.reply("privacy.text")
