"""Text after a command as typed arguments: a reference, or the card that the command replies to."""

from __future__ import annotations

import re

from handlers.chat.context import Context
from storage.errors import PaymentError, UnknownPayment
from storage.models.payment import Payment

REF = re.compile(r"#?([A-Za-z][0-9OoIiLl][0-9A-Za-z]{2,6})(?=\s|$)")
LOOKALIKES = str.maketrans("OIL", "011")
"""Crockford's alphabet reads these letters as the digits they look like."""


class WhichPayment(PaymentError):
    """Neither a reference nor a reply to a card says which payment is meant."""

    code = "error.which_payment"


class RefDiffers(PaymentError):
    """The reference is of another payment than the card that the command replies to."""

    code = "error.ref_differs"


async def payment(context: Context, *, words: bool = False) -> tuple[Payment, str]:
    """The payment that a command is about, and what else was written; only with `words` is that something.

    In a reply, words that are no reference are taken for one that was mistyped, where the command has no other.

    Raises:
        WhichPayment, RefDiffers, UnknownPayment.
    """
    rest = context.said.rest
    written = REF.match(rest)
    replied = await replied_to(context)
    if written is None:
        if replied is None:
            raise UnknownPayment if rest else WhichPayment(example="K7F3")
        if rest.startswith("#") or (rest and not words):
            raise UnknownPayment
        return replied, rest
    found = await context.desks.queries.by_ref(context.shop.id, as_stored(written[1]))
    if found is None:
        raise UnknownPayment
    if replied is not None and replied.id != found.id:
        raise RefDiffers(written=found.ref, card=replied.ref)
    return found, context.said.rest[written.end() :].strip()


def as_stored(ref: str) -> str:
    """A reference as people type it, in the form it is kept in."""
    ref = ref.upper()
    return ref[0] + ref[1:].translate(LOOKALIKES)


async def replied_to(context: Context) -> Payment | None:
    """The payment whose card the command replies to; None where it replies to no card."""
    if context.said.answers is None:
        return None
    return await context.desks.queries.by_message(context.shop.id, context.place.chat_id, context.said.answers)
