"""Delays between attempts."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from handlers.backoff import backoff
from handlers.stripe.retry import retry_delay


def test_backoff_doubles_up_to_its_maximum_however_many_failures_there_were() -> None:
    assert [backoff(failures, first=1, longest=30) for failures in (0, 1, 2, 4, 5, 100_000)] == [1, 2, 4, 16, 30, 30]


def test_backoff_multiplies_by_its_factor() -> None:
    assert [backoff(failures, first=1, longest=100, factor=3) for failures in (0, 1, 2)] == [1, 3, 9]


@given(st.integers(0, 200), st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1, exclude_max=True))
def test_backoff_randomizes_no_more_than_its_jitter(failures: int, jitter: float, chance: float) -> None:
    full = backoff(failures, first=2, longest=60)
    assert full * (1 - jitter) <= backoff(failures, first=2, longest=60, jitter=jitter, chance=chance) <= full


@given(st.text(max_size=20), st.integers(0, 1000))
def test_stripe_retry_delay_is_stable_by_key_and_between_two_seconds_and_five_minutes(key: str, failures: int) -> None:
    delay = retry_delay(key, failures)
    assert timedelta(seconds=2) <= delay <= timedelta(minutes=5)
    assert delay == retry_delay(key, failures)
