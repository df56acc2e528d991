"""Crashes before and after each call that refunds, captures or releases: each happens exactly as often as requested.

`KVIT_STORM=full` crashes at every call of every scenario; `KVIT_SEED=N` repeats the random runs of that seed.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos.crash_runs import (
    FULL,
    REFUND_METHODS,
    Disruption,
    assert_invariants_hold,
    crash_at_any_call,
    play_random_runs,
    random_disruption,
    run,
)
from tests.chaos.refund_scenarios import REFUND_SCENARIOS, REFUNDED
from tests.chaos.scenarios import Scenario
from tests.support.sample import sampled

SAMPLES = 2
PAIRS = 400 if FULL else 8
CALLS_BEFORE_REFUND = 10
"""So many calls before the refund is sent its command is being handled."""


@pytest.mark.timeout(3600 if FULL else 120)
@pytest.mark.parametrize("scenario", sampled({scenario.name: scenario for scenario in REFUND_SCENARIOS}, every=4))
async def test_crash_at_any_late_call_breaks_no_invariant(scenario: Scenario, tmp_path: Path) -> None:
    await crash_at_any_call(tmp_path, scenario, samples=SAMPLES, late=True)


@pytest.mark.long
@pytest.mark.timeout(3600 if FULL else 120)
async def test_two_disruptions_of_a_refund_break_no_invariant(tmp_path: Path) -> None:
    _, calls, _ = await run(tmp_path / "undisturbed", REFUNDED, Disruption())
    rng, first = random.Random(len(REFUND_SCENARIOS)), calls.index("refund") - CALLS_BEFORE_REFUND
    pairs = [random_disruption(rng, len(calls), REFUND_METHODS, 2, first=first) for _ in range(PAIRS)]
    await assert_invariants_hold(tmp_path, [(REFUNDED, pair) for pair in pairs])


@pytest.mark.long
@pytest.mark.timeout(3600 if FULL else 120)
async def test_random_disruptions_break_no_invariant(tmp_path: Path) -> None:
    await play_random_runs(tmp_path, REFUND_SCENARIOS, REFUND_METHODS, runs=200 if FULL else 4)
