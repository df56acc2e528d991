"""`python -m bot sweep`: what it says, and how it ends where it cannot be done."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from storage.database.database import Database
from storage.job_queue import JobQueue
from storage.models.job import DeadLetter, NewJob
from tests.support.terminal import Terminal, installed, opened


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    async with installed(tmp_path) as running:
        yield running


async def test_it_says_that_nothing_was_missed(terminal: Terminal) -> None:
    ended = await terminal.run("sweep")
    assert ended.code == 0
    assert ended.said.splitlines() == [
        "Events that no webhook had brought: 0.",
        "Payments and refunds that were due: 0, changed by that: 0.",
    ]


async def test_it_also_says_what_was_tried_again(terminal: Terminal) -> None:
    ended = await terminal.run("sweep", "--poison")
    assert (ended.code, ended.said.splitlines()[-1]) == (0, "Tried again that had been set aside: 0.")


async def test_it_lists_what_waits_for_a_human(terminal: Terminal, tmp_path: Path) -> None:
    at = datetime(2026, 11, 24, 12, tzinfo=UTC)
    db = Database(f"sqlite:///{tmp_path}/kvit.db")
    queue = JobQueue(db, "updates")
    await queue.enqueue(NewJob("7:1", "70010001", "message", b"{}"), now=at)
    [job] = await queue.claim(now=at, limit=1, lease_seconds=60)
    await queue.finish(job, DeadLetter("unreadable: KeyError"), now=at)
    await db.close()
    said = (await terminal.run("sweep")).said.splitlines()
    assert said[-2].startswith("Set aside for a human: 1.")
    assert said[-1] == f"  2026-11-24 12:00 UTC, mail {job.id} of updates (message): unreadable: KeyError"


async def test_it_ends_with_1_where_stripe_refuses_the_key(terminal: Terminal) -> None:
    ended = await terminal.run("sweep", stripe_api_key="sk_test_of_somebody_else")
    assert (ended.code, ended.said) == (1, "")


async def test_it_ends_with_2_where_there_is_no_database(tmp_path: Path) -> None:
    async with opened(tmp_path) as terminal:
        assert (await terminal.run("sweep")).code == 2
        assert (await terminal.run("sweep", telegram_bot_token=None)).code == 2
