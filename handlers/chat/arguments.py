"""Arguments of commands: a reference, or the payment message that the command replies to."""

from __future__ import annotations

import re

from handlers.chat.context import Context
from storage import payment_queries
from storage.errors import UnknownPayment, UserError
from storage.models.payment import Payment

REFERENCE = re.compile(r"#?([A-Za-z][0-9OoIiLl][0-9A-Za-z]{2,6})(?=\s|$)")
LOOKALIKES = str.maketrans("OIL", "011")
"""Crockford's alphabet reads these letters as the digits they look like."""


class PaymentNotSpecified(UserError):
    """Neither a reference nor a reply to a payment message names the payment."""

    message_key = "error.payment_not_specified"


class ReferenceMismatch(UserError):
    """The reference names another payment than the payment message that the command replies to."""

    message_key = "error.reference_mismatch"


async def resolve_payment(context: Context, *, words: bool = False) -> tuple[Payment, str]:
    """The payment that a command is about, and the remaining text; text is accepted only with `words`.

    In a reply, text that is no reference counts as a mistyped one if the command takes no other text.

    Raises:
        PaymentNotSpecified, ReferenceMismatch, UnknownPayment.
    """
    rest = context.message.args
    written = REFERENCE.match(rest)
    replied = await replied_payment(context)
    if written is None:
        if replied is None:
            raise UnknownPayment if rest else PaymentNotSpecified(example="K7F3")
        if rest.startswith("#") or (rest and not words):
            raise UnknownPayment
        return replied, rest
    found = await context.db.read(payment_queries.by_reference, context.shop.id, normalize_reference(written[1]))
    if found is None:
        raise UnknownPayment
    if replied is not None and replied.id != found.id:
        raise ReferenceMismatch(written=found.reference, replied=replied.reference)
    return found, context.message.args[written.end() :].strip()


def normalize_reference(ref: str) -> str:
    """A reference as people type it, in the stored form."""
    ref = ref.upper()
    return ref[0] + ref[1:].translate(LOOKALIKES)


async def replied_payment(context: Context) -> Payment | None:
    """The payment whose message the command replies to; None if it replies to none."""
    if context.message.reply_to_message_id is None:
        return None
    return await context.db.read(
        payment_queries.by_message, context.shop.id, context.chat.chat_id, context.message.reply_to_message_id
    )
