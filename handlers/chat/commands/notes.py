"""`/note` and `/settle`: the shop's own text about a payment, and a request that was paid otherwise."""

from __future__ import annotations

from handlers.access.permissions import Action
from handlers.chat import arguments
from handlers.chat.context import Context
from handlers.text_cleaning import clean_text, shorten

REMOVE = "-"
"""The text that removes a note."""

MAX_METHOD = 40
"""Characters of how a request was paid otherwise."""


async def note(context: Context) -> None:
    """Write, replace or remove a payment's note; without a text, show it."""
    payment, rest = await arguments.resolve_payment(context, words=True)
    text = clean_text(rest)
    if not text:
        key = "note.shown" if payment.note else "note.how"
        await context.reply(key, ref=payment.reference, note=payment.note)
        return
    text = "" if text == REMOVE else text
    await context.services.payments.set_note(payment.id, text, user_id=context.actor.id)
    await context.reply("note.saved" if text else "note.removed", ref=payment.reference, note=text)


async def settle(context: Context) -> None:
    """End an open request that was paid in another way, such as in cash; a merchant their own, an admin any."""
    payment, rest = await arguments.resolve_payment(context, words=True)
    how = shorten(clean_text(rest), MAX_METHOD)
    if not how:
        await context.reply("settle.how", ref=payment.reference)
        return
    if payment.created_by != context.actor.id:
        context.require(Action.CANCEL_ANY)
    payment = await context.services.payments.settle(payment.id, how, user_id=context.actor.id)
    key = "settle.done" if payment.is_terminal else "settle.pending"
    await context.reply(key, ref=payment.reference, amount=payment.amount, how=payment.settled_as)
