"""`/log`: the audit log, newest first, in pages; of one payment, or of entries that contain some words."""

from __future__ import annotations

import re
from dataclasses import dataclass

from handlers import i18n
from handlers.chat import arguments
from handlers.chat.audit_text import actor_name, describe_entry
from handlers.chat.context import Context
from handlers.i18n import SafeHtml
from handlers.telegram.messenger import Button, Keyboard
from storage import audit_log, installation, payment_queries, shops
from storage.audit_log import AuditEntry, AuditPage
from storage.errors import UserError

PER_PAGE = 10
LONGEST_WORDS = 36
"""Bytes of the searched words at most: they are part of the callback data, which Telegram limits to 64 bytes."""

ROW = re.compile(r"[0-9]{1,15}")
"""A number in callback data; it can be forged, so its length is limited."""


class TooManyWords(UserError):
    """The searched words do not fit into a button."""

    message_key = "error.too_many_words"


@dataclass(frozen=True)
class _Wanted:
    """Which entries: of the payment of a reference, with these words, or all; older than one of them."""

    ref: str = ""
    words: str = ""
    before: int | None = None


async def log(context: Context) -> None:
    """Show the newest entries."""
    said, keyboard = await _page(context, await _wanted(context))
    await context.send(said, keyboard)


async def on_log_page(context: Context, where: str) -> None:
    """Show another page of the same entries in the same message."""
    number, _, rest = where.partition(":")
    ref, _, words = rest.partition(":")
    before = int(number) if ROW.fullmatch(number) else None
    said, keyboard = await _page(context, _Wanted(ref, words, before))
    await context.edit(said, keyboard)


async def _wanted(context: Context) -> _Wanted:
    """What was typed: a reference or a reply names a payment, the rest is searched for.

    A word such as `coffee` also reads as a reference, so only one with a digit has to be one.
    """
    words = context.message.args
    written, replied = arguments.REFERENCE.match(words), await arguments.replied_payment(context)
    if written is not None and (written[1][1].isdigit() or await _named(context, written[1])):
        payment, words = await arguments.resolve_payment(context, words=True)
        return _Wanted(payment.reference, _bounded(words))
    return _Wanted(replied.reference if replied else "", _bounded(words))


async def _named(context: Context, word: str) -> bool:
    return (
        await context.db.read(payment_queries.by_reference, context.shop.id, arguments.normalize_reference(word))
        is not None
    )


def _bounded(words: str) -> str:
    words = " ".join(words.split())
    if len(words.encode(errors="replace")) > LONGEST_WORDS:
        raise TooManyWords
    return words


async def _page(context: Context, wanted: _Wanted) -> tuple[SafeHtml, Keyboard]:
    shop, payment_id = context.shop, None
    if wanted.ref:
        payment = await context.db.read(payment_queries.by_reference, shop.id, wanted.ref)
        payment_id = payment.id if payment else ""
    page = await context.db.read(
        audit_log.get_page, shop.id, limit=PER_PAGE, before=wanted.before, payment_id=payment_id, words=wanted.words
    )
    names = await _names(context) if page.lines else {}
    lines = [_line(context, line, names) for line in page.lines] or [context.html("log.none")]
    return SafeHtml("\n".join([context.html("log.head", shop=shop.name), *lines])), _buttons(context, wanted, page)


async def _names(context: Context) -> dict[int, str]:
    claimed = {one.user_id: one.name for one in await context.db.read(installation.list_claimed_owners)}
    return claimed | {
        member.user_id: member.name for member in await context.db.read(shops.list_members, context.shop.id)
    }


def _line(context: Context, line: AuditEntry, names: dict[int, str]) -> str:
    at = i18n.format_datetime(context.language, line.at, context.shop.time_zone)
    who = i18n.escaped(actor_name(context.language, line.actor, names))
    said = f"{at} · <b>{who}</b> · {describe_entry(context.language, line)}"
    return f"{said} · #{line.reference}" if line.reference else said


def _buttons(context: Context, wanted: _Wanted, page: AuditPage) -> Keyboard:
    """The words come last in the callback data, so nothing in them can be read as another part."""
    rest = f"{wanted.ref}:{wanted.words}"
    first = (Button(context.text("open.first"), data=f"l::{rest}"),) if wanted.before else ()
    older = (Button(context.text("open.next"), data=f"l:{page.next_cursor}:{rest}"),) if page.next_cursor else ()
    return ((*first, *older),) if first or older else ()
