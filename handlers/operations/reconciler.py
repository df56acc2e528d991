"""The reconciler: checks whatever is due, so that lost events, crashes and outages leave nothing unfinished."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from structlog.contextvars import bound_contextvars

from handlers.clock import Clock
from handlers.operations.alerts import Alerts
from handlers.operations.scheduled_reports import ScheduledReports
from handlers.payments.sync import PaymentSync
from handlers.refunds.sync import RefundSync
from handlers.runtime.concurrency import gather_all, wait_first
from handlers.runtime.heartbeats import Heartbeats
from handlers.runtime.worker import Worker
from handlers.sliding_window import RecentTimes
from handlers.stripe_events.backfill import EventBackfill
from storage import messages, payment_queries, prompts
from storage.database.database import Database
from storage.errors import DatabaseUnavailable
from storage.job_queue import JobQueue
from storage.models.job import DeadJob
from storage.models.payment import AttemptStatus, Payment
from storage.payments import PaymentRepository
from storage.refunds import RefundRepository

log = logging.getLogger(__name__)

SIDE_BY_SIDE = 8
AT_A_TIME = 100
NAME = "reconciler"
JOB_RETENTION = timedelta(days=8)
"""How long done jobs keep their key, and prompts are kept; Telegram repeats an update for a day."""

EVENTS_KEPT = timedelta(days=31)
"""The same for Stripe's events: Stripe repeats one for three days, and lists it for 30."""

DEAD_JOB_RETENTION = timedelta(days=92)
"""How long a dead job is kept for an operator; Stripe lists its events for 30 days."""

BETWEEN_TIDYING = timedelta(hours=1)
SOONEST = 0.2
AGED_KEPT = timedelta(hours=1)
"""How long it remembers that a message was shown without its link; forgetting costs one edit."""

OnChecked = Callable[[Payment, Payment], None]


class Reconciler:
    """Checks payments and refunds at the time that each carries; there is no other recovery."""

    def __init__(
        self,
        db: Database,
        sync: PaymentSync,
        payments: PaymentRepository,
        clock: Clock,
        heartbeats: Heartbeats,
        *,
        queues: Mapping[JobQueue, timedelta],
        alerts: Alerts,
        refunds: DueRefunds,
        reports: ScheduledReports,
        wake_up: asyncio.Event,
        seconds: float,
        on_checked: OnChecked,
    ) -> None:
        """`wake_up` is set when a payment changed; `seconds` is the longest time between two runs.

        `queues` gives how long each keeps done jobs. `on_checked` gets each payment before and after its check.
        """
        self._sync = sync
        self._payments = payments
        self._db = db
        self._clock = clock
        self._heartbeats = heartbeats
        self._seconds = seconds
        self._on_checked = on_checked
        self._queues = queues
        self._alerts = alerts
        self._refunds = refunds
        self._reports = reports
        self._wake_up = wake_up
        self.changed_count = 0
        self._tidied: datetime | None = None
        self._aged = RecentTimes(AGED_KEPT)
        heartbeats.register(NAME, stale_after_seconds=seconds * 3 + 120)

    async def run_once(self) -> int:
        """Check everything that is due now; returns the number of payments and refunds."""
        attended = 0
        while due := await self._due_work():
            with bound_contextvars(part=NAME):
                await gather_all(due)
            attended += len(due)
            self._heartbeats.beat(NAME, self._clock.now())
        await self._reports.send_due()
        self._heartbeats.beat(NAME, self._clock.now())
        return attended

    async def _due_work(self) -> list[Coroutine[Any, Any, None]]:
        """The work that is due now, with a limit on how much runs at a time."""
        turns = asyncio.Semaphore(SIDE_BY_SIDE)
        payments = await self._db.read(payment_queries.due, self._clock.now(), limit=AT_A_TIME)
        refunds = await self._refunds.due(limit=AT_A_TIME)
        work = [self._check_payment(payment_id, turns) for payment_id in payments]
        return work + [self._check_refund(refund_id, turns) for refund_id in refunds]

    async def run(self) -> None:
        """Run when something is due, and at least every interval."""
        while True:
            try:
                await self.run_once()
                if await self._delete_old_rows():
                    await self._sleep_until_due()
            except DatabaseUnavailable as error:
                log.warning("the reconciler waits for the database: %s", error)
                await asyncio.sleep(1)

    async def _delete_old_rows(self) -> bool:
        """About once an hour, delete old rows; False if more of them remain than one turn deletes."""
        now = self._clock.now()
        if self._tidied is not None and now - self._tidied < BETWEEN_TIDYING:
            return True
        forgotten = [await queue.delete_done(before=now - kept) for queue, kept in self._queues.items()]
        forgotten += [await queue.delete_dead(before=now - DEAD_JOB_RETENTION) for queue in self._queues]
        forgotten.append(await self._db.write(prompts.delete_old, before=now - JOB_RETENTION))
        if any(forgotten):
            return False
        self._tidied = now
        return True

    async def _sleep_until_due(self) -> None:
        self._wake_up.clear()
        due = min((at for at in await self._next_dues() if at is not None), default=None)
        left = self._seconds if due is None else (due - self._clock.now()).total_seconds()
        if left > 0:
            await wait_first(self._beat(), self._clock.sleep(max(SOONEST, min(left, self._seconds))))

    async def _next_dues(self) -> tuple[datetime | None, ...]:
        payment = await self._db.read(payment_queries.next_due_at)
        return payment, await self._refunds.next_due_at(), await self._reports.next_due_at()

    async def _beat(self) -> None:
        """Return a moment after the wake-up: changes come in bursts, and nothing is due sooner."""
        await self._wake_up.wait()
        await asyncio.sleep(SOONEST)

    async def _check_payment(self, payment_id: str, locks: asyncio.Semaphore) -> None:
        """Check one payment; if that fails, the others go on and it is checked again."""
        async with locks:
            try:
                before = await self._sync.get(payment_id)
                payment = await self._sync.advance(payment_id, actor="reconciler")
                self._on_checked(before, payment)
                self.changed_count += payment.version != before.version
                await self._redraw_if_link_expired(payment)
                if payment.last_error:
                    await self._alerts.payment_error(payment)
                if payment.next_check_at is not None and payment.next_check_at <= self._clock.now():
                    await self._db.write(self._payments.postpone_check, payment_id, now=self._clock.now())
            except DatabaseUnavailable:
                raise
            except Exception:
                log.exception("the reconciler failed on payment %s", payment_id)
                await self._db.write(self._payments.postpone_check, payment_id, now=self._clock.now())
            self._heartbeats.beat(NAME, self._clock.now())

    async def _check_refund(self, refund_id: str, locks: asyncio.Semaphore) -> None:
        async with locks:
            self.changed_count += await self._refunds.advance(refund_id)
            self._heartbeats.beat(NAME, self._clock.now())

    async def _redraw_if_link_expired(self, payment: Payment) -> None:
        """Redraw a payment message whose link stopped being usable although nothing happened; once.

        The version does not tell: it also rises by changes that no message shows.
        """
        until, now = payment.attempt.link_usable_until, self._clock.now()
        live = payment.attempt.status is AttemptStatus.ACTIVE and not payment.is_terminal
        if not live or until is None or now < until or self._aged.get(payment.id) == until:
            return
        card = await self._db.read(messages.get_payment_message, payment.id)
        if card.shown_at is not None and card.shown_at < until:
            await self._db.write(self._payments.request_redraw, payment.id, now=now)
            self._aged.set(payment.id, until, now=now)


class DueRefunds:
    """Refunds by the time at which they are due."""

    def __init__(self, db: Database, sync: RefundSync, refunds: RefundRepository, alerts: Alerts, clock: Clock) -> None:
        self._db = db
        self._sync = sync
        self._refunds = refunds
        self._alerts = alerts
        self._clock = clock

    async def due(self, *, limit: int) -> Sequence[str]:
        """The ids of those that are due now."""
        return await self._db.read(self._refunds.due, self._clock.now(), limit=limit)

    async def next_due_at(self) -> datetime | None:
        """When the next one is due (UTC)."""
        return await self._db.read(self._refunds.next_due_at)

    async def advance(self, refund_id: str) -> bool:
        """Advance one refund; True if its status changed. If that fails, it is tried again."""
        try:
            before = await self._sync.get(refund_id)
            refund = await self._sync.advance(refund_id, actor="reconciler", if_due=True)
            if refund.last_error:
                limits = await self._db.read(self._refunds.limits, refund.payment_id)
                await self._alerts.refund_error(refund, limits.payment)
            if refund.next_check_at is not None and refund.next_check_at <= self._clock.now():
                await self._db.write(self._refunds.postpone_check, refund_id, now=self._clock.now())
            return refund.status is not before.status
        except DatabaseUnavailable:
            raise
        except Exception:
            log.exception("the reconciler failed on refund %s", refund_id)
            await self._db.write(self._refunds.postpone_check, refund_id, now=self._clock.now())
            return False


NEWEST = 20


@dataclass(frozen=True)
class ReconcileResult:
    """What a reconciliation found: events without a webhook, payments and refunds checked, and those changed.

    `retried` counts the dead jobs that were put back, `dead` those that are dead afterwards; `newest` holds the newest
    `NEWEST` of these in each queue.
    """

    backfilled: int
    checked: int
    changed: int
    retried: int
    dead: int
    newest: Sequence[DeadJob] = ()


async def reconcile_now(
    missed: EventBackfill,
    reconciler: Reconciler,
    workers: Sequence[Worker],
    queues: Sequence[JobQueue],
    clock: Clock,
    *,
    retry_dead: bool,
) -> ReconcileResult:
    """Runs one reconciliation; `retry_dead` puts dead jobs back first. `workers` are the incoming ones.

    Raises:
        GatewayError: Stripe's list of events could not be read; nothing else was done.
    """
    found = await missed.run_once()
    retried = sum([await queue.retry_dead(now=clock.now()) for queue in queues]) if retry_dead else 0
    for worker in workers:
        await worker.drain()
    before = reconciler.changed_count
    checked = await reconciler.run_once()
    dead = sum([await queue.dead_count() for queue in queues])
    newest = tuple([job for queue in queues for job in await queue.dead_jobs(limit=NEWEST)])
    return ReconcileResult(found, checked, reconciler.changed_count - before, retried, dead, newest)
