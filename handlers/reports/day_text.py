"""The sums of a shop's day, week or month in words."""

from __future__ import annotations

from datetime import datetime

from handlers import i18n
from handlers.i18n import SafeHtml, html, text
from handlers.reports.periods import NamedPeriod, parse_period
from storage.models.money import Money
from storage.models.movement import Totals
from storage.models.shop import Shop
from storage.payment_queries import Outstanding
from storage.scheduled_reports import Sums

PERIODS = ("today", "yesterday", "week", "month")
"""The periods that have a name and a button."""


def head(language: str, shop: Shop, period: NamedPeriod, *, now: datetime, livemode: bool) -> SafeHtml:
    """The period by its name and its days, the shop, and whether it is a test."""
    named = (name for name in PERIODS if parse_period(name, now, shop.time_zone) == period)
    name = next((text(language, f"today.{name}") for name in named), None)
    days = [i18n.format_local_date(language, day) for day in sorted({period.first, period.last})]
    parts = [name and f"<b>{i18n.escaped(name)}</b>", i18n.escaped(" – ".join(days)), i18n.escaped(shop.name)]
    test = None if livemode else html(language, "message.test")
    return SafeHtml(" · ".join(part for part in (*parts, test) if part))


def lines(language: str, shop: Shop, sums: Sums) -> list[str]:
    """Six lines for each currency in which there is anything, or of the shop's own; what was paid otherwise apart."""
    moved = {each.received.currency: each for each in sums.totals}
    waiting = {each.open.currency: each for each in sums.outstanding}
    said: list[str] = []
    for currency in sorted(moved.keys() | waiting.keys() | sums.settled.keys()) or [shop.currency]:
        nothing = Money(0, currency)
        day = moved.get(currency, Totals(nothing, 0, nothing, 0, nothing))
        now = waiting.get(currency, Outstanding(0, nothing, 0, nothing))
        said += [
            "",
            html(language, "today.received", amount=day.received, number=day.payments),
            html(language, "today.refunded", amount=day.refunded, number=day.refunds),
            html(language, "today.disputed", amount=day.disputed),
            html(language, "today.net", amount=day.net),
            html(language, "today.reserved", amount=now.reserved, number=now.holds),
            html(language, "today.open", amount=now.open, number=now.requests),
        ]
        if currency in sums.settled:
            number, amount = sums.settled[currency]
            said.append(html(language, "today.settled", amount=amount, number=number))
    return said
