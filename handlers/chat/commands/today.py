"""`/today`: what a shop received, refunded and has outstanding, and its last payments; other periods by button."""

from __future__ import annotations

from handlers.chat.commands.payment_list import payment_buttons, read_position, write_position
from handlers.chat.context import Context
from handlers.i18n import SafeHtml
from handlers.reports import day_text
from handlers.reports.periods import NamedPeriod, UnknownPeriod, parse_period
from handlers.telegram.messenger import Button, Keyboard
from storage import payment_queries, scheduled_reports

PER_PAGE = 10
FIRST_YEAR, LAST_YEAR = 2000, 2200
"""The years of a period in a button, which can be forged."""


async def show_today(context: Context) -> None:
    """Show the present day."""
    said, keyboard = await _page(context, "today")
    await context.send(said, keyboard)


async def on_period(context: Context, wanted: str) -> None:
    """Show another period, or another page of its payments, in the same message."""
    said, keyboard = await _page(context, wanted)
    await context.edit(said, keyboard)


async def _page(context: Context, wanted: str) -> tuple[SafeHtml, Keyboard]:
    shop, livemode = context.shop, context.services.livemode
    name, _, place = wanted.partition(":")
    shown, before = _read(context, name), read_position(place)
    sums = await context.db.read(scheduled_reports.read_sums, shop.id, shown.period, livemode=livemode)
    found = await context.db.read(
        payment_queries.payments_of_period,
        shop.id,
        shown.period,
        livemode=livemode,
        limit=PER_PAGE + 1,
        before=before,
    )
    head = day_text.head(context.language, shop, shown, now=context.now, livemode=livemode)
    last = context.html("today.last" if found else "today.none")
    lines = [head, *day_text.lines(context.language, shop, sums), "", last]
    listed = payment_buttons(context, found[:PER_PAGE], with_day=not shown.is_one_day)
    pages = (Button(context.text("open.first"), data=f"d:{shown}"),) if before else ()
    if len(found) > PER_PAGE:
        end = write_position(payment_queries.position(found[PER_PAGE - 1]))
        pages = (*pages, Button(context.text("open.next"), data=f"d:{shown}:{end}"))
    rows = (*listed, pages) if pages else listed
    return SafeHtml("\n".join(lines)), (*rows, _other_periods(context, shown))


def _other_periods(context: Context, shown: NamedPeriod) -> tuple[Button, ...]:
    others = [name for name in day_text.PERIODS if parse_period(name, context.now, context.shop.time_zone) != shown]
    return tuple(Button(context.text(f"today.{name}"), data=f"d:{name}") for name in others)


def _read(context: Context, name: str) -> NamedPeriod:
    """The period of a button: by its name, or by its days, so that its pages stay the same when the day ends.

    Today if it cannot be read.
    """
    zone = context.shop.time_zone
    try:
        found = parse_period(name, context.now, zone)
    except UnknownPeriod:
        return parse_period("", context.now, zone)
    is_sane = FIRST_YEAR <= found.first.year <= found.last.year <= LAST_YEAR
    return found if is_sane else parse_period("", context.now, zone)
