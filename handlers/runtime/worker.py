"""The belts' engine: claims mail, has it handled side by side, settles it, and never lets one mail stop the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from structlog.contextvars import bound_contextvars

from handlers.clock import Clock
from handlers.runtime.concurrency import gather_all, wait_first
from handlers.runtime.heartbeats import Heartbeats
from storage.errors import DatabaseUnavailable
from storage.job_queue import JobQueue
from storage.models.job import DeadLetter, Done, Job, NewJob, Outcome, Retry, Snooze

log = logging.getLogger(__name__)

Handle = Callable[[Job], Awaitable[Outcome]]
OnSetAside = Callable[[Job, str], Awaitable[Sequence[NewJob]]]
"""What is to be said when a mail is set aside: it is put into the outbox by the commit that sets it aside."""

Settled = Callable[[Job, Outcome, datetime], None]

CONCURRENCY = 16
LEASE_SECONDS = 120.0
JOB_TIMEOUT = 100.0
POLL_INTERVAL = 15.0
"""Seconds without a look at the box: a sign of life, and the net under a bell that was missed."""

MAX_ATTEMPTS = 3


def _unseen(mail: Job, verdict: Outcome, now: datetime) -> None:
    """Nobody counts."""


class Worker:
    """One box and what is done with its mail. Mails of one lane are handled one after the other."""

    def __init__(
        self,
        queue: JobQueue,
        handle: Handle,
        clock: Clock,
        heartbeats: Heartbeats,
        *,
        concurrency: int = CONCURRENCY,
        lease_seconds: float = LEASE_SECONDS,
        outbox: JobQueue,
        on_dead_letter: Sequence[OnSetAside],
        on_finished: Settled = _unseen,
    ) -> None:
        """`handle` returns a verdict; what it raises is tried again `MOST_TRIES` times, then put aside for a human.

        `outbox` takes what `set_aside` has to say about that.
        """
        self._queue = queue
        self._handle = handle
        self._clock = clock
        self._heartbeats = heartbeats
        self._concurrency = concurrency
        self._lease_seconds = lease_seconds
        self._outbox = outbox
        self._set_aside = on_dead_letter
        self._settled = on_finished
        self._busy: set[asyncio.Task[None]] = set()
        self._held: dict[int, Job] = {}
        self._claimed = asyncio.Event()
        self._claimed.set()
        self._stopping = False
        heartbeats.register(queue.queue, within_seconds=POLL_INTERVAL * 8)

    async def run(self) -> None:
        """Handle mail as it comes, until `stop`."""
        while not self._stopping:
            try:
                await self._claim_batch()
            except DatabaseUnavailable as error:
                log.warning("the belt %s waits: %s", self._queue.queue, error)
                await asyncio.sleep(1)

    async def drain(self) -> int:
        """Handle everything that is due now, and return how many mails that were."""
        handled = 0
        while jobs := await self._queue.claim(
            now=self._clock.now(), limit=self._concurrency, lease_seconds=self._lease_seconds
        ):
            self._held |= {job.id: job for job in jobs}
            await gather_all([self._process(job) for job in jobs])
            handled += len(jobs)
        return handled

    async def stop(self, seconds: float) -> None:
        """Claim nothing more and let what is in hand be finished, within `seconds`."""
        self._stopping = True
        self._queue.notify()
        if self._busy:
            await asyncio.wait(self._busy, timeout=seconds)

    async def _claim_batch(self) -> None:
        self._heartbeats.beat(self._queue.queue, self._clock.now())
        free = self._concurrency - len(self._busy)
        if free <= 0:
            await asyncio.wait(self._busy, timeout=POLL_INTERVAL, return_when=asyncio.FIRST_COMPLETED)
            return
        self._claimed.clear()
        try:
            jobs = await self._queue.claim(now=self._clock.now(), limit=free, lease_seconds=self._lease_seconds)
            for job in jobs:
                is_new = job.id not in self._held
                self._held[job.id] = job
                if is_new:  # or its lease ran out while we work on it: this one is ours as well
                    task = asyncio.create_task(self._process(job))
                    self._busy.add(task)
                    task.add_done_callback(self._busy.discard)
        finally:
            self._claimed.set()
        if len(jobs) < free and not self._stopping:  # whatever comes now rings the bell
            await self._wait_for_work()

    async def _wait_for_work(self) -> None:
        """Wait for new mail, or until the next one is due."""
        due = await self._queue.next_due()
        left = POLL_INTERVAL if due is None else (due - self._clock.now()).total_seconds()
        await wait_first(self._queue.wait(), self._clock.sleep(max(0.0, min(left, POLL_INTERVAL))))

    async def _process(self, job: Job) -> None:
        with bound_contextvars(queue=job.queue, job=job.id):
            verdict = await self._run_handler(job)
            try:
                words = await self._dead_letter_jobs(job, verdict.reason) if isinstance(verdict, DeadLetter) else ()
                now = self._clock.now()
                settled = await self._finish(job.id, verdict, words, now)
            except DatabaseUnavailable as error:
                log.warning("mail %s could not be settled, it comes again: %s", job.id, error)
                return
            finally:
                self._held.pop(job.id, None)
            self._settled(job, verdict, now)
            if settled and isinstance(verdict, Done):
                log.info("%s is done", job.kind)
            if settled and isinstance(verdict, DeadLetter):
                log.error("mail %s (%s) was set aside: %s", job.id, job.kind, verdict.reason)

    async def _finish(self, number: int, verdict: Outcome, words: Sequence[NewJob], now: datetime) -> bool:
        """Settle it by the lease that we hold; False if it is another's by now.

        Where a lease ran out (the machine slept), a claim of ours may be renewing it at this moment; whatever was done
        is then settled by the new one, and not done again.
        """
        while True:
            held = self._held[number]
            settled = await self._queue.finish(
                held, verdict, now=now, in_transaction=lambda tx: self._outbox.enqueue_in(tx, *words, now=now)
            )
            if not settled:
                await self._claimed.wait()
            if settled or self._held[number] is held:
                return settled

    async def _run_handler(self, job: Job) -> Outcome:
        try:
            async with asyncio.timeout(JOB_TIMEOUT):
                return await self._handle(job)
        except DatabaseUnavailable as error:
            log.warning("mail %s waits for the database: %s", job.id, error)
            return Snooze(2.0)
        except Exception as error:
            log.exception("mail %s (%s) failed", job.id, job.kind)
            if job.attempts + 1 >= MAX_ATTEMPTS:
                return DeadLetter(f"{type(error).__name__} in {MAX_ATTEMPTS} tries")
            return Retry(type(error).__name__, 1.0 + job.attempts * 2)

    async def _dead_letter_jobs(self, job: Job, reason: str) -> Sequence[NewJob]:
        """What is to be said of a mail that is set aside; who cannot say it does not hinder the others."""
        words: list[NewJob] = []
        for say in self._set_aside:
            try:
                words += await say(job, reason)
            except DatabaseUnavailable:
                raise
            except Exception:
                log.exception("somebody cannot be told that mail %s is set aside", job.id)
        return words
