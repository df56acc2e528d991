"""Mails that are put at the same time share a commit, and none that was acknowledged is lost."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from storage.database.database import Database
from storage.errors import DatabaseUnavailable
from storage.job_queue import JobQueue
from storage.models.job import NewJob

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def queue(db: Database) -> JobQueue:
    return JobQueue(db, "inbox")


def draft(key: str, ordering_key: str = "lane", due_at: datetime | None = None) -> NewJob:
    return NewJob(key, ordering_key, "kind", b"body of " + key.encode(), due_at)


async def test_a_hundred_callers_share_a_few_commits(db: Database, queue: JobQueue) -> None:
    await queue.enqueue(draft("first"), now=NOW)
    before = _commits(db.path)
    counts = await asyncio.gather(*(queue.enqueue(draft(f"{number % 90}"), now=NOW) for number in range(100)))
    assert (sum(counts), await queue.depth()) == (90, 91)
    assert 1 <= _commits(db.path) - before <= 5


async def test_more_than_a_statement_takes_are_put_at_once(queue: JobQueue) -> None:
    jobs = [draft(f"{number}") for number in range(1500)]
    assert await queue.enqueue(*jobs, now=NOW) == 1500
    assert await queue.enqueue(*jobs, draft("new"), now=NOW) == 1
    assert await queue.enqueue(now=NOW) == 0


async def test_a_draft_that_cannot_be_kept_hurts_its_own_caller_only(queue: JobQueue) -> None:
    puts = [
        queue.enqueue(draft("a"), now=NOW),
        queue.enqueue(NewJob("\ud800", "l", "k"), now=NOW),
        queue.enqueue(draft("b"), now=NOW),
    ]
    first, bad, last = await asyncio.gather(*puts, return_exceptions=True)
    assert (first, type(bad), last) == (1, UnicodeEncodeError, 1)


@pytest.mark.parametrize("seed", range(5))
async def test_callers_who_leave_disturb_nobody(queue: JobQueue, seed: int) -> None:
    chance = random.Random(seed)
    tasks = [asyncio.create_task(queue.enqueue(draft(f"{number}"), now=NOW)) for number in range(200)]
    for number in chance.sample(range(200), 100):
        await asyncio.sleep(0)
        tasks[number].cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert {outcome for outcome in ended if not isinstance(outcome, asyncio.CancelledError)} == {1}
    assert sum(outcome == 1 for outcome in ended) <= await queue.depth() <= 200


async def test_an_unreachable_database_is_told_to_every_caller(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/nowhere/kvit.db")
    queue = JobQueue(db, "inbox")
    ended = await asyncio.gather(*(queue.enqueue(draft(f"{n}"), now=NOW) for n in range(20)), return_exceptions=True)
    assert {type(outcome) for outcome in ended} == {DatabaseUnavailable}
    await db.close()


PUTTER = """
import asyncio, sys
from datetime import UTC, datetime
from storage.database.database import Database
from storage.job_queue import Mailbox
from storage.models.job import NewJob
async def main():
    db = Database("sqlite:///" + sys.argv[1])
    box = Mailbox(db, "inbox")
    async def put(lane):
        number = 0
        while True:
            number += 1
            key = f"{sys.argv[2]}:{lane}:{number}"
            await box.put(Draft(key, str(lane), "kind", b"x" * 2000), now=datetime(2026, 11, 24, tzinfo=UTC))
            print(key, flush=True)
    await asyncio.gather(*(put(lane) for lane in range(16)))
asyncio.run(main())
"""


async def test_a_killed_process_loses_nothing_it_has_acknowledged(db: Database, queue: JobQueue) -> None:
    acknowledged: set[str] = set()
    for life in range(3):
        command = [sys.executable, "-c", PUTTER, str(db.path), str(life)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as putter:
            assert putter.stdout is not None
            heard = [putter.stdout.readline().strip() for _ in range(200 + 77 * life)]
            putter.send_signal(signal.SIGKILL)
            heard += [line.strip() for line in putter.stdout if line.endswith("\n")]
        acknowledged.update(heard)
    async with db.reading() as tx:
        kept = set((await tx.execute(sa.text("SELECT key FROM jobs"))).scalars())
    assert len(acknowledged) > 600
    assert acknowledged <= kept


def _commits(path: Path) -> int:
    """How many transactions lie in the write-ahead log: a frame that ends one names the size of the database.

    Layout: https://sqlite.org/fileformat2.html#the_write_ahead_log
    """
    log = path.with_name(path.name + "-wal").read_bytes()
    page_size, salt = int.from_bytes(log[8:12], "big"), log[16:24]
    frames = [log[start : start + 24] for start in range(32, len(log), 24 + page_size)]
    return sum(frame[8:16] == salt and frame[4:8] != bytes(4) for frame in frames)
