"""Periods of time as people type them: `today`, `2026-11`, `2026-Q4`, `2026-11-01..2026-11-15`, in a shop's time zone.

A period begins and ends at midnight of the shop, so a day may have 23 or 25 hours. Its end is not part of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from storage.errors import UserError
from storage.models.time_zones import zone_or_utc
from storage.movements import Period

LONGEST_PERIOD = timedelta(days=3 * 366)

_WORDS = {
    "today": ("today", "i dag", "idag", "tänään"),
    "yesterday": ("yesterday", "i går", "igår", "eilen"),
    "week": (
        "week",
        "this week",
        "uge",
        "denne uge",
        "vecka",
        "denna vecka",
        "uke",
        "denne uken",
        "denne uka",
        "viikko",
    ),
    "month": ("month", "this month", "måned", "denne måned", "månad", "denna månad", "denne måneden", "kuukausi"),
    "year": ("year", "this year", "år", "i år", "vuosi", "tänä vuonna"),
}
"""The words of five languages for the periods that contain now, and for yesterday."""

_DATE = r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})"
_DAY = re.compile(_DATE)
_RANGE = re.compile(rf"({_DATE})\s*(?:\.\.|…|–|—)\s*({_DATE})")
_MONTH = re.compile(r"([0-9]{4})-([0-9]{1,2})")
_QUARTER = re.compile(r"([0-9]{4})-?[qk]([1-4])", re.IGNORECASE)
_YEAR = re.compile(r"([0-9]{4})")


class UnknownPeriod(UserError):
    """The text names no period; or one that ends before it begins, or is too long."""

    message_key = "error.period"


@dataclass(frozen=True)
class NamedPeriod:
    """A period of whole days: from `first` to `last`, both part of it, in the time zone `zone`."""

    first: date
    last: date
    zone: str

    @property
    def period(self) -> Period:
        """The same as instants, in aware UTC."""
        return Period(_midnight(self.first, self.zone), _midnight(self.last + timedelta(days=1), self.zone))

    @property
    def is_one_day(self) -> bool:
        """Whether it is a single day."""
        return self.first == self.last

    def __str__(self) -> str:
        return f"{self.first}" if self.is_one_day else f"{self.first}..{self.last}"


def parse_period(words: str, now: datetime, zone: str) -> NamedPeriod:
    """The period that is named; without words, today.

    Raises:
        UnknownPeriod: nothing can be read, the end is before the beginning, or it is longer than three years.
    """
    typed, today = " ".join(words.casefold().split()), now.astimezone(zone_or_utc(zone)).date()
    try:
        found = _relative(typed, today) if typed else (today, today)
        found = found or _absolute(typed)
    except (ValueError, OverflowError):
        found = None
    if found is None or found[1] < found[0] or found[1] - found[0] > LONGEST_PERIOD:
        raise UnknownPeriod
    return NamedPeriod(*found, zone)


def last_month(now: datetime, zone: str) -> NamedPeriod:
    """The month before that of `now`."""
    end = now.astimezone(zone_or_utc(zone)).date().replace(day=1) - timedelta(days=1)
    return NamedPeriod(end.replace(day=1), end, zone)


def split_period(words: str, now: datetime, zone: str) -> tuple[NamedPeriod, list[str]]:
    """The period that a text begins or ends with, and its other words; without a period, today.

    Raises:
        UnknownPeriod: it looks like a period and is none.
    """
    parts = words.split()
    for size in range(len(parts), 0, -1):
        for start in {0, len(parts) - size}:
            try:
                found = parse_period(" ".join(parts[start : start + size]), now, zone)
            except UnknownPeriod:
                continue
            return found, parts[:start] + parts[start + size :]
    return parse_period("", now, zone), parts


def _relative(typed: str, today: date) -> tuple[date, date] | None:
    name = next((name for name, words in _WORDS.items() if typed in words), None)
    match name:
        case "today":
            return today, today
        case "yesterday":
            return today - timedelta(days=1), today - timedelta(days=1)
        case "week":
            monday = today - timedelta(days=today.weekday())
            return monday, monday + timedelta(days=6)
        case "month":
            return _months(today.year, today.month, 1)
        case "year":
            return _months(today.year, 1, 12)
        case _:
            return None


def _absolute(typed: str) -> tuple[date, date] | None:
    if found := _RANGE.fullmatch(typed):
        first, last = found[1], found[5]
        return _day(first), _day(last)
    if _DAY.fullmatch(typed):
        return _day(typed), _day(typed)
    if found := _QUARTER.fullmatch(typed):
        return _months(int(found[1]), 3 * int(found[2]) - 2, 3)
    if found := _MONTH.fullmatch(typed):
        return _months(int(found[1]), int(found[2]), 1)
    if found := _YEAR.fullmatch(typed):
        return _months(int(found[1]), 1, 12)
    return None


def _day(typed: str) -> date:
    year, month, day = typed.split("-")
    return date(int(year), int(month), int(day))


def _months(year: int, month: int, number: int) -> tuple[date, date]:
    first, after = date(year, month, 1), date(year + (month + number - 1) // 12, (month + number - 1) % 12 + 1, 1)
    return first, after - timedelta(days=1)


def _midnight(day: date, zone: str) -> datetime:
    return datetime.combine(day, time(), zone_or_utc(zone)).astimezone(UTC)
