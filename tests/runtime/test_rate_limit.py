"""What happened lately is remembered for a while, and never too much of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from handlers.runtime.rate_limit import RecentTimes

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_what_is_too_old_is_forgotten_as_something_new_is_noted() -> None:
    lately = RecentTimes(timedelta(seconds=10))
    lately.set("a", NOW, now=NOW)
    lately.set("b", NOW + timedelta(seconds=5), now=NOW + timedelta(seconds=5))
    lately.set("c", NOW + timedelta(seconds=11), now=NOW + timedelta(seconds=11))
    assert (lately.get("a"), lately.get("b"), len(lately)) == (None, NOW + timedelta(seconds=5), 2)


def test_where_there_is_too_much_the_oldest_goes_and_not_what_was_noted_again() -> None:
    lately = RecentTimes(timedelta(hours=1), most=2)
    for key in ("a", "b", "a", "c"):
        lately.set(key, NOW, now=NOW)
    assert [lately.get(key) for key in ("a", "b", "c")] == [NOW, None, NOW]
