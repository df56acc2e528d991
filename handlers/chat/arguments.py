"""Arguments of commands: a reference, or the payment message that the command replies to."""

from __future__ import annotations

import re

from handlers.chat.context import Context
from storage import payment_queries
from storage.errors import UnknownPayment, UserError
from storage.models.payment import Payment

AROUND = r"[^\w\s+\-−–—€$£¥¤%‰]*"
"""Punctuation and invisible characters around a word; no sign, which could belong to an amount."""

BEFORE_REFERENCE = r"(?:[^\w\s€$£¥¤%‰]|_)*+\s?(?:[^\w\s€$£¥¤%‰]|_)*+"
"""The same before a reference: an amount does not start with a letter, so a dash or an arrow is punctuation there."""

BEHIND_REFERENCE = r"(?:[^\w\s+\-−–—€$£¥¤%‰]|_)*"
REFERENCE = re.compile(
    rf"{BEFORE_REFERENCE}\s?([A-Za-z][0-9OoIiLl][0-9A-Za-z]{{2,6}}){BEHIND_REFERENCE}(?:[-–—]+(?=\s*$))?(?=\s|$)"
)
LOOKALIKES = str.maketrans("OIL", "011")
"""Crockford's alphabet reads these letters as the digits they look like."""


WORD = re.compile(r"[\w+\-−–—€$£¥¤%‰]")
BLANKS = " \t\n\r\u00a0\u200b\u2060\ufeff"
SPACE = re.compile(r"[\s\u200b\u2060\ufeff]+")


MAX_REFERENCES = 3
"""References in a message that a command replies to; a list names more, and no payment in particular."""


class PaymentNotSpecified(UserError):
    """Neither a reference nor a reply to a payment message names the payment."""

    message_key = "error.payment_not_specified"


class ReferenceMismatch(UserError):
    """The reference names another payment than the payment message that the command replies to."""

    message_key = "error.reference_mismatch"


def names_no_payment(context: Context) -> bool:
    """Whether the command stands alone: no text, and no message that it replies to."""
    return not WORD.search(context.message.args) and context.message.reply_to_message_id is None


async def resolve_payment(context: Context, *, words: bool = False) -> tuple[Payment, str]:
    """The payment that a command is about, and the remaining text; text is accepted only with `words`.

    In a reply, text that is no reference counts as a mistyped one if the command takes no other text.

    Raises:
        PaymentNotSpecified, ReferenceMismatch, UnknownPayment.
    """
    rest = context.message.args if WORD.search(context.message.args) else ""
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


def split_word(args: str) -> tuple[str, str]:
    """The first word without punctuation around it, and the text after it; any white space separates them."""
    word, *rest = SPACE.split(args.strip(BLANKS), maxsplit=1)
    return bare(word), rest[0].strip() if rest else ""


def bare(word: str) -> str:
    """The word without punctuation and invisible characters around it."""
    return re.sub(rf"^{AROUND}|{AROUND}$", "", word.strip(BLANKS))


def normalize_reference(ref: str) -> str:
    """A reference as people type it, in the stored form."""
    ref = ref.upper()
    return ref[0] + ref[1:].translate(LOOKALIKES)


async def replied_payment(context: Context) -> Payment | None:
    """The payment that the message is about to which the command replies: the payment message, or another of this bot.

    None if it replies to none, or to one that names several payments.
    """
    message, shop = context.message, context.shop
    if message.reply_to_message_id is None:
        return None
    payment = await context.db.read(
        payment_queries.by_message, shop.id, context.chat.chat_id, message.reply_to_message_id
    )
    if payment is not None or not context.replies_to_us or len(message.reply_to_references) > MAX_REFERENCES:
        return payment
    found = [
        named
        for reference in message.reply_to_references
        if (named := await context.db.read(payment_queries.by_reference, shop.id, reference)) is not None
    ]
    return found[0] if len(found) == 1 else None
