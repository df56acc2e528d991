"""Lists of payments as buttons, and what a person can do with one payment that they opened."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from handlers import i18n
from handlers.access.permissions import Action, is_allowed
from handlers.chat.context import Context
from handlers.messages.payment_message import LONGEST_COPY, STATE_ICONS, display_state, page_url, receipt_url
from handlers.telegram.messenger import Button, Keyboard
from handlers.text_cleaning import shorten
from storage import payment_queries
from storage.errors import UnknownPayment
from storage.models.payment import Payment

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_DIGITS = 17
"""Digits of the microseconds in a button, which can be forged, until the year 5138."""

PER_ROW = 4
"""Buttons with a reference in one row."""

MAX_DESCRIPTION = 40
"""Characters of a payment's text in a button."""


def payment_buttons(context: Context, payments: Sequence[Payment], *, with_day: bool) -> Keyboard:
    """One button per payment that opens it: its state, time (and day), amount and text."""
    return tuple((Button(_label(context, payment, with_day), data=f"p:{payment.id}"),) for payment in payments)


def payment_line(context: Context, payment: Payment) -> str:
    """A line about a payment: its state, reference, amount and text."""
    state = _state(context, payment)
    amount = i18n.html_money(context.language, payment.amount)
    said = f"{STATE_ICONS[state]} #{payment.reference} · <b>{amount}</b> · {context.html(f'message.{state}')}"
    description = shorten(payment.description, MAX_DESCRIPTION)
    return f"{said} · {i18n.escaped(description)}" if description else said


def reference_buttons(payments: Sequence[Payment]) -> Keyboard:
    """One button per payment of a list of lines; it opens the payment."""
    buttons = [Button(f"#{payment.reference}", data=f"p:{payment.id}") for payment in payments]
    return tuple(tuple(buttons[at : at + PER_ROW]) for at in range(0, len(buttons), PER_ROW))


async def get_payment(context: Context, payment_id: str) -> Payment:
    """The payment of a button of a list, if it is one of this shop's; the button can be forged.

    Raises:
        UnknownPayment: it is not.
    """
    payment = await context.db.read(payment_queries.by_id, payment_id)
    if payment is None or payment.shop_id != context.shop.id:
        context.denied_payment = payment
        raise UnknownPayment
    return payment


def details_keyboard(context: Context, payment: Payment) -> Keyboard:
    """*Receipt*, *Copy link* and *Refund…* of an opened payment, as far as they make sense and the person may."""
    page = page_url(context.services.display.public_url, payment)
    row: list[Button] = []
    if page and payment.amount_received:
        row.append(Button(context.text("button.receipt"), url=receipt_url(page)))
    if (link := page or _usable_link(context, payment)) and len(link) <= LONGEST_COPY:
        row.append(Button(context.text("button.copy"), copy=link))
    if payment.refundable and is_allowed(context.role, Action.REQUEST_REFUND):
        row.append(Button(context.text("button.refund_some"), data=f"rf:{payment.id}"))
    return (tuple(row),) if row else ()


def write_position(place: tuple[datetime, str]) -> str:
    """The position at which a page ends, short enough for a button."""
    at, payment_id = place
    return f"{(at - EPOCH) // timedelta(microseconds=1)}:{payment_id}"


def read_position(written: str) -> tuple[datetime, str] | None:
    """The position that a button carries; None if it carries none."""
    micros, _, payment_id = written.partition(":")
    if not (micros.isascii() and micros.isdecimal() and len(micros) < MAX_DIGITS):
        return None
    return EPOCH + timedelta(microseconds=int(micros)), payment_id


def _state(context: Context, payment: Payment) -> str:
    """The state in a list, where an expired link needs no word while the page works."""
    state = display_state(payment, context.now, has_pages=context.services.display.public_url is not None)
    return "ready" if state == "waiting" else state


def _usable_link(context: Context, payment: Payment) -> str | None:
    """Stripe's link while a customer may be given it."""
    can_be_paid = payment.is_payable and payment.attempt.has_usable_link(context.now)
    return payment.attempt.redirect_url if can_be_paid else None


def _label(context: Context, payment: Payment, with_day: bool) -> str:
    state, at = _state(context, payment), payment_queries.position(payment)[0]
    zone, language = context.shop.time_zone, context.language
    day = f"{i18n.format_day(language, at, zone)} " if with_day else ""
    parts = [
        f"{STATE_ICONS[state]} {day}{i18n.format_time(language, at, zone)}",
        i18n.money(language, payment.amount),
        context.text(f"message.{state}"),
        shorten(payment.description, MAX_DESCRIPTION),
    ]
    return " · ".join(part for part in parts if part)
