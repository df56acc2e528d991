"""What is done with a request that stands: its state and history, its end, a fresh link."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, time

from handlers import i18n
from handlers.cards import View, card
from handlers.chat import arguments
from handlers.chat.context import Context
from handlers.i18n import Safe
from storage.amounts import Asked, check
from storage.errors import NotAllowed, StillEnding
from storage.ledger import Entry
from storage.payment import Payment, PaymentStatus
from storage.people import Role


async def status(context: Context) -> None:
    """How one payment stands and what happened to it; without a reference, how the shop stands."""
    if not context.said.rest and context.said.answers is None:
        await context.send(await _health(context))
        return
    payment, _ = await arguments.payment(context)
    shop = replace(context.shop, language=context.language)
    wallet = i18n.wallet(context.desks.wallet_name, context.now, shop.time_zone)
    shown = card(payment, View(shop, context.now, wallet)).html
    entries = await context.desks.queries.history(payment.id)
    await context.send(Safe("\n".join([shown, "", *_history(context, entries)])))


async def again(context: Context) -> None:
    """The same request once more, as a payment of its own."""
    before, _ = await arguments.payment(context)
    check(before.amount, limit=context.shop.limit)
    asked = Asked(before.amount, before.text)
    desk = context.desks.payments
    await desk.request(context.shop, context.place, context.person.id, asked, source=context.said.source)


async def cancel(context: Context) -> None:
    """End an open request."""
    payment, _ = await arguments.payment(context)
    payment = await _cancel(context, payment)
    await context.reply("cancel.done" if payment.is_final else "cancel.pending", ref=payment.ref)


async def cancel_tapped(context: Context, payment: Payment) -> None:
    """The button *Cancel* of a card."""
    payment = await _cancel(context, payment)
    await context.toast("cancel.done" if payment.is_final else "cancel.pending", ref=payment.ref)


async def new_link_tapped(context: Context, payment: Payment) -> None:
    """The button *New link* of a card: a fresh attempt of the same intent, or when to try again."""
    try:
        await context.desks.payments.renew(payment.id, user_id=context.person.id, cause=context.key)
    except StillEnding:
        ends_at = payment.attempt.ends_at
        if ends_at is None or ends_at <= context.now:
            raise
        until = i18n.clock_time(context.language, ends_at, context.shop.time_zone)
        await context.toast("error.still_ending_until", alert=True, until=until)
        return
    await context.toast("renew.done")


async def _cancel(context: Context, payment: Payment) -> Payment:
    """A merchant ends what he asked for himself, an admin everything."""
    if context.role < Role.ADMIN and payment.created_by != context.person.id:
        raise NotAllowed(id=context.person.id)
    return await context.desks.payments.cancel(payment.id, user_id=context.person.id)


def _history(context: Context, entries: Sequence[Entry]) -> list[str]:
    """A line each time something changed, not each time somebody looked."""
    lines: list[str] = []
    before: tuple[object, ...] = ()
    for entry in entries:
        now = (entry.detail.get("status"), entry.detail.get("attempt"), entry.detail.get("outcome"))
        if now != before:
            at = i18n.moment(context.language, entry.at, context.shop.time_zone)
            lines.append(f"{at} · {context.html(_word(entry))}")
        before = now
    return lines


def _word(entry: Entry) -> str:
    status, outcome = entry.detail.get("status"), entry.detail.get("outcome")
    if status in {PaymentStatus.CREATED, PaymentStatus.OPEN}:
        return f"history.{outcome}"
    return f"history.{status}_now"


async def _health(context: Context) -> Safe:
    """Three lines: what is open, what was paid today, and whether everything runs."""
    shop, zone = context.shop, context.shop.zone
    midnight = datetime.combine(context.now.astimezone(zone).date(), time(), zone)
    found = await context.desks.queries.standing(shop.id, midnight)
    paid = ", ".join(f"{i18n.money(context.language, total)} ({number})" for number, total in found.paid)
    silent = context.desks.health.stale(context.now)
    lines = [
        context.html("status.open", count=found.open),
        context.html("status.paid", sums=paid) if paid else context.html("status.paid_nothing"),
        context.html("status.silent", parts=", ".join(silent)) if silent else context.html("status.well"),
    ]
    return Safe("\n".join(lines))
