"""Kvit dies before and after each call by which money goes back, is taken or let go: each happens as often as wanted.

`KVIT_TORTURE=full` tries every call of every story; `KVIT_SEED=N` plays the random runs of that seed again.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos.refund_stories import MONEY_OUT, REFUNDED
from tests.chaos.stories import Story
from tests.chaos.storm_judge import FULL, OUT, Trouble, die_anywhere, play_by_chance, run, survives, together
from tests.support.sample import sampled

PLACES = 2
PAIRS = 400 if FULL else 8
BEFORE = 10
"""So many calls before the first to Stripe's refunds the command for one is on its way."""


@pytest.mark.timeout(3600 if FULL else 120)
@pytest.mark.parametrize("story", sampled({story.name: story for story in MONEY_OUT}, every=4))
async def test_a_death_at_any_call_leaves_every_invariant_whole(story: Story, tmp_path: Path) -> None:
    await die_anywhere(tmp_path, story, places=PLACES, late=True)


@pytest.mark.timeout(3600 if FULL else 120)
async def test_two_troubles_at_once_leave_a_refund_as_whole_as_none(tmp_path: Path) -> None:
    _, calls, _ = await run(tmp_path / "clean", REFUNDED, Trouble())
    chance, first = random.Random(len(MONEY_OUT)), calls.index("refund") - BEFORE
    pairs = [together(chance, len(calls), OUT, 2, first=first) for _ in range(PAIRS)]
    await survives(tmp_path, [(REFUNDED, pair) for pair in pairs])


@pytest.mark.long
@pytest.mark.timeout(3600 if FULL else 120)
async def test_chance_finds_no_way_to_break_an_invariant(tmp_path: Path) -> None:
    await play_by_chance(tmp_path, MONEY_OUT, OUT, runs=200 if FULL else 4)
