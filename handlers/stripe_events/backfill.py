"""Reads on in Stripe's own list of events, so that one whose webhook was lost is dealt with all the same."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from datetime import datetime, timedelta
from itertools import takewhile

from handlers.clock import Clock
from handlers.stripe import events as stripe_event
from handlers.stripe.events import InvalidEvent
from handlers.stripe.gateway import GatewayError, PaymentGateway, StripeEventRef
from storage import installation, payment_queries
from storage.database.database import Database
from storage.errors import DatabaseUnavailable
from storage.job_queue import JobQueue
from storage.models.job import NewJob

log = logging.getLogger(__name__)

CURSOR = "stripe_events"
"""The fact that keeps how far the list was read: the last event's id, and when it happened."""

NOTHING_YET = "-"
"""Stands for the last event where there was none yet."""

FIRST_LOOK = timedelta(days=1)
"""How far back an installation reads that never read before."""

WEBHOOK_GRACE = timedelta(seconds=30)
"""An event younger than this may still come by its webhook, and is left for the next time."""

RUN_EVERY_N = 10
"""Where webhooks tell, or nothing is open, only every so many sweeps look: Stripe counts what is read."""


BATCH = 100
"""Events that are kept with one commit, as many as Stripe lists on a page."""


def _not_at_all(events: int) -> None:
    """Nobody counts."""


class EventBackfill:
    """Each event goes into the box that its webhook would, with the same key: one that came already stays one."""

    def __init__(
        self,
        db: Database,
        gateway: PaymentGateway,
        events: JobQueue,
        clock: Clock,
        *,
        seconds: float,
        has_webhook: bool,
        late: Callable[[int], None] = _not_at_all,
    ) -> None:
        """`seconds` is the time between two sweeps; `late` hears how many events were found that had not come."""
        self._gateway = gateway
        self._events = events
        self._db = db
        self._clock = clock
        self._seconds = seconds
        self._has_webhook = has_webhook
        self._late = late

    async def run(self) -> None:
        """Read on at once, and again every so often; beside the sweep, which must not wait for it."""
        while True:
            try:
                self._late(await self.run_once())
            except GatewayError as error:
                log.warning("Stripe's list of events could not be read (%s): %s", error.code, error.message)
            except DatabaseUnavailable as error:
                log.warning("Stripe's list of events waits: %s", error)
            await self._clock.sleep(await self._pause())

    async def run_once(self) -> int:
        """Read on from where it was read before, oldest first; returns how many events were new.

        Raises:
            GatewayError: what was read until then is kept.
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
            log.warning("%s events were found in Stripe's list whose webhooks had not come", missed)
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
        """The mail that its webhook would have made; None for what does not concern us."""
        body = raw.encode()
        try:
            event = stripe_event.parse_event(body)
        except InvalidEvent:
            log.warning("an event in Stripe's list cannot be read: %s", change.id)
            return None
        if event.livemode != self._gateway.livemode or not event.is_ours:
            return None
        return stripe_event.event_job(event, body)

    async def _pause(self) -> float:
        try:
            often = not self._has_webhook and await self._db.read(payment_queries.next_due_at) is not None
        except DatabaseUnavailable:
            often = False
        return self._seconds if often else self._seconds * RUN_EVERY_N


async def _batches(
    newer: AsyncIterator[tuple[StripeEventRef, str]],
) -> AsyncGenerator[list[tuple[StripeEventRef, str]], None]:
    """The same in lists of at most `BATCH`; what had come before Stripe failed is handed on first."""
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
