"""Reports to the owners when something as a whole fails, once, and once when it is over, also across restarts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from handlers.clock import Clock
from handlers.i18n import MessageKey
from handlers.operations.alerts import KEY, Incidents
from handlers.runtime.heartbeats import Heartbeats
from handlers.stripe.error_codes import AUTH_ERRORS
from storage import installation, statistics
from storage.database.database import Database
from storage.errors import DatabaseUnavailable
from storage.job_queue import JobQueue
from storage.models.payment import AttemptStatus, Payment, PaymentStatus

log = logging.getLogger(__name__)

NAME = "monitor"
LOOK_SECONDS = 60.0
QUEUE_STALLED_AFTER = timedelta(minutes=15)
"""An incoming job is this old only if none is handled, or Stripe does not answer."""

INTAKE_DOWN_AFTER = timedelta(minutes=6)
"""Between the first and the last check that found it: an update with two versions side by side takes seconds."""

WEBHOOKS_SILENT_AFTER = timedelta(hours=1)
MAX_UNANNOUNCED_CHANGES = 3
"""Changes in a row that no webhook announced, after which that is no accident any more."""

WEBHOOKS = "webhooks"
UPDATES = "updates"
INTAKE = "intake"
"""The heartbeat of the component that receives updates."""

_MONEY = frozenset({PaymentStatus.SUCCEEDED, PaymentStatus.AUTHORIZED})


class Monitor:
    """Checks once a minute whether webhooks and updates arrive, queues move, and Stripe accepts the key.

    It writes a row each time, so that a full disk shows even if nothing else is written.
    """

    def __init__(
        self,
        db: Database,
        incidents: Incidents,
        incoming: Sequence[JobQueue],
        clock: Clock,
        heartbeats: Heartbeats,
        *,
        expects_webhooks: bool,
        accepted_at: Callable[[], datetime | None],
    ) -> None:
        """`incoming` are the queues of what arrives; `accepted_at` gives when Stripe last accepted the API key."""
        self._db = db
        self._incidents = incidents
        self._incoming = incoming
        self._clock = clock
        self._heartbeats = heartbeats
        self._expects_webhooks = expects_webhooks
        self._accepted_at = accepted_at
        self._began = clock.now()
        self._heard: datetime | None = None
        self._finds = 0
        self._late: set[str] = set()
        self._arrives: bool | None = None
        self._deaf_since: datetime | None = None
        self._deaf_for = timedelta(0)
        heartbeats.register(NAME, stale_after_seconds=LOOK_SECONDS * 3)

    def webhook_received(self) -> None:
        """A webhook of Stripe's arrived, whatever it was about."""
        self._heard, self._finds = self._clock.now(), 0

    def change_found(self, before: Payment, after: Payment) -> bool:
        """Count a change that the reconciler found, if a webhook should have announced it."""
        is_news = _is_unannounced(before, after)
        self._finds += is_news
        return is_news

    def late_events_found(self, events: int) -> None:
        """Count events that were found in Stripe's list because no webhook had brought them."""
        self._finds += events

    def updates_reachable(self, arrive: bool) -> None:
        """Record whether updates reach the bot, as polling or the webhook monitor knows."""
        now = self._clock.now()
        self._arrives = arrive
        if arrive:
            self._heartbeats.beat(INTAKE, now)
        self._deaf_since = None if arrive else self._deaf_since or now
        self._deaf_for = now - (self._deaf_since or now)

    async def check(self) -> None:
        """Compare the state of everything with what was reported."""
        self._heartbeats.beat(NAME, self._clock.now())
        await self._db.write(installation.probe_write, now=self._clock.now())
        await self._check_webhooks()
        await self._check_updates()
        for queue in self._incoming:
            await self._check_queue(queue)
        await self._check_api_key()

    async def run(self) -> None:
        """Check every minute."""
        while True:
            try:
                await self.check()
            except DatabaseUnavailable as error:
                log.warning("the monitor waits for the database: %s", error)
            await self._clock.sleep(LOOK_SECONDS)

    async def _check_webhooks(self) -> None:
        silent = self._clock.now() - (self._heard or self._began) >= WEBHOOKS_SILENT_AFTER
        if self._expects_webhooks and self._finds >= MAX_UNANNOUNCED_CHANGES and silent:
            await self._incidents.open(WEBHOOKS, "alert.webhooks_silent", count=self._finds)
        elif self._heard is not None:
            await self._incidents.resolve(WEBHOOKS, "alert.webhooks_back")

    async def _check_updates(self) -> None:
        if self._deaf_for >= INTAKE_DOWN_AFTER:
            await self._incidents.open(UPDATES, "alert.intake_down")
        elif self._arrives:
            await self._incidents.resolve(UPDATES, "alert.intake_up")

    async def _check_queue(self, queue: JobQueue) -> None:
        """An old job alone is no sign.

        After a pause of the whole process it is old as well, and handled a moment later.
        """
        age, was_late = timedelta(seconds=await queue.oldest_age(self._clock.now())), queue.queue in self._late
        part = MessageKey(f"part.{queue.queue}")
        if age >= QUEUE_STALLED_AFTER:
            self._late.add(queue.queue)
            if not was_late:
                return
            minutes = int(age / timedelta(minutes=1))
            await self._incidents.open(f"queue:{queue.queue}", "alert.queue_stalled", queue=part, minutes=minutes)
        else:
            self._late.discard(queue.queue)
            await self._incidents.resolve(f"queue:{queue.queue}", "alert.queue_recovered", queue=part)

    async def _check_api_key(self) -> None:
        """A rejection is reported where it happens; here the end of it is."""
        since, accepted = await self._incidents.opened_at(KEY), self._accepted_at()
        if since is None or accepted is None or accepted <= since:
            return
        if not await self._db.read(statistics.any_with_error, AUTH_ERRORS):
            await self._incidents.resolve(KEY, "alert.key_accepted")


def _is_unannounced(before: Payment, after: Payment) -> bool:
    """Whether Stripe sends an event about this change; what Kvit did itself needs none."""
    if after.status in _MONEY and after.status is not before.status:
        return True
    same = after.attempt.number == before.attempt.number
    was_live = before.attempt.status is AttemptStatus.ACTIVE
    return same and was_live and after.attempt.status is AttemptStatus.FAILED
