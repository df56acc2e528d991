"""Jobs that are enqueued at the same time share commits, and none is lost once its `enqueue` has returned."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from storage.database.database import Database
from storage.errors import DatabaseUnavailable
from storage.job_queue import JobQueue
from storage.models.job import NewJob
from tests.storage.programs import command
from tests.storage.units_of_work import count_commits

pytestmark = pytest.mark.sqlite

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def queue(db: Database) -> JobQueue:
    return JobQueue(db, "inbox")


def new_job(key: str, ordering_key: str = "chat", scheduled_at: datetime | None = None) -> NewJob:
    return NewJob(key, ordering_key, "kind", b"payload of " + key.encode(), scheduled_at)


async def test_concurrent_enqueues_share_a_few_commits(db: Database, queue: JobQueue) -> None:
    await queue.enqueue(new_job("first"), now=NOW)
    before = count_commits(db.path)
    counts = await asyncio.gather(*(queue.enqueue(new_job(f"{number % 90}"), now=NOW) for number in range(100)))
    assert (sum(counts), await queue.depth()) == (90, 91)
    assert 1 <= count_commits(db.path) - before <= 5


async def test_enqueue_takes_more_jobs_than_one_statement_does(queue: JobQueue) -> None:
    jobs = [new_job(f"{number}") for number in range(1500)]
    assert await queue.enqueue(*jobs, now=NOW) == 1500
    assert await queue.enqueue(*jobs, new_job("new"), now=NOW) == 1
    assert await queue.enqueue(now=NOW) == 0


async def test_job_that_cannot_be_stored_fails_its_own_caller_only(queue: JobQueue) -> None:
    calls = [
        queue.enqueue(new_job("a"), now=NOW),
        queue.enqueue(NewJob("\ud800", "l", "k"), now=NOW),
        queue.enqueue(new_job("b"), now=NOW),
    ]
    first, bad, last = await asyncio.gather(*calls, return_exceptions=True)
    assert (first, type(bad), last) == (1, UnicodeEncodeError, 1)


@pytest.mark.parametrize("seed", range(5))
async def test_cancelled_enqueues_disturb_no_other_caller(db: Database, queue: JobQueue, seed: int) -> None:
    chance = random.Random(seed)
    tasks = [asyncio.create_task(queue.enqueue(new_job(f"{number}"), now=NOW)) for number in range(200)]
    for number in chance.sample(range(200), 100):
        await asyncio.sleep(0)
        tasks[number].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {outcome for outcome in outcomes if not isinstance(outcome, asyncio.CancelledError)} == {1}
    assert await queue.enqueue(new_job("last"), now=NOW) == 1  # those that had begun are finished now
    stored = await db.read(stored_keys)
    assert {f"{index}" for index, outcome in enumerate(outcomes) if outcome == 1} | {"last"} <= stored
    assert len(stored) == await queue.depth() <= 201


async def test_every_caller_learns_that_the_database_is_unavailable(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/nowhere/kvit.db")
    queue = JobQueue(db, "inbox")
    calls = [queue.enqueue(new_job(f"{index}"), now=NOW) for index in range(20)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [DatabaseUnavailable] * 20
    await db.close()


async def test_killed_process_loses_no_job_whose_enqueue_returned(db: Database, queue: JobQueue) -> None:
    returned: set[str] = set()
    for life in range(3):
        program = command("enqueue_until_killed", db.path, life)
        with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(200 + 77 * life)]
            process.send_signal(signal.SIGKILL)
            lines += [line for line in process.stdout if line.endswith("\n")]
        returned.update(line.strip() for line in lines)
    assert len(returned) > 600
    assert returned <= await db.read(stored_keys)


def stored_keys(tx: sa.Connection) -> set[str]:
    """The keys of all jobs."""
    return set(tx.execute(sa.text("SELECT key FROM jobs")).scalars())
