"""`/pay`, `/status`, `/again`, `/cancel` and the buttons of a payment message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, time
from typing import Any

from handlers import i18n
from handlers.access.permissions import Action
from handlers.amounts.errors import AmountError
from handlers.amounts.parser import AmbiguousAmount, RequestedAmount, check_amount, parse_request
from handlers.chat import arguments
from handlers.chat.audit_text import state_message_key
from handlers.chat.context import Context
from handlers.i18n import SafeHtml
from handlers.messages.payment_message import payment_message
from handlers.messages.qr_message import qr_message_job
from handlers.telegram.messenger import Button
from storage import payment_queries
from storage.audit_log import AuditEntry
from storage.errors import AttemptStillActive
from storage.models.money import Money
from storage.models.payment import AttemptStatus, Payment
from storage.prompts import Prompt

EXAMPLES = (14950, 8000)
"""Minor units of the two examples that are shown if no amount was typed."""


async def pay(context: Context) -> None:
    """Request a payment, or show what to type."""
    shop = context.shop
    if not context.message.args:
        first, second = (i18n.plain_amount(context.language, Money(minor, shop.currency)) for minor in EXAMPLES)
        await context.reply("pay.how", first=first, second=second, currency=shop.currency)
        return
    await request(context)


async def request(context: Context, *, manual: bool = False) -> None:
    """Request the typed amount if it has one reading; with `manual` it is only reserved."""
    shop = context.shop
    reading = parse_request(context.message.args, default=shop.currency, limit=shop.request_limit)
    if isinstance(reading, AmbiguousAmount):
        await ask_which_amount(context, reading, manual=manual)
        return
    service, request_key = context.services.payments, context.message.request_key
    await service.request(shop, context.chat, context.actor.id, reading, source=request_key, manual=manual)


async def offer_request(context: Context) -> None:
    """Plain text like `125 coffee` in a private chat: offer the request by one button, and do nothing yet."""
    try:
        reading = parse_request(context.message.args, default=context.shop.currency, limit=context.shop.request_limit)
    except AmountError:
        await context.reply("error.unknown_words")
        return
    choices = reading.choices if isinstance(reading, AmbiguousAmount) else (reading,)
    await _ask(context, choices, "pay.offer")


async def ask_which_amount(context: Context, reading: AmbiguousAmount, *, manual: bool = False) -> None:
    """Ask which of two amounts is meant."""
    await _ask(context, reading.choices, "pay.which", manual=manual)


async def on_amount_chosen(context: Context, prompt: Prompt, choice: int) -> None:
    """Request the chosen amount. One question leads to at most one payment.

    Raises:
        AmountError: the amount cannot be requested.
    """
    context.require(Action.REQUEST_PAYMENT)
    limit = context.shop.request_limit
    first = choice if prompt.answer is None else prompt.answer
    choice_from_prompt(prompt, first, limit=limit)  # if rejected, the other button still works
    amount = choice_from_prompt(prompt, await context.record_answer(prompt, first), limit=limit)
    service, request_key = context.services.payments, prompt.payload["source"]
    manual = prompt.payload.get("manual", False)
    await service.request(context.shop, prompt.chat, prompt.user_id, amount, source=request_key, manual=manual)
    await context.edit(context.html("pay.chosen", amount=amount.money))


def choices_payload(choices: Sequence[RequestedAmount]) -> dict[str, Any]:
    """The readings of an amount as a prompt's payload."""
    return {"choices": [{"minor": c.money.minor, "currency": c.money.currency, "text": c.description} for c in choices]}


def choice_from_prompt(prompt: Prompt, choice: int, *, limit: int) -> RequestedAmount:
    """The chosen reading.

    Raises:
        AmountError: it cannot be requested.
    """
    said: dict[str, Any] = prompt.payload["choices"][choice]
    amount = RequestedAmount(Money(said["minor"], said["currency"]), said["text"])
    check_amount(amount.money, limit=limit)
    return amount


async def _ask(context: Context, choices: tuple[RequestedAmount, ...], key: str, *, manual: bool = False) -> None:
    body = {"source": context.message.request_key, "manual": manual, **choices_payload(choices)}
    prompt = await context.prompt("which", "pay", body)
    keyboard = tuple(
        (Button(_label(context, amount), data=f"q:{prompt.id}:{number}"),) for number, amount in enumerate(choices)
    )
    await context.reply(key, keyboard=keyboard)


def _label(context: Context, requested: RequestedAmount) -> str:
    amount, description = i18n.money(context.language, requested.money), requested.description
    shortened = description if len(description) <= 24 else description[:23] + "…"
    return f"{amount} – {shortened}" if shortened else amount


async def status(context: Context) -> None:
    """Show a payment's state and history; without a reference, the shop's summary."""
    if not context.message.args and context.message.reply_to_message_id is None:
        await context.send(await _health(context))
        return
    payment, _ = await arguments.resolve_payment(context)
    shop = replace(context.shop, language=context.language)
    refunds = await context.services.refunds.of_payment(payment.id)
    shown = payment_message(payment, context.services.display.view(shop, context.now, refunds)).html
    entries = await context.db.read(payment_queries.audit_entries, payment.id)
    await context.send(SafeHtml("\n".join([shown, "", *_history(context, entries)])))


async def repeat(context: Context) -> None:
    """Request the same once more, as a payment of its own."""
    before, _ = await arguments.resolve_payment(context)
    check_amount(before.amount, limit=context.shop.request_limit)
    amount = RequestedAmount(before.amount, before.description)
    service, request_key, manual = context.services.payments, context.message.request_key, before.manual_capture
    await service.request(context.shop, context.chat, context.actor.id, amount, source=request_key, manual=manual)


async def cancel(context: Context) -> None:
    """Cancel an open request."""
    payment, _ = await arguments.resolve_payment(context)
    payment = await _cancel(context, payment)
    await context.reply("cancel.done" if payment.is_terminal else "cancel.pending", ref=payment.reference)


async def cancel_tapped(context: Context, payment: Payment) -> None:
    """The *Cancel* button."""
    payment = await _cancel(context, payment)
    await context.answer_callback("cancel.done" if payment.is_terminal else "cancel.pending", ref=payment.reference)


async def on_new_link(context: Context, payment: Payment) -> None:
    """The *New link* button: another attempt of the same intent, or when to try again."""
    try:
        payment = await context.services.payments.renew_link(payment.id, user_id=context.actor.id, cause=context.key)
    except AttemptStillActive:
        ends_at = payment.attempt.expires_at
        if ends_at is None or ends_at <= context.now:
            raise
        until = i18n.format_time(context.language, ends_at, context.shop.time_zone)
        await context.answer_callback("error.attempt_still_active_until", alert=True, until=until)
        return
    is_made = payment.attempt.status is AttemptStatus.ACTIVE
    await context.answer_callback("renew.done" if is_made else "renew.pending")


async def qr_tapped(context: Context, payment: Payment) -> None:
    """The *QR code* button: the code is sent below the payment message."""
    await context.services.outbox.enqueue(qr_message_job(payment, key=f"{context.key}:picture"), now=context.now)
    await context.answer_callback("qr.coming")


async def _cancel(context: Context, payment: Payment) -> Payment:
    """Cancel; a merchant their own requests, an admin any."""
    if payment.created_by != context.actor.id:
        context.require(Action.CANCEL_ANY)
    return await context.services.payments.cancel(payment.id, user_id=context.actor.id)


def _history(context: Context, entries: Sequence[AuditEntry]) -> list[str]:
    """One line per change, not per check."""
    lines: list[str] = []
    before: tuple[object, ...] = ()
    for entry in entries:
        said = entry.detail
        now = tuple(said.get(name) for name in ("status", "attempt", "attempt_status", "refund", "refund_status"))
        if now != before:
            at = i18n.format_datetime(context.language, entry.at, context.shop.time_zone)
            lines.append(f"{at} · {_line(context, said)}")
        before = now
    return lines


def _line(context: Context, said: dict[str, Any]) -> SafeHtml:
    """A line about a refund with its amount, about anything else with the payment's state."""
    if "refund" not in said:
        return context.html(state_message_key(said))
    return context.html(f"history.refund_{said['refund_status']}", amount=Money(said["amount"], said["currency"]))


async def _health(context: Context) -> SafeHtml:
    """Three lines: open requests, received today, and whether everything works."""
    shop, zone = context.shop, context.shop.tzinfo
    midnight = datetime.combine(context.now.astimezone(zone).date(), time(), zone)
    found = await context.db.read(payment_queries.shop_summary, shop.id, midnight)
    paid = ", ".join(f"{i18n.money(context.language, total)} ({number})" for number, total in found.paid)
    parts = ", ".join(context.text(f"part.{name}") for name in context.services.heartbeats.stale(context.now))
    lines = [
        context.html("status.open", count=found.open),
        context.html("status.paid", sums=paid) if paid else context.html("status.paid_nothing"),
        context.html("status.unhealthy", parts=parts) if parts else context.html("status.healthy"),
    ]
    return SafeHtml("\n".join(lines))
