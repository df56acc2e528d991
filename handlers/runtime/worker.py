"""The queue worker: claims jobs, runs a handler on several at once, and stores each outcome."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from structlog.contextvars import bound_contextvars

from handlers.backoff import backoff
from handlers.clock import Clock
from handlers.runtime.concurrency import gather_all, wait_first
from handlers.runtime.heartbeats import Heartbeats
from storage.errors import DatabaseUnavailable
from storage.job_queue import JobQueue
from storage.models.job import DeadLetter, Done, Job, NewJob, Outcome, Retry, Snooze

log = logging.getLogger(__name__)

Handler = Callable[[Job], Awaitable[Outcome]]

OnDeadLetter = Callable[[Job, str], Awaitable[Sequence[NewJob]]]
"""Returns the messages about a dead job and its reason. They are enqueued in the transaction that dead-letters it."""

OnFinished = Callable[[Job, Outcome, datetime], None]

CONCURRENCY = 16
LEASE_SECONDS = 120.0
JOB_TIMEOUT_SECONDS = 100.0
"""Less than the lease, so that a handler has ended before another worker can claim its job."""

POLL_INTERVAL_SECONDS = 15.0
"""The longest time without a claim: keeps the heartbeat fresh, and finds jobs whose wake-up event was missed."""

DATABASE_RETRY_SECONDS = 1.0
MAX_ATTEMPTS = 3
"""Attempts of a job whose handler raises an exception."""


class Worker:
    """Works off one queue. Jobs with the same ordering key run one at a time, in order of creation."""

    def __init__(
        self,
        queue: JobQueue,
        handle: Handler,
        clock: Clock,
        heartbeats: Heartbeats,
        *,
        concurrency: int = CONCURRENCY,
        lease_seconds: float = LEASE_SECONDS,
        outbox: JobQueue,
        on_dead_letter: Sequence[OnDeadLetter],
        on_finished: OnFinished,
    ) -> None:
        """`handle` returns the outcome of a job. If it raises, the job is retried, and dead-lettered after
        `MAX_ATTEMPTS`.

        `outbox` takes the messages that `on_dead_letter` returns. `on_finished` is called once a job's outcome is
        stored.
        """
        self._queue = queue
        self._handle = handle
        self._clock = clock
        self._heartbeats = heartbeats
        self._concurrency = concurrency
        self._lease_seconds = lease_seconds
        self._outbox = outbox
        self._on_dead_letter = on_dead_letter
        self._on_finished = on_finished
        self._running: set[asyncio.Task[None]] = set()
        self._held: dict[int, Job] = {}
        self._no_claim_running = asyncio.Event()
        self._no_claim_running.set()
        self._stopping = False
        heartbeats.register(queue.queue, stale_after_seconds=POLL_INTERVAL_SECONDS * 8)

    async def run(self) -> None:
        """Works until `stop` is called."""
        while not self._stopping:
            try:
                await self._claim_batch()
            except DatabaseUnavailable as error:
                log.warning("worker %s waits for the database: %s", self._queue.queue, error)
                await asyncio.sleep(DATABASE_RETRY_SECONDS)

    async def drain(self) -> int:
        """Works off all jobs that are due now, and returns how many those were."""
        handled = 0
        while jobs := await self._queue.claim(
            now=self._clock.now(), limit=self._concurrency, lease_seconds=self._lease_seconds
        ):
            self._held |= {job.id: job for job in jobs}
            await gather_all([self._process(job) for job in jobs])
            handled += len(jobs)
        return handled

    async def stop(self, timeout_seconds: float) -> None:
        """Claims no more jobs, and waits for the running ones for at most `timeout_seconds`."""
        self._stopping = True
        self._queue.notify()
        if self._running:
            await asyncio.wait(self._running, timeout=timeout_seconds)

    async def _claim_batch(self) -> None:
        self._heartbeats.beat(self._queue.queue, self._clock.now())
        free = self._concurrency - len(self._running)
        if free <= 0:
            await asyncio.wait(self._running, timeout=POLL_INTERVAL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            return
        self._no_claim_running.clear()
        try:
            jobs = await self._queue.claim(now=self._clock.now(), limit=free, lease_seconds=self._lease_seconds)
            for job in jobs:
                is_new = job.id not in self._held
                self._held[job.id] = job
                if is_new:  # otherwise its lease ran out while the handler runs: this claim renewed it
                    task = asyncio.create_task(self._process(job))
                    self._running.add(task)
                    task.add_done_callback(self._running.discard)
        finally:
            self._no_claim_running.set()
        if len(jobs) < free and not self._stopping:  # a job enqueued from now on sets the wake-up event
            await self._wait_for_work()

    async def _wait_for_work(self) -> None:
        """Returns when a job was enqueued or the next one is due, at the latest after the poll interval."""
        due_at = await self._queue.next_due(self._clock.now())
        left = POLL_INTERVAL_SECONDS if due_at is None else (due_at - self._clock.now()).total_seconds()
        await wait_first(self._queue.wait(), self._clock.sleep(max(0.0, min(left, POLL_INTERVAL_SECONDS))))

    async def _process(self, job: Job) -> None:
        with bound_contextvars(queue=job.queue, job=job.id):
            outcome = await self._run_handler(job)
            try:
                messages = await self._dead_letter_jobs(job, outcome.reason) if isinstance(outcome, DeadLetter) else ()
                now = self._clock.now()
                stored = await self._finish(job.id, outcome, messages, now)
            except DatabaseUnavailable as error:
                log.warning("the outcome of job %s could not be stored, it will run again: %s", job.id, error)
                return
            finally:
                self._held.pop(job.id, None)
            self._on_finished(job, outcome, now)
            if stored and isinstance(outcome, Done):
                log.info("%s is done", job.kind)
            if stored and isinstance(outcome, DeadLetter):
                log.error("job %s (%s) is dead-lettered: %s", job.id, job.kind, outcome.reason)

    async def _finish(self, job_id: int, outcome: Outcome, messages: Sequence[NewJob], now: datetime) -> bool:
        """Stores the outcome under this worker's lease; False if the lease is another worker's by now.

        After the machine slept, a claim of this worker may be renewing the lease at this moment. The outcome is then
        stored under the renewed lease, and the job does not run twice.
        """
        while True:
            held = self._held[job_id]
            stored = await self._queue.finish(
                held, outcome, now=now, in_transaction=lambda tx: self._outbox.enqueue_in(tx, *messages, now=now)
            )
            if not stored:
                await self._no_claim_running.wait()
            if stored or self._held[job_id] is held:
                return stored

    async def _run_handler(self, job: Job) -> Outcome:
        try:
            async with asyncio.timeout(JOB_TIMEOUT_SECONDS):
                return await self._handle(job)
        except DatabaseUnavailable as error:
            log.warning("job %s waits for the database: %s", job.id, error)
            return Snooze(2.0)
        except Exception as error:
            log.exception("job %s (%s) failed", job.id, job.kind)
            if job.attempts + 1 >= MAX_ATTEMPTS:
                return DeadLetter(f"{type(error).__name__} in {MAX_ATTEMPTS} attempts")
            return Retry(type(error).__name__, backoff(job.attempts, first=1.0, factor=3.0, longest=3.0))

    async def _dead_letter_jobs(self, job: Job, reason: str) -> Sequence[NewJob]:
        """The messages about a dead job. An exception in one callback does not keep the others from adding theirs."""
        messages: list[NewJob] = []
        for on_dead_letter in self._on_dead_letter:
            try:
                messages += await on_dead_letter(job, reason)
            except DatabaseUnavailable:
                raise
            except Exception:
                log.exception("no message about dead job %s", job.id)
        return messages
