"""Crashes before and after each call, and while vendors fail: every invariant holds afterwards.

`KVIT_STORM=full` crashes at every call of every scenario; `KVIT_SEED=N` repeats the random runs of that seed.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos.crash_runs import (
    FULL,
    METHODS,
    PAY_METHODS,
    Disruption,
    assert_invariants_hold,
    crash_at_any_call,
    play_random_runs,
    random_disruption,
    run,
)
from tests.chaos.scenarios import PAID, SCENARIOS, Scenario

SAMPLES = 6
PAIRS = 400 if FULL else 40


@pytest.mark.timeout(3600 if FULL else 120)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
async def test_crash_at_any_call_breaks_no_invariant(scenario: Scenario, tmp_path: Path) -> None:
    await crash_at_any_call(tmp_path, scenario, samples=SAMPLES)


@pytest.mark.long
@pytest.mark.timeout(3600 if FULL else 120)
async def test_two_disruptions_of_a_payment_break_no_invariant(tmp_path: Path) -> None:
    _, calls, _ = await run(tmp_path / "undisturbed", PAID, Disruption())
    rng = random.Random(len(SCENARIOS))
    pairs = [random_disruption(rng, len(calls), PAY_METHODS, 2) for _ in range(PAIRS)]
    await assert_invariants_hold(tmp_path, [(PAID, pair) for pair in pairs])


@pytest.mark.long
@pytest.mark.timeout(3600 if FULL else 120)
async def test_random_disruptions_break_no_invariant(tmp_path: Path) -> None:
    await play_random_runs(tmp_path, SCENARIOS, METHODS, runs=200 if FULL else 4)
