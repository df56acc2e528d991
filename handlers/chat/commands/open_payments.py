"""`/open`: the open payments, in pages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from handlers import i18n
from handlers.chat.context import Context
from handlers.i18n import SafeHtml
from handlers.messages.payment_message import STATE_ICONS, display_state
from handlers.telegram.messenger import Button, Keyboard
from storage import payment_queries
from storage.models.payment import Payment

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST_DIGITS = 17
"""Digits of the microseconds in a button, which can be forged, until the year 5138."""

PER_PAGE = 8
LONGEST_WORDS = 40


async def open_payments(context: Context) -> None:
    """List the open payments, newest first."""
    said, keyboard = await _page(context, "")
    await context.send(said, keyboard)


async def on_page(context: Context, where: str) -> None:
    """Show another page in the same message."""
    said, keyboard = await _page(context, where)
    await context.edit(said, keyboard)


async def _page(context: Context, where: str) -> tuple[SafeHtml, Keyboard]:
    found = await context.db.read(
        payment_queries.open_payments, context.shop.id, limit=PER_PAGE + 1, before=_read(where)
    )
    if not found:
        return context.html("open.none"), _buttons(context, where, ())
    lines = [context.html("open.head"), *(_line(context, payment) for payment in found[:PER_PAGE])]
    return SafeHtml("\n".join(lines)), _buttons(context, where, found)


def _line(context: Context, payment: Payment) -> str:
    state = display_state(payment, context.now)
    words = (
        payment.description
        if len(payment.description) <= LONGEST_WORDS
        else payment.description[: LONGEST_WORDS - 1] + "…"
    )
    amount = i18n.html_money(context.language, payment.amount)
    said = f"{STATE_ICONS[state]} #{payment.reference} · <b>{amount}</b> · {context.html(f'message.{state}')}"
    return f"{said} · {i18n.escaped(words)}" if words else said


def _buttons(context: Context, where: str, found: Sequence[Payment]) -> Keyboard:
    first = (Button(context.text("open.first"), data="o:"),) if where else ()
    if len(found) <= PER_PAGE:
        return (first,) if first else ()
    return ((*first, Button(context.text("open.next"), data=f"o:{_written(found[PER_PAGE - 1])}")),)


def _written(payment: Payment) -> str:
    """The position at which a page ends, short enough for a button."""
    return f"{(payment.created_at - EPOCH) // timedelta(microseconds=1)}:{payment.id}"


def _read(where: str) -> tuple[datetime, str] | None:
    micros, _, payment_id = where.partition(":")
    if not (micros.isascii() and micros.isdecimal() and len(micros) < MOST_DIGITS):
        return None
    return EPOCH + timedelta(microseconds=int(micros)), payment_id
