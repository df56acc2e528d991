"""`/setup` and `/settings`: which shop a chat acts for, and what that shop is like."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

from handlers.access.permissions import Action, may
from handlers.chat.context import Context
from handlers.i18n import LANGUAGE_NAMES, LANGUAGES, Safe
from handlers.messages.outbox_message import lane_of
from handlers.shops import settings as shop_settings
from handlers.shops.receipts import lacking
from handlers.telegram.messenger import Button, Keyboard
from storage.errors import NotAllowed, PaymentError
from storage.models.money import CURRENCIES, Money
from storage.models.shop import Role, Shop

ZONES = ("Europe/Copenhagen", "Europe/Helsinki", "Europe/Stockholm", "Europe/Oslo")
SHOP_ID = re.compile(r"[0-9]{1,15}")
"""A number that a button names; it can be forged, so it has to fit."""

HELD_UP = timedelta(seconds=5)
"""A message that has waited longer does not go out at once."""


class ChatIsBusy(PaymentError):
    """The chat still has open requests of the shop that it acts for."""

    code = "error.chat_is_busy"


class ChatWaits(PaymentError):
    """Messages about the shop that the chat acts for have not got out, and must not come after it has changed."""

    code = "error.chat_waits"


async def setup(context: Context) -> None:
    """Tie this chat to a shop: the only one, one of several by a button, or a new one.

    An owner has all of them; others choose, for their private chats, among those in which they hold a role.
    """
    word, _, name = context.said.rest.partition(" ")
    if word.upper() == "NEW":
        context.require(Action.OPEN_SHOP)
        shop = await _open(context, shop_settings.name_of(name))
        await context.reply("setup.done", shop=shop.name)
        return
    shops = await context.desks.team.shops_of(context.person)
    if len(shops) == 1:
        await _tie(context, shops[0])
        await context.reply("setup.done", shop=shops[0].name)
        return
    await ask_which(context, tuple(shops))


async def ask_which(context: Context, shops: tuple[Shop, ...]) -> None:
    """Ask for which of several shops this chat acts."""
    keyboard = tuple((Button(shop.name, data=f"s:{shop.id}"),) for shop in shops)
    await context.reply("setup.which", keyboard=keyboard)


async def shop_tapped(context: Context, shop_id: str) -> None:
    """One of the shops was chosen; for a group only an owner does that."""
    shop = await context.desks.directory.shop(int(shop_id)) if SHOP_ID.fullmatch(shop_id) else None
    role = await context.desks.team.role(shop.id, context.person) if shop else Role.STRANGER
    if shop is None or not may(role, Action.CHOOSE_SHOP if context.is_private else Action.TIE):
        raise NotAllowed(id=context.person.id)
    await _tie(context, shop)
    await context.replace(context.html("setup.done", shop=shop.name))
    await context.toast("setup.toast", shop=shop.name)


async def settings(context: Context) -> None:
    """Show the shop's settings, or change one."""
    name, _, value = context.said.rest.partition(" ")
    if name:
        await _change(context, name.lower(), value.strip())
    await context.send(_shown(context), _buttons(context.shop))


async def setting_tapped(context: Context, said: str) -> None:
    """A button under the settings."""
    name, _, value = said.partition(":")
    await _change(context, name, value)
    await context.replace(_shown(context), _buttons(context.shop))
    await context.toast("settings.saved")


async def _change(context: Context, name: str, value: str) -> None:
    actor, detail = f"user:{context.person.id}", shop_settings.told(name, value)
    decide, change = shop_settings.changed(name, value), context.desks.directory.change_shop
    shop = await change(context.shop.id, decide, actor=actor, detail=detail, now=context.now)
    context.standing = replace(context.standing, shop=shop)


async def _open(context: Context, name: str) -> Shop:
    """Another shop for this chat, with the settings of the one before it where there is one.

    A chat that acts for a shop of that name keeps it, so that a command which is taken up twice opens one.

    Raises:
        ChatIsBusy: requests of another shop are open there; nothing was opened.
    """
    standing = context.standing.shop
    if standing is not None and standing.name == name:
        return standing
    await _refuse_busy(context)
    like = standing or (await context.desks.directory.shops() or [await _first(context)])[0]
    chat_id = context.place.chat_id
    new = replace(Shop(0, name, like.currency, like.language, like.time_zone), limit=like.limit)
    actor = f"user:{context.person.id}"
    return await context.desks.directory.open_shop(new, now=context.now, chat_id=chat_id, actor=actor)


async def _first(context: Context) -> Shop:
    return await context.desks.team.first_shop(context.person)


async def _tie(context: Context, shop: Shop) -> None:
    """Have the chat act for the shop, once nothing of another shop can be told there any more.

    Raises:
        ChatIsBusy: requests of another shop are open there.
    """
    await _refuse_busy(context, but=shop.id)
    actor = f"user:{context.person.id}"
    await context.desks.directory.tie(context.place.chat_id, shop.id, now=context.now, actor=actor)
    context.standing = replace(context.standing, shop=shop, choices=())


async def _refuse_busy(context: Context, *, but: int = 0) -> None:
    """Refuse to have a group change shops, except to the one that it acts for, while something is open there."""
    other = await context.desks.directory.shop_of_chat(context.place.chat_id)
    if other is None or other.id == but or context.is_private:
        return
    if await context.desks.queries.open_in_chat(other.id, context.place.chat_id):
        raise ChatIsBusy(shop=other.name)
    since = await context.desks.outbox.waits_since(lane_of(context.place.chat_id))
    if since is not None and context.now - since > HELD_UP:
        raise ChatWaits(shop=other.name)


def _shown(context: Context) -> Safe:
    shop, unset = context.shop, context.text("settings.unset")
    hours = context.text("settings.hours_default") if shop.request_hours is None else str(shop.request_hours)
    lines = [
        context.html(
            "settings.shown",
            shop=shop.name,
            currency=shop.currency,
            language=LANGUAGE_NAMES[shop.language],
            zone=shop.time_zone,
        ),
        context.html(
            "settings.limits",
            limit=Money(shop.limit, shop.currency),
            refunds=Money(shop.refund_limit, shop.currency),
            hours=hours,
        ),
        context.html(
            "settings.seller",
            name=shop.seller_name or unset,
            address=shop.seller_address or unset,
            number=shop.seller_number or unset,
            contact=shop.seller_contact or unset,
            vat=_rate(context, shop.vat_rate),
        ),
    ]
    if missing := lacking(shop):
        lines.append(context.html("settings.missing", what=", ".join(missing)))
    return Safe("\n".join([*lines, context.html("settings.how")]))


def _buttons(shop: Shop) -> Keyboard:
    """Two rows for what has few values; the zones of the four countries below."""

    def button(label: str, name: str, value: str, now: str) -> Button:
        return Button(f"✓ {label}" if value == now else label, data=f"v:{name}:{value}")

    return (
        tuple(button(code, "currency", code, shop.currency) for code in CURRENCIES),
        tuple(button(LANGUAGE_NAMES[code], "language", code, shop.language) for code in LANGUAGES),
        tuple(button(zone.partition("/")[2], "zone", zone, shop.time_zone) for zone in ZONES),
    )


def _rate(context: Context, rate: int | None) -> str:
    if not rate:
        return context.text("settings.unset" if rate is None else "settings.no_vat")
    return f"{shop_settings.percent(rate)} %"
