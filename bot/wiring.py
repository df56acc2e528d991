"""Builds the house by hand, from the ground up: each part is given what it needs, and nothing is looked up."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from aiohttp import web

from bot.front import most_connections
from bot.settings import Settings
from bot.telegram.update_jobs import update_job
from handlers.access.authorization import Authorization
from handlers.access.membership import MembershipService
from handlers.chat.context import Services
from handlers.chat.dispatcher import UpdateHandler
from handlers.clock import Clock
from handlers.disputes.sync import DisputeSync
from handlers.messages.delivery import MessageDelivery
from handlers.messages.payment_events import jobs_for_change
from handlers.messages.payment_message import DisplaySettings
from handlers.messages.qr_message import QrMessages
from handlers.messages.recipients import Recipients
from handlers.messages.refund_events import jobs_for_dispute, jobs_for_fraud_warning, jobs_for_refund
from handlers.operations.alerts import Alerts, Incidents, OwnerNotifier
from handlers.operations.metrics import GaugeCollector, Metrics
from handlers.operations.monitor import Monitor
from handlers.operations.reconciler import EVENTS_KEPT, JOB_RETENTION, DueRefunds, Reconciler
from handlers.pay_page.live_updates import LiveUpdates
from handlers.pay_page.service import PayPageService
from handlers.payments import state_machine
from handlers.payments.service import PaymentDefaults, PaymentService
from handlers.payments.state_machine import Timing
from handlers.payments.sync import PaymentSync
from handlers.refunds import state_machine as refund_life
from handlers.refunds.service import RefundService
from handlers.refunds.sync import RefundSync
from handlers.runtime.concurrency import BackgroundTasks, KeyedLocks
from handlers.runtime.heartbeats import Heartbeats
from handlers.runtime.worker import Worker
from handlers.shops.invitations import KIND as INVITATION
from handlers.shops.invitations import InvitationService
from handlers.stripe.gateway import PaymentGateway
from handlers.stripe_events.backfill import EventBackfill
from handlers.stripe_events.handler import StripeEventHandler
from handlers.telegram.messenger import Messenger
from handlers.telegram.rate_limit import TelegramRateLimiter
from handlers.web.app import make_app
from storage.audit_log import AuditLog
from storage.database.database import Database
from storage.disputes import DisputeRepository
from storage.invitations import InvitationRepository
from storage.job_queue import JobQueue
from storage.messages import MessageRepository
from storage.payment_queries import PaymentQueries
from storage.payments import PAYMENTS_CHANGED, PaymentRepository
from storage.prompts import PromptRepository
from storage.refunds import RefundRepository
from storage.shops import ShopRepository
from storage.statistics import Statistics

CHECK_INTERVAL_WITHOUT_WEBHOOK = 10.0


@dataclass(frozen=True, kw_only=True)
class Components:
    """The parts that have to be run, and those that a start or an operator asks something of.

    The `incoming` belts carry what people and Stripe say, the `outgoing` one what is said to people.
    """

    heartbeats: Heartbeats
    background_tasks: BackgroundTasks
    queues: Sequence[JobQueue]
    updates: JobQueue
    payment_queries: PaymentQueries
    shops: ShopRepository
    membership: MembershipService
    incoming_workers: Sequence[Worker]
    outgoing_worker: Worker
    reconciler: Reconciler
    event_backfill: EventBackfill
    live_updates: LiveUpdates
    monitor: Monitor
    web_app: web.Application

    @property
    def workers(self) -> Sequence[Worker]:
        """All of them."""
        return (*self.incoming_workers, self.outgoing_worker)


def build_components(
    settings: Settings,
    db: Database,
    clock: Clock,
    gateway: PaymentGateway,
    messenger: Messenger,
    *,
    bot_id: int,
    rate_limiter: TelegramRateLimiter,
    framed_by: str,
    metrics: Metrics,
) -> Components:
    """Everything that decides, between the database and the two vendors."""
    heartbeats, background_tasks = Heartbeats(), BackgroundTasks()
    events, updates, outbox = JobQueue(db, "events"), JobQueue(db, "updates"), JobQueue(db, "outbox")
    queries, shops, messages = PaymentQueries(db), ShopRepository(db), MessageRepository(db)
    times = Timing(settings.attempt_seconds, _live_check_interval(settings))
    ledger = PaymentRepository(
        db, outbox, jobs_for_change, lambda payment, now: state_machine.next_check_at(payment, now=now, timing=times)
    )
    locks, membership = KeyedLocks(), MembershipService(shops, settings.owner_ids, clock)
    authorization = Authorization(membership, shops, messages)
    payment_sync = PaymentSync(
        ledger, queries, gateway, clock, times, locks=locks, is_authorized=authorization.is_request_authorized
    )
    refund_book = RefundRepository(db, outbox, jobs_for_refund, refund_life.next_look)
    dispute_book = DisputeRepository(db, outbox, jobs_for_dispute, jobs_for_fraud_warning)
    refunder = RefundSync(
        refund_book, queries, gateway, clock, locks=locks, is_authorized=authorization.is_refund_authorized
    )
    disputes = DisputeSync(dispute_book, queries, gateway, clock, locks=locks)
    above = settings.refund_approval_above
    refunds = RefundService(refund_book, refunder, gateway, clock, background_tasks, approval_above=above)
    money_out = Recipients(refund_book, dispute_book, authorization, outbox, clock)
    terms = PaymentDefaults(settings.request_hours, partial(_return_url, settings.public_url, messenger))
    payments = PaymentService(ledger, payment_sync, gateway, clock, terms, background_tasks)
    owners, counts = OwnerNotifier(shops, membership, outbox, clock), Statistics(db)
    episodes = Incidents(shops, owners, clock)
    alerts = Alerts(owners, clock, episodes)
    has_webhook = bool(settings.stripe_webhook_secrets)
    watch = Monitor(
        shops,
        episodes,
        (events, updates),
        counts,
        clock,
        heartbeats,
        expects_webhooks=has_webhook,
        accepted_at=lambda: metrics.stripe_accepted_at,
    )
    metrics.expects_webhooks(has_webhook)
    questions = PromptRepository(db)
    secret = _invitation_secret(settings)
    colleagues = InvitationService(
        membership,
        InvitationRepository(db, outbox),
        outbox,
        messenger,
        clock,
        secret=secret,
        on_admin_invited=alerts.admin_invited,
    )
    looks = DisplaySettings(settings.wallet_name, _message_base_url(settings.public_url))
    services = Services(
        payments=payments,
        refunds=refunds,
        authorization=authorization,
        membership=membership,
        payment_queries=queries,
        shops=shops,
        prompts=questions,
        messages=messages,
        outbox=outbox,
        messenger=messenger,
        clock=clock,
        heartbeats=heartbeats,
        invitations=colleagues,
        audit_log=AuditLog(db),
        display=looks,
    )
    chat = UpdateHandler(services)
    carrier = MessageDelivery(
        messages,
        queries,
        shops,
        messenger,
        rate_limiter,
        clock,
        show=payments.redraw,
        display=looks,
        recipients=money_out,
        made={INVITATION: colleagues},
    )
    pictures = QrMessages(carrier, messages, queries, shops, messenger, clock, looks)
    inbox = StripeEventHandler(payment_sync, refunder, disputes, queries)
    belt = partial(Worker, clock=clock, heartbeats=heartbeats, outbox=outbox, on_finished=metrics.job_finished)
    incoming = (
        belt(updates, chat.handle, on_dead_letter=(chat.on_dead_letter, alerts.dead_letter)),
        belt(events, inbox.handle, on_dead_letter=(alerts.dead_letter,)),
    )
    outgoing = belt(outbox, pictures.deliver, on_dead_letter=(alerts.dead_letter,))
    bell, seconds = db.event(PAYMENTS_CHANGED), settings.reconcile_seconds
    boxes = (events, updates, outbox)
    late = _on_late_events(metrics, watch)
    missed = EventBackfill(gateway, events, shops, queries, clock, seconds=seconds, has_webhook=has_webhook, late=late)
    reconciler = Reconciler(
        payment_sync,
        ledger,
        queries,
        messages,
        clock,
        heartbeats,
        queues={events: EVENTS_KEPT, updates: JOB_RETENTION, outbox: JOB_RETENTION},
        prompts=questions,
        alerts=alerts,
        refunds=DueRefunds(refunder, refund_book, alerts, clock),
        wake_up=bell,
        seconds=seconds,
        found=lambda before, after: metrics.payment_checked(watch.change_found(before, after)),
    )
    readings = GaugeCollector(metrics, counts, boxes, heartbeats, clock)
    pages = PayPageService(queries, shops, events, payments, refund_book, background_tasks, clock)
    live = LiveUpdates(pages.find, clock, total=most_connections() // 2)
    db.on_payment_changed(live.notify)
    app = make_app(
        inbox=events,
        updates=updates,
        clock=clock,
        webhook_secrets=[secret.get_secret_value() for secret in settings.stripe_webhook_secrets],
        update_secret=settings.update_secret.get_secret_value(),
        update_draft=partial(update_job, bot_id=bot_id),
        livemode=settings.livemode,
        pages=pages,
        live_updates=live,
        heartbeats=heartbeats,
        ready={"database": db.is_reachable, "schema": db.has_current_schema},
        wallet_name=settings.wallet_name,
        public_url=settings.public_url,
        trusted_proxies=settings.trusted_proxies,
        framed_by=framed_by,
        came=_on_webhook(metrics, watch),
        readings=readings.page,
        metrics_token=settings.metrics_token.get_secret_value() if settings.metrics_token else "",
    )
    return Components(
        heartbeats=heartbeats,
        background_tasks=background_tasks,
        queues=boxes,
        updates=updates,
        payment_queries=queries,
        shops=shops,
        membership=membership,
        incoming_workers=incoming,
        outgoing_worker=outgoing,
        reconciler=reconciler,
        event_backfill=missed,
        live_updates=live,
        monitor=watch,
        web_app=app,
    )


def _on_late_events(metrics: Metrics, monitor: Monitor) -> Callable[[int], None]:
    """Who hears of events that no webhook brought."""

    def read_late(events: int) -> None:
        metrics.late_events(events)
        monitor.late_events_found(events)

    return read_late


def _on_webhook(metrics: Metrics, monitor: Monitor) -> Callable[[str, float | None], None]:
    """Who hears of a webhook; one that was refused is none of Stripe's."""

    def came(outcome: str, lag: float | None) -> None:
        metrics.stripe_event(outcome, lag)
        if outcome != "rejected":
            monitor.webhook_received()

    return came


def _message_base_url(public_url: str | None) -> str | None:
    """The address that cards carry: Telegram refuses a button to a host without a dot, such as `localhost`."""
    return public_url if public_url and "." in (urlsplit(public_url).hostname or "") else None


def _return_url(public_url: str | None, messenger: Messenger, token: str) -> str:
    """Where the customer comes back to: the payment's page, or the bot where no page can be reached."""
    return f"{public_url}/p/{token}" if public_url else f"https://t.me/{messenger.username}"


def _invitation_secret(settings: Settings) -> bytes:
    """What the words of invitations are made from: the bot's token, for a purpose of its own."""
    token = settings.telegram_bot_token.get_secret_value()
    return hmac.digest(token.encode(), b"kvit: invitations", "sha256")


def _live_check_interval(settings: Settings) -> float:
    """How often a live attempt is looked at: seldom where webhooks tell, often where nothing else does."""
    told = bool(settings.stripe_webhook_secrets)
    return settings.reconcile_seconds if told else min(settings.reconcile_seconds, CHECK_INTERVAL_WITHOUT_WEBHOOK)
