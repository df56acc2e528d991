"""A worker runs each job once, also when the machine slept through its lease."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.runtime.heartbeats import Heartbeats
from handlers.runtime.worker import LEASE_SECONDS, Worker
from storage.database.database import Database
from storage.job_queue import JobQueue
from storage.models.job import Done, Job, NewJob, Outcome, Retry

ROUNDS, JOBS_PER_ROUND = 12, 10
SPREAD_SECONDS = 0.0004
"""Real seconds between the ends of two handlers: some end while the worker renews the leases of the others."""


class LeaseExpiry:
    """A handler whose first calls end only after the leases of their jobs have expired."""

    def __init__(self, first_outcome: Outcome) -> None:
        self.runs, self.running = Counter[str](), 0
        self.expired, self.all_running = asyncio.Event(), asyncio.Event()
        self._first_outcome = first_outcome

    async def handle(self, job: Job) -> Outcome:
        self.runs[job.key] += 1
        self.running += 1
        if self.running == JOBS_PER_ROUND:
            self.all_running.set()
        await self.expired.wait()
        await asyncio.sleep(int(job.ordering_key) * SPREAD_SECONDS)
        return self._first_outcome if self.runs[job.key] == 1 else Done()


def ignore(job: Job, outcome: Outcome, now: datetime) -> None:
    """An `on_finished` that counts nothing."""


async def wait_until_empty(queue: JobQueue, clock: FakeClock, step_seconds: float) -> None:
    """Returns when no job is pending; turns the clock by `step_seconds` until then."""
    async with asyncio.timeout(30):
        while await queue.depth():
            clock.advance(step_seconds)
            await asyncio.sleep(0.001)


async def runs_by_job(db: Database, clock: FakeClock, first_outcome: Outcome, step_seconds: float = 0) -> Counter[str]:
    """How often each job ran, over several rounds in which all leases expire."""
    queue, runs = JobQueue(db, "inbox"), Counter[str]()
    for number in range(ROUNDS):
        expiry = LeaseExpiry(first_outcome)
        worker = Worker(
            queue,
            expiry.handle,
            clock,
            Heartbeats(),
            outbox=JobQueue(db, "outbox"),
            on_dead_letter=(),
            on_finished=ignore,
        )
        running = asyncio.create_task(worker.run())
        await queue.enqueue(
            *(NewJob(f"{number}:{key}", str(key), "kind", b"") for key in range(JOBS_PER_ROUND)), now=clock.now()
        )
        await asyncio.wait_for(expiry.all_running.wait(), 30)
        clock.advance(LEASE_SECONDS + 1)
        expiry.expired.set()
        await wait_until_empty(queue, clock, step_seconds)
        await worker.stop(10)
        await running
        runs += expiry.runs
    return runs


async def test_job_finished_after_lease_expiry_is_not_run_again(db: Database, clock: FakeClock) -> None:
    runs = await runs_by_job(db, clock, Done())
    assert len(runs) == ROUNDS * JOBS_PER_ROUND
    assert {key: times for key, times in runs.items() if times > 1} == {}


async def test_job_retried_after_lease_expiry_is_run_once_more(db: Database, clock: FakeClock) -> None:
    runs = await runs_by_job(db, clock, Retry("later", 0))
    assert {*runs.values()} == {2}
