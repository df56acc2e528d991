"""Periods as people type them, in the shop's time zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.reports.periods import LONGEST_PERIOD, NamedPeriod, UnknownPeriod, parse_period, split_period

ZONE = "Europe/Copenhagen"
NOW = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)
"""In Copenhagen it is already the first of December, a Tuesday."""


@pytest.mark.parametrize(
    ("words", "first", "last"),
    [
        ("", "2026-12-01", "2026-12-01"),
        ("today", "2026-12-01", "2026-12-01"),
        ("I DAG", "2026-12-01", "2026-12-01"),
        ("tänään", "2026-12-01", "2026-12-01"),
        ("yesterday", "2026-11-30", "2026-11-30"),
        ("i  går", "2026-11-30", "2026-11-30"),
        ("week", "2026-11-30", "2026-12-06"),
        ("uge", "2026-11-30", "2026-12-06"),
        ("month", "2026-12-01", "2026-12-31"),
        ("år", "2026-01-01", "2026-12-31"),
        ("2026-11", "2026-11-01", "2026-11-30"),
        ("2028-2", "2028-02-01", "2028-02-29"),
        ("2026-Q4", "2026-10-01", "2026-12-31"),
        ("2026-q1", "2026-01-01", "2026-03-31"),
        ("2026", "2026-01-01", "2026-12-31"),
        ("2026-11-05", "2026-11-05", "2026-11-05"),
        ("2026-11-05..2026-11-09", "2026-11-05", "2026-11-09"),
        ("2026-11-05 … 2026-11-09", "2026-11-05", "2026-11-09"),
    ],
)
def test_period_is_read(words: str, first: str, last: str) -> None:
    assert parse_period(words, NOW, ZONE) == NamedPeriod(date.fromisoformat(first), date.fromisoformat(last), ZONE)


@pytest.mark.parametrize(
    "words",
    [
        *("coffee", "2026-13", "2026-00", "2026-Q5", "2026-02-30", "2026-11-09..2026-11-05", "2020..2026", "0000"),
        *("9999", "٢٠٢٦", "2026-11-05..", "..2026-11-05", "2020-01-01..2026-01-01", "-1", "2026-11-05/2026-11-06"),
    ],
)
def test_other_text_is_no_period(words: str) -> None:
    with pytest.raises(UnknownPeriod):
        parse_period(words, NOW, ZONE)


@pytest.mark.parametrize(
    ("words", "period", "rest"),
    [
        ("", "2026-12-01", []),
        ("csv", "2026-12-01", ["csv"]),
        ("i går xlsx", "2026-11-30", ["xlsx"]),
        ("xlsx 2026-11", "2026-11-01..2026-11-30", ["xlsx"]),
        ("2026-11-05 .. 2026-11-09 csv", "2026-11-05..2026-11-09", ["csv"]),
    ],
)
def test_period_is_found_among_other_words(words: str, period: str, rest: list[str]) -> None:
    found, others = split_period(words, NOW, ZONE)
    assert (str(found), others) == (period, rest)


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-10-26", 24)])
def test_day_has_the_hours_of_its_zone(day: str, hours: int) -> None:
    period = parse_period(day, NOW, ZONE).period
    assert period.until - period.since == timedelta(hours=hours)


def test_period_of_an_unknown_zone_is_utc() -> None:
    assert parse_period("2026-11-30", NOW, "Mars/Olympus").period.since == datetime(2026, 11, 30, tzinfo=UTC)


@given(st.dates(date(1990, 1, 1), date(2090, 1, 1)), st.integers(0, LONGEST_PERIOD.days))
def test_adjacent_periods_leave_no_gap_and_do_not_overlap(first: date, days: int) -> None:
    last = first + timedelta(days=days)
    before, after = parse_period(f"{first}..{last}", NOW, ZONE), parse_period(f"{last + timedelta(days=1)}", NOW, ZONE)
    assert before.period.until == after.period.since
