"""`/open`: the open payments, in pages; each can be opened."""

from __future__ import annotations

from collections.abc import Sequence

from handlers.chat.commands.payment_list import (
    payment_line,
    read_position,
    reference_buttons,
    write_position,
)
from handlers.chat.context import Context
from handlers.i18n import SafeHtml
from handlers.telegram.messenger import Button, Keyboard
from storage import payment_queries
from storage.models.payment import Payment

PER_PAGE = 8


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
        payment_queries.open_payments, context.shop.id, limit=PER_PAGE + 1, before=read_position(where)
    )
    if not found:
        return context.html("open.none"), _buttons(context, where, ())
    lines = [context.html("open.head"), *(payment_line(context, payment) for payment in found[:PER_PAGE])]
    return SafeHtml("\n".join(lines)), _buttons(context, where, found)


def _buttons(context: Context, where: str, found: Sequence[Payment]) -> Keyboard:
    pages = (Button(context.text("open.first"), data="o:"),) if where else ()
    if len(found) > PER_PAGE:
        last = found[PER_PAGE - 1]
        pages = (*pages, Button(context.text("open.next"), data=f"o:{write_position((last.created_at, last.id))}"))
    listed = reference_buttons(found[:PER_PAGE])
    return (*listed, pages) if pages else listed
