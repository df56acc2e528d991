"""Prometheus metrics. No name, label or value identifies a chat, a payment or a person."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from handlers.clock import Clock
from handlers.runtime.heartbeats import Heartbeats
from storage import metrics_queries
from storage.database.database import Database
from storage.errors import DatabaseUnavailable
from storage.job_queue import JobQueue
from storage.models.job import DeadLetter, Done, Job, Outcome, Retry, Snooze

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
RECOUNT_INTERVAL = timedelta(seconds=60)
"""Counting payments scans an index of all of them, so scrapes within this time share one count."""

STRIPE, TELEGRAM = "stripe", "telegram"
CALL_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25)
QUEUE_BUCKETS = (0.05, 0.25, 1, 5, 30, 120, 600, 3600, 86400)
OUTCOME_LABELS: dict[type[Outcome], str] = {Done: "done", Retry: "retry", Snooze: "snooze", DeadLetter: "dead"}


class Metrics:
    """Counters and histograms that are updated as things happen.

    Each instance has its own registry, so that two services in one process do not share numbers.
    """

    def __init__(self, clock: Clock) -> None:
        self.stripe_accepted_at: datetime | None = None
        self._clock = clock
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._events = Counter("kvit_stripe_events", "Stripe webhooks by outcome", ["outcome"], registry=registry)
        self._lag = Histogram(
            "kvit_stripe_event_lag_seconds",
            "Time from the creation of an event at Stripe to its webhook",
            buckets=QUEUE_BUCKETS,
            registry=registry,
        )
        self._jobs = Histogram(
            "kvit_job_seconds",
            "Time from the creation of a job to the end of a run, by queue and outcome",
            ["queue", "outcome"],
            buckets=QUEUE_BUCKETS,
            registry=registry,
        )
        self._calls = Histogram(
            "kvit_api_call_seconds",
            "Response time of Stripe and Telegram",
            ["vendor", "call"],
            buckets=CALL_BUCKETS,
            registry=registry,
        )
        self._failures = Counter(
            "kvit_api_call_failures",
            "API calls without a 2xx response, by HTTP status or none",
            ["vendor", "call", "status"],
            registry=registry,
        )
        self._checked = Counter("kvit_reconciler_checked", "Payments checked by the reconciler", registry=registry)
        self._repairs = Counter(
            "kvit_reconciler_repairs", "Payments that the reconciler changed before a webhook did", registry=registry
        )
        self._expects_webhooks = Gauge(
            "kvit_stripe_webhooks_expected", "1 if a webhook secret is set, else 0", registry=registry
        )
        self._webhook_at = Gauge(
            "kvit_stripe_webhook_timestamp_seconds",
            "Unix time of the last webhook about a payment of this installation, or of the start",
            registry=registry,
        )
        self.webhook_arrived(clock.now())
        self._backfilled = Counter(
            "kvit_stripe_events_backfilled", "Events read from Stripe's list for lack of a webhook", registry=registry
        )

    def expects_webhooks(self, expected: bool) -> None:
        """Sets whether webhooks are expected. Without a secret all are rejected, and late events are no fault."""
        self._expects_webhooks.set(expected)

    def stripe_event(self, outcome: str, lag: float | None = None) -> None:
        """Counts a webhook: stored, duplicate, ignored, rejected or unavailable. `lag` is in seconds."""
        self._events.labels(outcome).inc()
        if lag is not None:
            self._lag.observe(max(lag, 0.0))

    def webhook_arrived(self, at: datetime) -> None:
        """Records that a webhook about a payment of this installation arrived at this time."""
        self._webhook_at.set(at.timestamp())

    def job_finished(self, job: Job, outcome: Outcome, now: datetime) -> None:
        """Records one run of a job."""
        age = (now - job.created_at).total_seconds()
        self._jobs.labels(job.queue, OUTCOME_LABELS[type(outcome)]).observe(max(age, 0))

    def api_call(self, vendor: str, call: str, seconds: float, status: int) -> None:
        """Records one API call; status 0 means that no response arrived."""
        self._calls.labels(vendor, call).observe(seconds)
        if vendor == STRIPE and 200 <= status < 300:
            self.stripe_accepted_at = self._clock.now()
        if not 200 <= status < 300:
            self._failures.labels(vendor, call, str(status or "none")).inc()

    def payment_checked(self, repaired: bool) -> None:
        """Counts a payment that the reconciler checked; `repaired` if a webhook should have announced the change."""
        self._checked.inc()
        if repaired:
            self._repairs.inc()

    def late_events(self, events: int) -> None:
        """Counts events that were read from Stripe's list because no webhook had delivered them."""
        self._backfilled.inc(events)


class GaugeCollector:
    """Gauges that are read at each scrape: queue depths and ages, payments by state, heartbeats, database, disk."""

    def __init__(
        self,
        db: Database,
        metrics: Metrics,
        queues: Sequence[JobQueue],
        heartbeats: Heartbeats,
        clock: Clock,
        is_leader: Callable[[], bool] = lambda: True,
    ) -> None:
        """Of several replicas only the leader shows what the database holds, so that a sum counts it once."""
        self._is_leader = is_leader
        self._registry = registry = metrics.registry
        self._db = db
        self._queues = queues
        self._heartbeats = heartbeats
        self._clock = clock
        self._counted_at: datetime | None = None
        self._lock = asyncio.Lock()
        self._payments = Gauge("kvit_payments", "Payments by state", ["state", "currency"], registry=registry)
        self._pending = Gauge("kvit_jobs_pending", "Pending jobs by queue", ["queue"], registry=registry)
        self._oldest = Gauge("kvit_jobs_oldest_seconds", "Age of the oldest pending job", ["queue"], registry=registry)
        self._dead = Gauge("kvit_jobs_dead", "Jobs that failed for good, by queue", ["queue"], registry=registry)
        self._heartbeat_ages = Gauge(
            "kvit_heartbeat_age_seconds", "Time since the last heartbeat of a task", ["task"], registry=registry
        )
        self._database = Gauge(
            "kvit_database_up", "1 if the database can be read and written, else 0", registry=registry
        )
        self._leader = Gauge("kvit_leader", "1 if this replica leads, else 0; always 1 on SQLite", registry=registry)
        self._disk: Gauge | None = None
        if db.file is not None:
            self._disk = Gauge("kvit_disk_free_bytes", "Free space on the disk of the database", registry=registry)

    async def page(self) -> bytes:
        """All metrics in Prometheus' text format. Without a database, those that do not need one."""
        async with self._lock:
            now = self._clock.now()
            for task, seconds in self._heartbeats.ages(now).items():
                self._heartbeat_ages.labels(task).set(seconds)
            try:
                await self._read(now)
                self._database.set(self._db.is_writable)
            except DatabaseUnavailable:
                self._database.set(0)
            self._leader.set(self._is_leader())
            with suppress(OSError):  # the folder is gone, as a mount may be, which the line above says
                if self._disk is not None and (free := self._db.disk_free()) is not None:
                    self._disk.set(free)
            return generate_latest(self._registry)

    async def _read(self, now: datetime) -> None:
        if not self._is_leader():
            for gauge in (self._pending, self._oldest, self._dead, self._payments):
                gauge.clear()
            self._counted_at = None
            await self._db.schema_version()
            return
        for queue in self._queues:
            self._pending.labels(queue.queue).set(await queue.depth())
            self._oldest.labels(queue.queue).set(await queue.oldest_age(now))
            self._dead.labels(queue.queue).set(await queue.dead_count())
        if self._counted_at is None or now - self._counted_at >= RECOUNT_INTERVAL:
            self._payments.clear()
            for (state, currency), number in (await self._db.read(metrics_queries.count_payments)).items():
                self._payments.labels(state, currency).set(number)
            self._counted_at = now
