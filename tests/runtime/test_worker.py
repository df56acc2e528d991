"""A belt has each mail handled once, also if the machine slept through its lease while it was in hand."""

from __future__ import annotations

import asyncio
from collections import Counter

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.runtime.heartbeats import Heartbeats
from handlers.runtime.worker import LEASE_SECONDS, Worker
from storage.database.database import Database
from storage.job_queue import JobQueue
from storage.models.job import Done, Job, NewJob, Outcome, Retry

NIGHTS, EACH = 12, 10
SPREAD = 0.0004
"""Real seconds between two mails that are done after a night: some are done while the belt claims them anew."""


class Night:
    """Handles mails that nobody is done with before the clock is turned past their lease."""

    def __init__(self, verdict: Outcome) -> None:
        self.handled, self.in_hand = Counter[str](), 0
        self.over, self.all_in_hand = asyncio.Event(), asyncio.Event()
        self._verdict = verdict

    async def handle(self, job: Job) -> Outcome:
        self.handled[job.key] += 1
        self.in_hand += 1
        if self.in_hand == EACH:
            self.all_in_hand.set()
        await self.over.wait()
        await asyncio.sleep(int(job.ordering_key) * SPREAD)
        return self._verdict if self.handled[job.key] == 1 else Done()


async def drained(queue: JobQueue, clock: FakeClock, seconds: float = 0) -> None:
    """Wait until everything is settled, while so many seconds go by again and again."""
    async with asyncio.timeout(30):
        while await queue.depth():
            clock.advance(seconds)
            await asyncio.sleep(0.001)


async def through(db: Database, clock: FakeClock, verdict: Outcome, again: float = 0) -> Counter[str]:
    """How often each mail was handled, night after night."""
    queue, handled = JobQueue(db, "inbox"), Counter[str]()
    for number in range(NIGHTS):
        night = Night(verdict)
        worker = Worker(queue, night.handle, clock, Heartbeats(), outbox=JobQueue(db, "outbox"), on_dead_letter=())
        going = asyncio.create_task(worker.run())
        await queue.enqueue(
            *(NewJob(f"{number}:{lane}", str(lane), "kind", b"") for lane in range(EACH)), now=clock.now()
        )
        await asyncio.wait_for(night.all_in_hand.wait(), 30)
        clock.advance(LEASE_SECONDS + 1)
        night.over.set()
        await drained(queue, clock, again)
        await worker.stop(10)
        await going
        handled += night.handled
    return handled


async def test_what_was_done_as_the_machine_woke_is_not_done_again(db: Database, clock: FakeClock) -> None:
    handled = await through(db, clock, Done())
    assert len(handled) == NIGHTS * EACH
    assert {key: times for key, times in handled.items() if times > 1} == {}


async def test_what_is_to_be_tried_again_is_tried_once_more_and_not_forgotten(db: Database, clock: FakeClock) -> None:
    handled = await through(db, clock, Retry("later", 0))
    assert {*handled.values()} == {2}
