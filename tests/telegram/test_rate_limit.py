"""Telegram's limits: never more than allowed, never less than needed, and no memory of idle chats."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.telegram.rate_limit import TelegramRateLimiter

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_a_chat_may_have_three_at_once_and_then_one_a_second() -> None:
    pacing = TelegramRateLimiter()
    assert [pacing.acquire(5, NOON) for _ in range(5)] == [0.0, 0.0, 0.0, 1.0, 1.0]
    assert pacing.acquire(5, after(0.4)) == pytest.approx(0.6)
    assert pacing.acquire(5, after(1)) == 0.0
    assert pacing.acquire(5, after(1)) == 1.0


def test_a_chat_that_was_quiet_may_have_its_burst_again() -> None:
    pacing = TelegramRateLimiter()
    for _ in range(3):
        pacing.acquire(5, NOON)
    assert [pacing.acquire(5, after(3)) for _ in range(4)] == [0.0, 0.0, 0.0, 1.0]


def test_one_busy_chat_does_not_hinder_another() -> None:
    pacing = TelegramRateLimiter()
    while not pacing.acquire(5, NOON):
        pass
    assert pacing.acquire(6, NOON) == 0.0


def test_thirty_a_second_go_out_overall() -> None:
    pacing = TelegramRateLimiter()
    assert [pacing.acquire(chat, NOON) for chat in range(1, 31)] == [0.0] * 30
    assert pacing.acquire(31, NOON) == 1.0
    assert pacing.acquire(31, after(1)) == 0.0


def test_a_group_gets_twenty_a_minute() -> None:
    pacing = TelegramRateLimiter()
    assert [pacing.acquire(-5, after(2 * number)) for number in range(20)] == [0.0] * 20
    assert pacing.acquire(-5, after(40)) == 20.0
    assert pacing.acquire(5, after(40)) == 0.0
    assert pacing.acquire(-5, after(60)) == 0.0


def test_asking_takes_no_place() -> None:
    pacing = TelegramRateLimiter(chat_burst=1)
    assert pacing.acquire(5, NOON) == 0.0
    for _ in range(100):
        assert pacing.acquire(5, after(0.5)) == 0.5
    assert pacing.acquire(5, after(1)) == 0.0


def test_idle_chats_are_forgotten() -> None:
    pacing = TelegramRateLimiter()
    for number in range(5000):
        assert pacing.acquire(number if number % 2 else -number - 1, after(number / 20)) == 0.0
        assert len(pacing) <= 3 * 60 * 20
    assert pacing.acquire(1, after(1000)) == 0.0
    assert len(pacing) == 1


def test_a_chat_that_only_asks_is_not_remembered() -> None:
    pacing = TelegramRateLimiter(overall=1)
    pacing.acquire(1, NOON)
    for chat in range(2, 100):
        assert pacing.acquire(chat, NOON) == 1.0
    assert len(pacing) == 1


def test_a_clock_that_was_set_back_does_not_silence_the_bot() -> None:
    pacing = TelegramRateLimiter()
    for _ in range(3):
        pacing.acquire(5, NOON)
    assert pacing.acquire(5, after(-0.5)) == 1.0
    assert pacing.acquire(5, after(-3600)) == 0.0


def test_higher_limits_can_be_set() -> None:
    pacing = TelegramRateLimiter(overall=10_000, chat_per_second=5000, chat_burst=4000, group_per_minute=4000)
    assert [pacing.acquire(-5, NOON) for _ in range(4000)] == [0.0] * 4000


@pytest.mark.parametrize("name", ["overall", "chat_per_second", "chat_burst", "group_per_minute"])
def test_a_limit_of_nothing_is_refused(name: str) -> None:
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
def test_who_waits_as_told_gets_a_place_and_no_limit_is_broken(wishes: list[tuple[int, float]]) -> None:
    pacing = TelegramRateLimiter(overall=5, chat_per_second=1, chat_burst=3, group_per_minute=8)
    sent: dict[int, list[float]] = {}
    now = 0.0
    for chat, gap in wishes:
        now = round(now + gap, 6)
        if wait := pacing.acquire(chat, after(now)):
            now = round(now + wait, 6)
            assert pacing.acquire(chat, after(now)) == 0.0
        sent.setdefault(chat, []).append(now)
    assert most_within([time for times in sent.values() for time in times], 1) <= 5
    for chat, times in sent.items():
        assert most_within(times, 10) <= 3 + 10
        assert most_within(times, 1) <= 3
        assert chat > 0 or most_within(times, 60) <= 8
