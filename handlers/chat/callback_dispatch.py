"""Dispatches button presses. Callback data can be forged, so everything is checked against the database."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta

from handlers.access.membership import ChatAccess
from handlers.access.permissions import Action, ChatKind, Trigger, is_allowed, is_available
from handlers.chat.command_dispatch import confirm_late_command, late_keyboard, run_suggested_command
from handlers.chat.context import PROMPT_PREFIX, Context
from handlers.chat.routes import CALLBACKS, PROMPTS, PaymentButton, RefundButton, ShopButton
from handlers.chat.updates import CallbackQuery
from handlers.i18n import SafeHtml, format_datetime
from storage import messages, payment_queries, prompts, shops
from storage.errors import PermissionDenied, UserError
from storage.models.payment import Payment
from storage.models.shop import Role
from storage.prompts import Prompt

log = logging.getLogger(__name__)

QUESTION_LIFE = timedelta(hours=24)


class StaleButton(UserError):
    """The button belongs to nothing that exists here, or it has expired."""

    message_key = "error.stale_button"


class NotYourPrompt(UserError):
    """The prompt was for another person."""

    message_key = "error.not_your_prompt"


class ShopChanged(UserError):
    """The chat was linked to another shop after the prompt was made."""

    message_key = "error.shop_changed"


async def dispatch_callback(context: Context) -> None:
    """Run the handler of a button.

    Raises:
        UserError: shown to the person as an alert.
    """
    prefix, _, rest = context.callback.data.partition(":")
    if context.actor.is_shared_account:
        raise PermissionDenied(id=context.actor.id)
    match CALLBACKS.get(prefix):
        case PaymentButton() as button:
            await button.handler(context, await _payment(context, rest, button.action))
        case RefundButton() as button if context.chat_kind is not ChatKind.INLINE:
            await button.handler(context, rest)
        case _ if context.role is Role.NONE:
            raise PermissionDenied(id=context.actor.id)
        case ShopButton() as button:
            action = button.action if context.is_private else button.group_action or button.action
            context.require(action)
            _refuse_elsewhere(context, action)
            await button.handler(context, rest)
        case _ if prefix == PROMPT_PREFIX:
            await _answer(context, rest)
        case _:
            raise StaleButton


async def _payment(context: Context, payment_id: str, action: Action) -> Payment:
    """The payment of a button under a payment message, if it is the chat's shop's and the person may act on it."""
    payment = await context.db.read(payment_queries.by_id, payment_id)
    if payment is not None and context.chat.inline_message_id is not None:
        await _use_payment_shop(context, payment)
    shop = context.access.shop
    foreign = payment is None or shop is None or payment.shop_id != shop.id
    if foreign or not is_allowed(context.role, action):
        context.denied_payment = payment
    context.require(action)
    _refuse_elsewhere(context, action)
    if payment is None or foreign:
        raise StaleButton
    if context.callback.message_id is not None:
        await context.db.write(
            messages.adopt_message, payment.id, context.chat, context.callback.message_id, now=context.now
        )
    return payment


def _refuse_elsewhere(context: Context, action: Action) -> None:
    """Reject a button that such a chat never shows: it was forged."""
    if not is_available(action, context.chat_kind, Trigger.BUTTON):
        raise StaleButton


async def _use_payment_shop(context: Context, payment: Payment) -> None:
    """Under an inline message the chat names no shop, so the payment's shop is used."""
    if payment.chat.inline_message_id != context.chat.inline_message_id:
        context.denied_payment = payment
        raise StaleButton
    shop = await context.db.read(shops.get_shop, payment.shop_id)
    context.access = ChatAccess(shop, await context.services.membership.role(payment.shop_id, context.actor))


async def _answer(context: Context, rest: str) -> None:
    """Answer a prompt; only the person it was for may, and the first of two answers counts."""
    question_id, _, number = rest.partition(":")
    prompt = await context.db.read(prompts.find, question_id)
    doors = PROMPTS | {
        "late": confirm_late_command,
        "late_press": _confirm_late_press,
        "command": run_suggested_command,
    }
    if context.chat_kind is ChatKind.INLINE:
        raise StaleButton  # no prompt is shown there
    if prompt is None or prompt.chat.chat_id != context.chat.chat_id or prompt.kind not in doors:
        raise StaleButton
    if number not in {str(choice) for choice in range(len(prompt.payload.get("choices", (0, 1))))}:
        raise StaleButton
    if prompt.user_id != context.actor.id:
        raise NotYourPrompt
    if context.access.shop is not None and prompt.payload.get("shop") not in {context.access.shop.id, None}:
        raise ShopChanged
    context.require(Action.VIEW)  # any role; the handler checks the permission for what it does
    if context.now - prompt.created_at > QUESTION_LIFE:
        raise StaleButton
    await doors[prompt.kind](context, prompt, int(number))


async def ask_about_late_press(context: Context, pressed_at: datetime) -> None:
    """Ask whether a button pressed at that time (UTC) is still meant; nothing is done before the answer."""
    pressed = context.callback
    inline_id, shop = context.chat.inline_message_id, context.access.shop
    body = {"data": pressed.data, "message": pressed.message_id, "inline": inline_id}
    prompt = await context.prompt("late", "late_press", body)
    at = format_datetime(context.language, pressed_at, shop.time_zone if shop else "UTC")
    said = context.html("late.ask_press", at=at, about=await _about(context, pressed.data))
    await context.services.outbox.enqueue(
        context.answer_job(said, late_keyboard(context, prompt), name="late"), now=context.now
    )


async def _confirm_late_press(context: Context, prompt: Prompt, choice: int) -> None:
    """Handle the late press after all, as if the button were pressed now, or drop it."""
    if await context.record_answer(prompt, choice):
        await context.edit(context.html("late.dropped"))
        return
    kept, pressed = prompt.payload, context.callback
    chat = replace(pressed.chat, inline_message_id=kept["inline"]) if kept["inline"] else pressed.chat
    access = context.access
    context.update = CallbackQuery(pressed.actor, chat, kept["message"], pressed.query_id, kept["data"])
    try:
        await dispatch_callback(context)
    finally:
        context.update, context.access = pressed, access
    await context.edit(context.html("late.done"))


async def _about(context: Context, data: str) -> SafeHtml:
    """The reference of the payment that a button is about, if it is one of this chat's shop."""
    prefix, _, rest = data.partition(":")
    payment_id: str | None = rest
    match CALLBACKS.get(prefix):
        case PaymentButton():
            pass
        case RefundButton():
            refund = await context.services.refunds.find(rest)
            payment_id = None if refund is None else refund.payment_id
        case _:
            payment_id = None
    payment = None if payment_id is None else await context.db.read(payment_queries.by_id, payment_id)
    if payment is None or context.access.shop is None or payment.shop_id != context.access.shop.id:
        return SafeHtml("")
    return SafeHtml(f" (#{payment.reference})")
