"""Kvit dies before and after each of its calls, and while its vendors fail: whatever happens, every invariant holds.

`KVIT_TORTURE=full` tries every call of every story; `KVIT_SEED=N` plays the random runs of that seed again.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos.stories import PAID, STORIES, Story
from tests.chaos.storm_judge import (
    FULL,
    METHODS,
    ON_PAY,
    Trouble,
    die_anywhere,
    play_by_chance,
    run,
    survives,
    together,
)

PLACES = 6
PAIRS = 400 if FULL else 40


@pytest.mark.timeout(3600 if FULL else 120)
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
async def test_a_death_at_any_call_leaves_every_invariant_whole(story: Story, tmp_path: Path) -> None:
    await die_anywhere(tmp_path, story, places=PLACES)


@pytest.mark.timeout(3600 if FULL else 120)
async def test_two_troubles_at_once_leave_a_request_as_whole_as_none(tmp_path: Path) -> None:
    _, calls, _ = await run(tmp_path / "clean", PAID, Trouble())
    chance = random.Random(len(STORIES))
    await survives(tmp_path, [(PAID, together(chance, len(calls), ON_PAY, 2)) for _ in range(PAIRS)])


@pytest.mark.long
@pytest.mark.timeout(3600 if FULL else 120)
async def test_chance_finds_no_way_to_break_an_invariant(tmp_path: Path) -> None:
    await play_by_chance(tmp_path, STORIES, METHODS, runs=200 if FULL else 4)
