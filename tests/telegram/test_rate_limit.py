"""TelegramRateLimiter: limits per chat, group and overall; idle chats take no memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.telegram.rate_limit import TelegramRateLimiter

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_chat_gets_a_burst_of_three_and_then_one_a_second() -> None:
    limiter = TelegramRateLimiter()
    assert [limiter.acquire(5, NOON) for _ in range(5)] == [0.0, 0.0, 0.0, 1.0, 1.0]
    assert limiter.acquire(5, after(0.4)) == pytest.approx(0.6)
    assert limiter.acquire(5, after(1)) == 0.0
    assert limiter.acquire(5, after(1)) == 1.0


def test_chat_gets_its_burst_again_after_a_pause() -> None:
    limiter = TelegramRateLimiter()
    for _ in range(3):
        limiter.acquire(5, NOON)
    assert [limiter.acquire(5, after(3)) for _ in range(4)] == [0.0, 0.0, 0.0, 1.0]


def test_busy_chat_does_not_delay_another() -> None:
    limiter = TelegramRateLimiter()
    while not limiter.acquire(5, NOON):
        pass
    assert limiter.acquire(6, NOON) == 0.0


def test_overall_limit_is_thirty_a_second() -> None:
    limiter = TelegramRateLimiter()
    assert [limiter.acquire(chat, NOON) for chat in range(1, 31)] == [0.0] * 30
    assert limiter.acquire(31, NOON) == 1.0
    assert limiter.acquire(31, after(1)) == 0.0


def test_group_limit_is_twenty_a_minute() -> None:
    limiter = TelegramRateLimiter()
    assert [limiter.acquire(-5, after(2 * number)) for number in range(20)] == [0.0] * 20
    assert limiter.acquire(-5, after(40)) == 20.0
    assert limiter.acquire(5, after(40)) == 0.0
    assert limiter.acquire(-5, after(60)) == 0.0


def test_rejected_acquire_does_not_count() -> None:
    limiter = TelegramRateLimiter(chat_burst=1)
    assert limiter.acquire(5, NOON) == 0.0
    for _ in range(100):
        assert limiter.acquire(5, after(0.5)) == 0.5
    assert limiter.acquire(5, after(1)) == 0.0


def test_idle_chats_are_removed() -> None:
    limiter = TelegramRateLimiter()
    for number in range(5000):
        assert limiter.acquire(number if number % 2 else -number - 1, after(number / 20)) == 0.0
        assert len(limiter) <= 3 * 60 * 20
    assert limiter.acquire(1, after(1000)) == 0.0
    assert len(limiter) == 1


def test_rejected_chat_is_not_stored() -> None:
    limiter = TelegramRateLimiter(overall=1)
    limiter.acquire(1, NOON)
    for chat in range(2, 100):
        assert limiter.acquire(chat, NOON) == 1.0
    assert len(limiter) == 1


def test_clock_set_back_does_not_block_a_chat() -> None:
    limiter = TelegramRateLimiter()
    for _ in range(3):
        limiter.acquire(5, NOON)
    assert limiter.acquire(5, after(-0.5)) == 1.0
    assert limiter.acquire(5, after(-3600)) == 0.0


def test_limits_can_be_raised() -> None:
    limiter = TelegramRateLimiter(overall=10_000, chat_per_second=5000, chat_burst=4000, group_per_minute=4000)
    assert [limiter.acquire(-5, NOON) for _ in range(4000)] == [0.0] * 4000


@pytest.mark.parametrize("name", ["overall", "chat_per_second", "chat_burst", "group_per_minute"])
def test_limit_of_zero_is_rejected(name: str) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        TelegramRateLimiter(**{name: 0})


def most_within(times: list[float], seconds: float) -> int:
    return max((sum(start <= time < start + seconds - 1e-6 for time in times) for start in times), default=0)


@given(
    st.lists(
        st.tuples(st.sampled_from([1, 2, 3, -1, -2]), st.floats(0, 0.4)),
        min_size=1,
        max_size=150,
    )
)
def test_waiting_for_the_returned_delay_breaks_no_limit(messages: list[tuple[int, float]]) -> None:
    limiter = TelegramRateLimiter(overall=5, chat_per_second=1, chat_burst=3, group_per_minute=8)
    sent: dict[int, list[float]] = {}
    now = 0.0
    for chat, gap in messages:
        now = round(now + gap, 6)
        if wait := limiter.acquire(chat, after(now)):
            now = round(now + wait, 6)
            assert limiter.acquire(chat, after(now)) == 0.0
        sent.setdefault(chat, []).append(now)
    assert most_within([time for times in sent.values() for time in times], 1) <= 5
    for chat, times in sent.items():
        assert most_within(times, 10) <= 3 + 10
        assert most_within(times, 1) <= 3
        assert chat > 0 or most_within(times, 60) <= 8
