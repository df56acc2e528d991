"""Reads Stripe's list of events, so that an event whose webhook was lost is processed all the same."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from datetime import datetime, timedelta
from itertools import takewhile

from handlers.clock import Clock
from handlers.stripe import event_parsing as stripe_event
from handlers.stripe.event_parsing import InvalidEvent, ThinEvent
from handlers.stripe.gateway import GatewayError, PaymentGateway, StripeEventRef
from storage import installation, payment_queries
from storage.database.database import Database
from storage.errors import DatabaseUnavailable
from storage.job_queue import JobQueue
from storage.models.job import NewJob

log = logging.getLogger(__name__)

CURSOR = "stripe_events"
"""The installation setting that holds how far the list was read: the last event's id and time."""

NOTHING_YET = "-"
"""Stands for the last event where there is none yet."""

FIRST_LOOK = timedelta(days=1)
"""How far back an installation reads that has never read the list."""

WEBHOOK_GRACE = timedelta(seconds=30)
"""A younger event may still arrive by its webhook and is left for the next run."""

RUN_EVERY_N = 10
"""Where webhooks work, or nothing is open, the list is read every so many runs only: Stripe counts reads."""


BATCH = 100
"""Events stored per commit, as many as Stripe lists on a page."""


class EventBackfill:
    """Enqueues each listed event with the key that its webhook uses, so one that arrived is not repeated."""

    def __init__(
        self,
        db: Database,
        gateway: PaymentGateway,
        events: JobQueue,
        clock: Clock,
        *,
        seconds: float,
        has_webhook: bool,
        on_late_events: Callable[[int], None],
    ) -> None:
        """`seconds` is the time between two runs.

        `on_late_events` is called with the number of events that no webhook had brought.
        """
        self._gateway = gateway
        self._events = events
        self._db = db
        self._clock = clock
        self._seconds = seconds
        self._has_webhook = has_webhook
        self._on_late_events = on_late_events

    async def run(self) -> None:
        """Run at once, then at each interval; beside the reconciler, which must not wait for it."""
        while True:
            try:
                self._on_late_events(await self.run_once())
            except GatewayError as error:
                log.warning("Stripe's list of events could not be read (%s): %s", error.code, error.message)
            except DatabaseUnavailable as error:
                log.warning("reading Stripe's list of events waits for the database: %s", error)
            await self._clock.sleep(await self._pause())

    async def run_once(self) -> int:
        """Read on from the stored position, oldest first; returns how many events were new.

        Raises:
            GatewayError: what was read until then is stored.
        """
        now = self._clock.now()
        cursor, since = await self._read_before(now)
        missed = 0
        newer = self._gateway.list_events(cursor, since)
        async with aclosing(newer), aclosing(_batches(newer)) as batches:
            async for batch in batches:
                ready = list(takewhile(lambda one: not self._is_on_the_way(one[0], now), batch))
                if ready:
                    jobs = [job for change, raw in ready if (job := self._draft(change, raw))]
                    missed += await self._events.enqueue(*jobs, now=now)
                    last = ready[-1][0]
                    await self._db.write(installation.set_setting, CURSOR, f"{last.id} {last.created_at.isoformat()}")
                if len(ready) < len(batch):
                    break
        if missed and self._has_webhook:
            log.warning("%s events of Stripe's list had not arrived by webhook", missed)
        return missed

    async def _read_before(self, now: datetime) -> tuple[str | None, datetime]:
        known = await self._db.read(installation.get_setting, CURSOR)
        if known is None:
            known = f"{NOTHING_YET} {(now - FIRST_LOOK).isoformat()}"
            await self._db.write(installation.set_setting, CURSOR, known)
        event_id, _, at = known.partition(" ")
        return None if event_id == NOTHING_YET else event_id, datetime.fromisoformat(at)

    def _is_on_the_way(self, change: StripeEventRef, now: datetime) -> bool:
        return self._has_webhook and now - change.created_at < WEBHOOK_GRACE

    def _draft(self, change: StripeEventRef, raw: str) -> NewJob | None:
        """The job that the event's webhook would have made; None if the event does not concern us."""
        body = raw.encode()
        try:
            event = stripe_event.parse_event(body)
        except (InvalidEvent, ThinEvent):
            log.warning("an event of Stripe's list cannot be parsed: %s", change.id)
            return None
        if event.livemode != self._gateway.livemode or not event.is_ours:
            return None
        return stripe_event.event_job(event)

    async def _pause(self) -> float:
        try:
            often = not self._has_webhook and await self._db.read(payment_queries.next_due_at) is not None
        except DatabaseUnavailable:
            often = False
        return self._seconds if often else self._seconds * RUN_EVERY_N


async def _batches(
    newer: AsyncIterator[tuple[StripeEventRef, str]],
) -> AsyncGenerator[list[tuple[StripeEventRef, str]], None]:
    """The same in lists of at most `BATCH`; events read before Stripe failed are yielded first."""
    batch: list[tuple[StripeEventRef, str]] = []
    try:
        async for one in newer:
            batch.append(one)
            if len(batch) == BATCH:
                yield batch
                batch = []
    except GatewayError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch
