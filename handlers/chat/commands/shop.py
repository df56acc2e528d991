"""`/setup` and `/settings`: the shop that a chat is linked to, and that shop's settings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from handlers import i18n
from handlers.access.permissions import Action, is_allowed
from handlers.chat.arguments import split_word
from handlers.chat.context import Context
from handlers.i18n import LANGUAGE_NAMES, LANGUAGES, SafeHtml, percentage
from handlers.reports.sie import CURRENCY as SIE_CURRENCY
from handlers.shops import settings as shop_settings
from handlers.shops.receipts import missing_fields
from handlers.telegram.messenger import Button, Keyboard
from storage import payment_queries, shops
from storage.errors import PermissionDenied, UserError
from storage.messages import chat_ordering_key
from storage.models.money import CURRENCIES, Money
from storage.models.shop import Role, Shop

ZONES = ("Europe/Copenhagen", "Europe/Helsinki", "Europe/Stockholm", "Europe/Oslo")
SHOP_ID = re.compile(r"[0-9]{1,15}")
"""A number in callback data; it can be forged, so its length is limited."""

SHOPS_PER_PAGE = 20
"""Fewer than the 100 buttons that Telegram takes in a message, so that the list stays readable."""

PAGE = "p"
"""Begins callback data that names a page of shops, not a shop."""

DELAYED_AFTER = timedelta(seconds=5)
"""A message pending for longer than this is not about to be sent."""


class ChatHasOpenPayments(UserError):
    """The chat has open requests of the shop that it is linked to."""

    message_key = "error.chat_has_open_payments"


class ChatHasPendingMessages(UserError):
    """Messages about the chat's shop are pending and must not be sent after the link has changed."""

    message_key = "error.chat_has_pending_messages"


async def setup(context: Context) -> None:
    """Link this chat to a shop: the only one, one of several by a button, or a new one.

    An owner can choose among all shops; members, for their private chats, among their own.
    """
    word, name = split_word(context.message.args)
    if word.upper() == "NEW":
        context.require(Action.CREATE_SHOP)
        shop = await _open(context, shop_settings.parse_name(name))
        await context.reply("setup.done", shop=shop.name)
        return
    shops = await context.services.membership.shops_of(context.actor)
    typed = context.message.args.casefold()
    named = [shop for shop in shops if not typed or shop.name.casefold() == typed]
    if len(named) == 1:
        await _link_chat(context, named[0])
        await context.reply("setup.done", shop=named[0].name)
        return
    await ask_which(context, tuple(shops))


async def ask_which(context: Context, shops: tuple[Shop, ...]) -> None:
    """Ask to which of several shops this chat is linked."""
    await context.reply("setup.which", keyboard=_page_of_shops(shops, 0))


def _page_of_shops(shops: Sequence[Shop], first: int) -> Keyboard:
    """A button for each shop from number `first` on, and buttons to the pages before and after."""
    first = first // SHOPS_PER_PAGE * SHOPS_PER_PAGE if first < len(shops) else 0
    rows = [(Button(shop.name, data=f"s:{shop.id}"),) for shop in shops[first : first + SHOPS_PER_PAGE]]
    starts = {"←": first - SHOPS_PER_PAGE, "→": first + SHOPS_PER_PAGE}
    arrows = tuple(Button(label, data=f"s:{PAGE}{at}") for label, at in starts.items() if 0 <= at < len(shops))
    return (*rows, arrows) if arrows else tuple(rows)


async def on_shop(context: Context, shop_id: str) -> None:
    """One of the shops was chosen, or another page of them; for a group only an owner may choose."""
    if shop_id.startswith(PAGE) and SHOP_ID.fullmatch(shop_id.removeprefix(PAGE)):
        listed = await context.services.membership.shops_of(context.actor)
        keyboard = _page_of_shops(listed, int(shop_id.removeprefix(PAGE)))
        await context.edit(context.html("setup.which"), keyboard)
        return
    shop = await context.db.read(shops.get_shop, int(shop_id)) if SHOP_ID.fullmatch(shop_id) else None
    role = await context.services.membership.role(shop.id, context.actor) if shop else Role.NONE
    if shop is None or not is_allowed(role, Action.SELECT_SHOP if context.is_private else Action.LINK_CHAT):
        raise PermissionDenied(id=context.actor.id)
    await _link_chat(context, shop)
    await context.edit(context.html("setup.done", shop=shop.name))
    await context.answer_callback("setup.toast", shop=shop.name)


async def settings(context: Context) -> None:
    """Show the shop's settings, or change one."""
    name, value = split_word(context.message.args)
    if name:
        await _change(context, name.lower(), value.lstrip(":= "))
    await context.send(_shown(context), _buttons(context.shop))


async def on_setting(context: Context, said: str) -> None:
    """A button under the settings."""
    name, _, value = said.partition(":")
    await _change(context, name, value)
    await context.edit(_shown(context), _buttons(context.shop))
    await context.answer_callback("settings.saved")


async def _change(context: Context, name: str, value: str) -> None:
    actor, detail = f"user:{context.actor.id}", shop_settings.audit_detail(name, value)
    change = shop_settings.parse_change(name, value)
    changed = await context.db.write(
        shops.update_shop, context.shop.id, change, actor=actor, detail=detail, now=context.now
    )
    context.access = replace(context.access, shop=changed)


async def _open(context: Context, name: str) -> Shop:
    """Create another shop for this chat, with the settings of the present one.

    A chat whose shop has that name keeps it, so that a repeated command creates one shop.

    Raises:
        ChatHasOpenPayments: requests of another shop are open there; nothing was created.
    """
    standing = context.access.shop
    if standing is not None and standing.name == name:
        return standing
    await _check_chat_is_idle(context)
    like = standing or (await context.db.read(shops.list_shops) or [await _first(context)])[0]
    chat_id = context.chat.chat_id
    new = replace(Shop(0, name, like.currency, like.language, like.time_zone), request_limit=like.request_limit)
    actor = f"user:{context.actor.id}"
    return await context.db.write(shops.create_shop, new, now=context.now, chat_id=chat_id, actor=actor)


async def _first(context: Context) -> Shop:
    return await context.services.membership.first_shop(context.actor)


async def _link_chat(context: Context, shop: Shop) -> None:
    """Link the chat to the shop, once nothing of another shop can be sent there any more.

    Raises:
        ChatHasOpenPayments: requests of another shop are open there.
    """
    await _check_chat_is_idle(context, but=shop.id)
    actor = f"user:{context.actor.id}"
    await context.db.write(shops.link_chat, context.chat.chat_id, shop.id, now=context.now, actor=actor)
    context.access = replace(context.access, shop=shop, selectable_shops=())


async def _check_chat_is_idle(context: Context, *, but: int = 0) -> None:
    """Check that nothing of another shop is open or pending in the group."""
    other = await context.db.read(shops.shop_of_chat, context.chat.chat_id)
    if other is None or other.id == but or context.is_private:
        return
    if await context.db.read(payment_queries.count_open_in_chat, other.id, context.chat.chat_id):
        raise ChatHasOpenPayments(shop=other.name)
    since = await context.services.outbox.oldest_created_at(chat_ordering_key(context.chat.chat_id))
    if since is not None and context.now - since > DELAYED_AFTER:
        raise ChatHasPendingMessages(shop=other.name)


def _shown(context: Context) -> SafeHtml:
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
            limit=Money(shop.request_limit, shop.currency),
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
    if shop.accounts or shop.currency == SIE_CURRENCY:
        lines.append(context.html("settings.accounts", accounts=shop.accounts or unset))
    at = context.text("settings.reports_off")
    if shop.report_minute is not None:
        at = i18n.format_clock(context.language, *divmod(shop.report_minute, 60))
    lines.append(context.html("settings.reports", at=at))
    on = "settings.reports_on" if shop.monthly_reports else "settings.reports_off"
    lines.append(context.html("settings.reports_monthly", on=context.text(on)))
    if missing := missing_fields(shop):
        lines.append(context.html("settings.missing", what=", ".join(missing)))
    return SafeHtml("\n".join([*lines, context.html("settings.how")]))


def _buttons(shop: Shop) -> Keyboard:
    """Two rows of buttons for settings with few values; the zones of the four countries below."""

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
    return percentage(context.language, rate)
