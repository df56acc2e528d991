"""`/pay`: reads the amount, asks back where it can be read in two ways, and asks for the money."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, time
from typing import Any

from handlers import i18n
from handlers.access.permissions import Action
from handlers.amounts.errors import AmountRefused
from handlers.amounts.parser import Ambiguous, Asked, check, parse_request
from handlers.chat import arguments
from handlers.chat.audit_text import state_key
from handlers.chat.context import Context
from handlers.i18n import Safe
from handlers.messages.payment_message import card
from handlers.messages.qr_message import picture_due
from handlers.telegram.messenger import Button
from storage.errors import StillEnding
from storage.models.money import Money
from storage.models.payment import AttemptOutcome, Payment
from storage.payments import Entry
from storage.prompts import Question

EXAMPLES = (14950, 8000)
"""Minor units of the two examples that are shown where no amount was typed."""


async def pay(context: Context) -> None:
    """Ask for money, or show what to type."""
    shop = context.shop
    if not context.said.rest:
        first, second = (i18n.plain_amount(context.language, Money(minor, shop.currency)) for minor in EXAMPLES)
        await context.reply("pay.how", first=first, second=second, currency=shop.currency)
        return
    await request(context)


async def request(context: Context, *, manual: bool = False) -> None:
    """Ask for the money that was typed, once it can be read in one way; `manual`: it is only reserved."""
    shop = context.shop
    reading = parse_request(context.said.rest, default=shop.currency, limit=shop.limit)
    if isinstance(reading, Ambiguous):
        await ask_which(context, reading, manual=manual)
        return
    desk, source = context.desks.payments, context.said.source
    await desk.request(shop, context.place, context.person.id, reading, source=source, manual=manual)


async def offer(context: Context) -> None:
    """Plain words like `125 coffee` in a private chat: offer the request by one button, and do nothing yet."""
    try:
        reading = parse_request(context.said.rest, default=context.shop.currency, limit=context.shop.limit)
    except AmountRefused:
        await context.reply("error.unknown_words")
        return
    choices = reading.choices if isinstance(reading, Ambiguous) else (reading,)
    await _ask(context, choices, "pay.offer")


async def ask_which(context: Context, reading: Ambiguous, *, manual: bool = False) -> None:
    """Ask which of two amounts is meant."""
    await _ask(context, reading.choices, "pay.which", manual=manual)


async def chosen(context: Context, question: Question, choice: int) -> None:
    """Ask for the amount that was chosen; the message that was asked about makes one payment at most.

    Raises:
        AmountRefused: the chosen one cannot be asked for.
    """
    context.require(Action.ASK)
    limit = context.shop.limit
    first = choice if question.answer is None else question.answer
    asked_of(question, first, limit=limit)  # one that is refused leaves the other button to be tapped
    asked = asked_of(question, await context.decided(question, first), limit=limit)
    desk, source = context.desks.payments, question.body["source"]
    manual = question.body.get("manual", False)
    await desk.request(context.shop, question.place, question.user_id, asked, source=source, manual=manual)
    await context.replace(context.html("pay.chosen", amount=asked.money))


def body_of(choices: Sequence[Asked]) -> dict[str, Any]:
    """How the readings of an amount are kept with a question."""
    return {"choices": [{"minor": c.money.minor, "currency": c.money.currency, "text": c.text} for c in choices]}


def asked_of(question: Question, choice: int, *, limit: int) -> Asked:
    """The reading that was chosen.

    Raises:
        AmountRefused: it cannot be asked for.
    """
    said: dict[str, Any] = question.body["choices"][choice]
    asked = Asked(Money(said["minor"], said["currency"]), said["text"])
    check(asked.money, limit=limit)
    return asked


async def _ask(context: Context, choices: tuple[Asked, ...], key: str, *, manual: bool = False) -> None:
    body = {"source": context.said.source, "manual": manual, **body_of(choices)}
    question = await context.ask("which", "pay", body)
    keyboard = tuple(
        (Button(_label(context, asked), data=f"q:{question.id}:{number}"),) for number, asked in enumerate(choices)
    )
    await context.reply(key, keyboard=keyboard)


def _label(context: Context, asked: Asked) -> str:
    amount = i18n.money(context.language, asked.money)
    words = asked.text if len(asked.text) <= 24 else asked.text[:23] + "…"
    return f"{amount} – {words}" if words else amount


async def status(context: Context) -> None:
    """How one payment stands and what happened to it; without a reference, how the shop stands."""
    if not context.said.rest and context.said.answers is None:
        await context.send(await _health(context))
        return
    payment, _ = await arguments.payment(context)
    shop = replace(context.shop, language=context.language)
    refunds = await context.desks.refunds.of_payment(payment.id)
    shown = card(payment, context.desks.looks.view(shop, context.now, refunds)).html
    entries = await context.desks.queries.history(payment.id)
    await context.send(Safe("\n".join([shown, "", *_history(context, entries)])))


async def again(context: Context) -> None:
    """The same request once more, as a payment of its own."""
    before, _ = await arguments.payment(context)
    check(before.amount, limit=context.shop.limit)
    asked = Asked(before.amount, before.text)
    desk, source, manual = context.desks.payments, context.said.source, before.manual_capture
    await desk.request(context.shop, context.place, context.person.id, asked, source=source, manual=manual)


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
        payment = await context.desks.payments.renew(payment.id, user_id=context.person.id, cause=context.key)
    except StillEnding:
        ends_at = payment.attempt.ends_at
        if ends_at is None or ends_at <= context.now:
            raise
        until = i18n.clock_time(context.language, ends_at, context.shop.time_zone)
        await context.toast("error.still_ending_until", alert=True, until=until)
        return
    is_made = payment.attempt.outcome is AttemptOutcome.LIVE
    await context.toast("renew.done" if is_made else "renew.pending")


async def qr_tapped(context: Context, payment: Payment) -> None:
    """The button *QR code* of a card: the code is posted below it."""
    await context.desks.outbox.put(picture_due(payment, key=f"{context.key}:picture"), now=context.now)
    await context.toast("qr.coming")


async def _cancel(context: Context, payment: Payment) -> Payment:
    """A merchant ends what he asked for himself, an admin everything."""
    if payment.created_by != context.person.id:
        context.require(Action.CANCEL_ANY)
    return await context.desks.payments.cancel(payment.id, user_id=context.person.id)


def _history(context: Context, entries: Sequence[Entry]) -> list[str]:
    """A line each time something changed, not each time somebody looked."""
    lines: list[str] = []
    before: tuple[object, ...] = ()
    for entry in entries:
        said = entry.detail
        now = tuple(said.get(name) for name in ("status", "attempt", "outcome", "refund", "refund_status"))
        if now != before:
            at = i18n.moment(context.language, entry.at, context.shop.time_zone)
            lines.append(f"{at} · {_line(context, said)}")
        before = now
    return lines


def _line(context: Context, said: dict[str, Any]) -> Safe:
    """A refund is told with its amount, everything else by where the payment stood then."""
    if "refund" not in said:
        return context.html(state_key(said))
    return context.html(f"history.refund_{said['refund_status']}", amount=Money(said["amount"], said["currency"]))


async def _health(context: Context) -> Safe:
    """Three lines: what is open, what was paid today, and whether everything runs."""
    shop, zone = context.shop, context.shop.zone
    midnight = datetime.combine(context.now.astimezone(zone).date(), time(), zone)
    found = await context.desks.queries.takings(shop.id, midnight)
    paid = ", ".join(f"{i18n.money(context.language, total)} ({number})" for number, total in found.paid)
    silent = context.desks.health.stale(context.now)
    lines = [
        context.html("status.open", count=found.open),
        context.html("status.paid", sums=paid) if paid else context.html("status.paid_nothing"),
        context.html("status.silent", parts=", ".join(silent)) if silent else context.html("status.well"),
    ]
    return Safe("\n".join(lines))
