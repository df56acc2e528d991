"""Reports to the owners when something as a whole fails, once, and once when it is over, also across restarts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from handlers.clock import Clock
from handlers.i18n import MessageKey
from handlers.operations.alerts import CLOCK, KEY, Incidents
from handlers.payments.sync import MAX_CLOCK_DIFFERENCE
from handlers.runtime.heartbeats import Heartbeats
from handlers.stripe.error_codes import AUTH_ERRORS
from storage import installation, metrics_queries, payment_queries
from storage.database.database import Database
from storage.errors import DatabaseUnavailable
from storage.job_queue import JobQueue
from storage.models.payment import AttemptStatus, Payment, PaymentStatus

log = logging.getLogger(__name__)

NAME = "monitor"
CHECK_INTERVAL_SECONDS = 60.0
QUEUE_STALLED_AFTER = timedelta(minutes=15)
"""An incoming job is this old only if none is handled, or Stripe does not answer."""

INTAKE_DOWN_AFTER = timedelta(minutes=6)
"""Between the first and the last check that found it: an update with two versions side by side takes seconds."""

WEBHOOKS_SILENT_AFTER = timedelta(hours=1)
MAX_UNANNOUNCED_CHANGES = 3
"""Changes in a row that no webhook announced, after which that is no accident any more."""

MAX_ARRIVED = 1000
"""Intents of webhooks that are kept between two checks."""

RECEIVED = "received:"
"""How the settings begin by which replicas share when they received something."""

WEBHOOKS = "webhooks"
UPDATES = "updates"
INTAKE = "intake"
"""The heartbeat of the component that receives updates."""

_RECEIVED = frozenset({PaymentStatus.SUCCEEDED, PaymentStatus.AUTHORIZED})


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
        on_webhook: Callable[[datetime], None],
    ) -> None:
        """`incoming` are the queues of what arrives; `accepted_at` gives when Stripe last accepted the API key.

        `on_webhook` is called with the time of each webhook that was about a payment of ours, at the next check. Of
        several replicas only the leader checks; each shares what it received.
        """
        self._db = db
        self._incidents = incidents
        self._incoming = incoming
        self._clock = clock
        self._heartbeats = heartbeats
        self._expects_webhooks = expects_webhooks
        self._accepted_at = accepted_at
        self._started_at = clock.now()
        self._on_webhook = on_webhook
        self._arrived: dict[tuple[str, str | None], datetime] = {}
        self._last_webhook_at: datetime | None = None
        self._shared: dict[str, datetime] = {}
        self._unannounced = 0
        self._stalled: set[str] = set()
        self._is_reachable: bool | None = None
        self._unreachable_since: datetime | None = None
        self._unreachable_for = timedelta(0)
        self._clock_ahead: timedelta | None = None
        heartbeats.register(NAME, stale_after_seconds=CHECK_INTERVAL_SECONDS * 3)

    def webhook_received(self, intent_id: str, payment_id: str | None) -> None:
        """A webhook arrived; the next check finds out whether the intent or the payment is one of ours.

        Other programs may use the same Stripe account, and their events do not show that ours arrive.
        """
        if len(self._arrived) < MAX_ARRIVED:
            self._arrived[intent_id, payment_id] = self._clock.now()

    def change_found(self, before: Payment, after: Payment) -> bool:
        """Count a change that the reconciler found, if a webhook should have announced it."""
        is_unannounced = _is_unannounced(before, after)
        self._unannounced += is_unannounced
        return is_unannounced

    def late_events_found(self, events: int) -> None:
        """Count events that were found in Stripe's list because no webhook had brought them."""
        self._unannounced += events

    def updates_reachable(self, is_reachable: bool) -> None:
        """Record whether updates reach the bot, as polling or the webhook monitor knows."""
        now = self._clock.now()
        self._is_reachable = is_reachable
        if is_reachable:
            self._heartbeats.beat(INTAKE, now)
        self._unreachable_since = None if is_reachable else self._unreachable_since or now
        self._unreachable_for = now - (self._unreachable_since or now)

    def clock_compared(self, ahead: timedelta) -> None:
        """Record how far our clock is ahead of Stripe's."""
        self._clock_ahead = ahead

    async def check(self) -> None:
        """Compare the state of everything with what was reported."""
        self._heartbeats.beat(NAME, self._clock.now())
        await self._db.write(installation.probe_write, now=self._clock.now())
        if self._db.has_replicas:
            await self._read_shared()
        await self._check_webhooks()
        await self._check_updates()
        for queue in self._incoming:
            await self._check_queue(queue)
        await self._check_api_key()
        await self._check_clock()

    async def share(self) -> None:
        """Tell the replica that leads when this process last received a webhook or an update, until cancelled."""
        while True:
            try:
                await self._share_received()
            except DatabaseUnavailable as error:
                log.warning("what was received cannot be shared yet: %s", error)
            await self._clock.sleep(CHECK_INTERVAL_SECONDS / 2)

    async def _share_received(self) -> None:
        await self._look_at_arrived()
        received = {RECEIVED: self._last_webhook_at} | {
            RECEIVED + one.queue: one.last_enqueued_at for one in self._incoming
        }
        for name, at in received.items():
            if at is not None and at != self._shared.get(name):
                await self._db.write(installation.set_setting, name, at.isoformat())
                self._shared[name] = at

    async def _read_shared(self) -> None:
        """Take note of what other replicas received."""
        stored = await self._db.read(installation.get_setting, RECEIVED)
        if stored and datetime.fromisoformat(stored) > (self._last_webhook_at or self._started_at):
            self._last_webhook_at, self._unannounced = datetime.fromisoformat(stored), 0
        for queue in self._incoming:
            if enqueued := await self._db.read(installation.get_setting, RECEIVED + queue.queue):
                queue.note_enqueued(datetime.fromisoformat(enqueued))

    async def _look_at_arrived(self) -> None:
        """Take note of the webhooks that were about payments of ours."""
        if self._arrived:
            known = await self._db.read(payment_queries.known_ids, [*self._arrived])
            ours = [at for (intent_id, payment_id), at in self._arrived.items() if {intent_id, payment_id} & known]
            self._arrived.clear()
            if ours:
                self._last_webhook_at, self._unannounced = max(ours), 0
                self._on_webhook(self._last_webhook_at)

    async def run(self) -> None:
        """Check every minute."""
        while True:
            try:
                await self.check()
            except DatabaseUnavailable as error:
                log.warning("the monitor waits for the database: %s", error)
            await self._clock.sleep(CHECK_INTERVAL_SECONDS)

    async def _check_webhooks(self) -> None:
        await self._look_at_arrived()
        silent = self._clock.now() - (self._last_webhook_at or self._started_at) >= WEBHOOKS_SILENT_AFTER
        if self._expects_webhooks and self._unannounced >= MAX_UNANNOUNCED_CHANGES and silent:
            await self._incidents.open(WEBHOOKS, "alert.webhooks_silent", count=self._unannounced)
        elif self._last_webhook_at is not None:
            await self._incidents.resolve(WEBHOOKS, "alert.webhooks_back")

    async def _check_updates(self) -> None:
        if self._unreachable_for >= INTAKE_DOWN_AFTER:
            await self._incidents.open(UPDATES, "alert.intake_down")
        elif self._is_reachable:
            await self._incidents.resolve(UPDATES, "alert.intake_up")

    async def _check_queue(self, queue: JobQueue) -> None:
        """An old job alone is no sign.

        After a pause of the whole process it is old as well, and handled a moment later.
        """
        age, was_stalled = timedelta(seconds=await queue.oldest_age(self._clock.now())), queue.queue in self._stalled
        name = MessageKey(f"part.{queue.queue}")
        if age >= QUEUE_STALLED_AFTER:
            self._stalled.add(queue.queue)
            if not was_stalled:
                return
            minutes = int(age / timedelta(minutes=1))
            await self._incidents.open(f"queue:{queue.queue}", "alert.queue_stalled", queue=name, minutes=minutes)
        else:
            self._stalled.discard(queue.queue)
            await self._incidents.resolve(f"queue:{queue.queue}", "alert.queue_recovered", queue=name)

    async def _check_api_key(self) -> None:
        """A rejection is reported where it happens; here the end of it is."""
        since, accepted = await self._incidents.opened_at(KEY), self._accepted_at()
        if since is None or accepted is None or accepted <= since:
            return
        if not await self._db.read(metrics_queries.any_with_error, AUTH_ERRORS):
            await self._incidents.resolve(KEY, "alert.key_accepted")

    async def _check_clock(self) -> None:
        """A wrong clock makes links look too old and events look forged, and nothing is ended because of its time."""
        if self._clock_ahead is None:
            return
        if abs(self._clock_ahead) > MAX_CLOCK_DIFFERENCE:
            await self._incidents.open(CLOCK, "alert.clock_differs")
        else:
            await self._incidents.resolve(CLOCK, "alert.clock_agrees")


def _is_unannounced(before: Payment, after: Payment) -> bool:
    """Whether Stripe sends an event about this change; what Kvit did itself needs none."""
    if after.status in _RECEIVED and after.status is not before.status:
        return True
    is_same_attempt = after.attempt.number == before.attempt.number
    was_live = before.attempt.status is AttemptStatus.ACTIVE
    return is_same_attempt and was_live and after.attempt.status is AttemptStatus.FAILED
