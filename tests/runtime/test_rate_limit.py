"""Rate limits by sliding windows, and maps of recent times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from handlers.sliding_window import RateLimiter, RecentTimes, SlidingWindow

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_sliding_window_that_is_full_allows_the_next_event_when_the_oldest_leaves_it() -> None:
    window = SlidingWindow(2, timedelta(seconds=10))
    window.add(NOW)
    window.add(after(4))
    assert (window.wait(after(4)), window.wait(after(10))) == (timedelta(seconds=6), timedelta(0))
    assert (window.is_idle(after(13)), window.is_idle(after(14))) == (False, True)


def test_rate_limiter_counts_each_key_by_itself_and_only_what_it_allowed() -> None:
    limiter = RateLimiter(2, 10)
    assert [limiter.acquire("a", after(second)) for second in (0, 4, 5, 10, 11)] == [0, 0, 5, 0, 3]
    assert limiter.acquire("b", after(11)) == 0


def test_rate_limiter_drops_the_least_recently_used_keys_beyond_its_maximum() -> None:
    limiter = RateLimiter(1, 60, max_keys=10)
    for number in range(1000):
        assert limiter.acquire(f"key {number}", NOW) == 0
    assert len(limiter) <= 10
    assert limiter.acquire("key 999", NOW) == 60
    assert limiter.acquire("key 999", after(59)) == 1
    assert limiter.acquire("key 999", after(60)) == 0


def test_recent_times_drop_expired_entries_when_a_new_one_is_set() -> None:
    times = RecentTimes(timedelta(seconds=10))
    times.set("a", NOW, now=NOW)
    times.set("b", after(5), now=after(5))
    times.set("c", after(11), now=after(11))
    assert (times.get("a"), times.get("b"), len(times)) == (None, after(5), 2)


def test_recent_times_that_are_full_drop_the_entry_that_was_set_longest_ago() -> None:
    times = RecentTimes(timedelta(hours=1), max_keys=2)
    for key in ("a", "b", "a", "c"):
        times.set(key, NOW, now=NOW)
    assert [times.get(key) for key in ("a", "b", "c")] == [NOW, None, NOW]
