"""Numbers for whoever watches the service from outside; nothing in them names a chat, a payment or a person."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from handlers.clock import Clock
from handlers.runtime.heartbeats import Heartbeats
from storage.errors import DatabaseUnavailable
from storage.job_queue import JobQueue
from storage.models.job import Job, Outcome
from storage.statistics import Statistics

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
RECOUNT = timedelta(seconds=60)
"""A count walks through an index of all payments, so it is made anew once in a while, however often it is asked for."""

STRIPE, TELEGRAM = "stripe", "telegram"
QUICK = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25)
SLOW = (0.05, 0.25, 1, 5, 30, 120, 600, 3600, 86400)


class Metrics:
    """What is counted as it happens, in a registry of its own, so that two services in one process do not mix."""

    def __init__(self, clock: Clock) -> None:
        self.stripe_accepted_at: datetime | None = None
        self._clock = clock
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._events = Counter(
            "kvit_stripe_events", "Stripe's webhooks by what became of them", ["outcome"], registry=registry
        )
        self._lag = Histogram(
            "kvit_stripe_event_lag_seconds",
            "From Stripe's time of an event to its arrival here",
            buckets=SLOW,
            registry=registry,
        )
        self._mails = Histogram(
            "kvit_mail_seconds",
            "From the arrival of a mail to the end of its handling",
            ["box", "verdict"],
            buckets=SLOW,
            registry=registry,
        )
        self._calls = Histogram(
            "kvit_vendor_seconds",
            "How long Stripe and Telegram took to answer",
            ["vendor", "call"],
            buckets=QUICK,
            registry=registry,
        )
        self._failures = Counter(
            "kvit_vendor_failures",
            "Calls without a good answer, by HTTP status or none",
            ["vendor", "call", "status"],
            registry=registry,
        )
        self._connections = Gauge("kvit_http_connections", "Connections that are open", registry=registry)
        self._turned_away = Counter(
            "kvit_http_turned_away", "Connections refused or cut, by the reason", ["reason"], registry=registry
        )
        self._attended = Counter("kvit_sweep_attended", "Payments that the sweep attended to", registry=registry)
        self._repairs = Counter(
            "kvit_sweep_repairs", "News that the sweep found and no webhook told", registry=registry
        )
        self._expects_webhooks = Gauge(
            "kvit_stripe_webhooks_expected", "Whether Stripe is to tell of events by webhooks", registry=registry
        )
        self._late = Counter(
            "kvit_stripe_events_read_late", "Events found in Stripe's list, for no webhook came", registry=registry
        )

    def expects_webhooks(self, so: bool) -> None:
        """Without a secret no webhook is taken, and what is found by looking is nothing that went wrong."""
        self._expects_webhooks.set(so)

    def connections_open(self, number: int) -> None:
        """So many connections are open."""
        self._connections.set(number)

    def connection_rejected(self, why: str) -> None:
        """A connection was refused or cut: there were too many (full, household), or it was slow."""
        self._turned_away.labels(why).inc()

    def stripe_event(self, outcome: str, lag: float | None = None) -> None:
        """A webhook of Stripe's was kept, was there already, is none of ours, was refused, or could not be kept."""
        self._events.labels(outcome).inc()
        if lag is not None:
            self._lag.observe(max(lag, 0.0))

    def job_finished(self, job: Job, verdict: Outcome, now: datetime) -> None:
        """A belt came to a verdict about a mail."""
        self._mails.labels(job.queue, type(verdict).__name__.lower()).observe(
            max((now - job.created_at).total_seconds(), 0)
        )

    def api_call(self, vendor: str, call: str, seconds: float, status: int) -> None:
        """A vendor answered with an HTTP status, or (0) did not."""
        self._calls.labels(vendor, call).observe(seconds)
        if vendor == STRIPE and 200 <= status < 300:
            self.stripe_accepted_at = self._clock.now()
        if not 200 <= status < 300:
            self._failures.labels(vendor, call, str(status or "none")).inc()

    def payment_checked(self, found_news: bool) -> None:
        """The sweep attended to a payment."""
        self._attended.inc()
        if found_news:
            self._repairs.inc()

    def late_events(self, events: int) -> None:
        """Events were found in Stripe's list whose webhooks had not come."""
        self._late.inc(events)


class GaugeCollector:
    """What is read when somebody asks: how much there is, how long it has waited, and how the parts are."""

    def __init__(
        self, metrics: Metrics, statistics: Statistics, queues: Sequence[JobQueue], heartbeats: Heartbeats, clock: Clock
    ) -> None:
        self._registry = metrics.registry
        self._statistics = statistics
        self._queues = queues
        self._heartbeats = heartbeats
        self._clock = clock
        self._counted: datetime | None = None
        self._one_at_a_time = asyncio.Lock()
        gauge = metrics.registry
        self._payments = Gauge("kvit_payments", "Payments by state", ["state", "currency"], registry=gauge)
        self._waiting = Gauge("kvit_mail_waiting", "Mails that wait on a belt", ["box"], registry=gauge)
        self._oldest = Gauge("kvit_mail_oldest_seconds", "Age of the oldest waiting mail", ["box"], registry=gauge)
        self._aside = Gauge("kvit_mail_set_aside", "Mails that wait for a human", ["box"], registry=gauge)
        self._silence = Gauge(
            "kvit_part_silence_seconds", "Since the last sign of life of a part", ["part"], registry=gauge
        )
        self._database = Gauge(
            "kvit_database_up", "Whether the database answered just now and takes what is written", registry=gauge
        )
        self._disk = Gauge("kvit_disk_free_bytes", "What is free where the database is", registry=gauge)

    async def page(self) -> bytes:
        """Everything in Prometheus' text format; without the database there is what needs none."""
        async with self._one_at_a_time:
            now = self._clock.now()
            for part, seconds in self._heartbeats.ages(now).items():
                self._silence.labels(part).set(seconds)
            try:
                await self._read(now)
                self._database.set(self._statistics.is_writable)
            except DatabaseUnavailable:
                self._database.set(0)
            with suppress(OSError):  # the folder is gone, as a mount may be, which the line above says
                self._disk.set(self._statistics.disk_free())
            return generate_latest(self._registry)

    async def _read(self, now: datetime) -> None:
        for queue in self._queues:
            self._waiting.labels(queue.queue).set(await queue.depth())
            self._oldest.labels(queue.queue).set(await queue.oldest_age(now))
            self._aside.labels(queue.queue).set(await queue.dead_count())
        if self._counted is None or now - self._counted >= RECOUNT:
            self._payments.clear()
            for (state, currency), number in (await self._statistics.payments()).items():
                self._payments.labels(state, currency).set(number)
            self._counted = now
