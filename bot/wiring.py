"""Builds all parts by hand, from the bottom layer up."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from aiohttp import web

from bot.settings import Settings
from bot.telegram.update_jobs import update_job
from bot.web_server import max_open_pages
from handlers.access.authorization import Authorization
from handlers.access.membership import MembershipService
from handlers.balance.sync import BalanceSync
from handlers.chat.context import Services
from handlers.chat.update_handler import UpdateHandler
from handlers.clock import Clock
from handlers.disputes.sync import DisputeSync
from handlers.messages.chat_changes import ChatChanges, is_worth_sending
from handlers.messages.delivery import MessageDelivery
from handlers.messages.payment_change_jobs import jobs_for_change
from handlers.messages.payment_message import DisplaySettings
from handlers.messages.qr_message import QrMessages
from handlers.messages.questions import Questions
from handlers.messages.recipients import Recipients
from handlers.messages.refund_change_jobs import jobs_for_dispute, jobs_for_fraud_warning, jobs_for_refund
from handlers.operations.alerts import Alerts, Incidents, OwnerNotifier
from handlers.operations.metrics import GaugeCollector, Metrics
from handlers.operations.monitor import Monitor
from handlers.operations.reconciler import EVENTS_KEPT, JOB_RETENTION, DueRefunds, Reconciler
from handlers.operations.restored import RestoredBackup
from handlers.operations.scheduled_reports import ScheduledReports
from handlers.pay_page.live_updates import LiveUpdates
from handlers.pay_page.service import PayPageService
from handlers.payments import state_machine
from handlers.payments.service import PaymentDefaults, PaymentService
from handlers.payments.state_machine import Timing
from handlers.payments.sync import PaymentSync
from handlers.refunds import state_machine as refund_state_machine
from handlers.refunds.service import RefundService
from handlers.refunds.sync import RefundSync
from handlers.reports.delivery import ReportDelivery
from handlers.reports.service import ReportService
from handlers.runtime.concurrency import BackgroundTasks, KeyedLocks
from handlers.runtime.heartbeats import Heartbeats
from handlers.runtime.leases import Leadership
from handlers.runtime.worker import Worker
from handlers.shops.invitations import KIND as INVITATION
from handlers.shops.invitations import InvitationService
from handlers.stripe.event_parsing import StripeEvent
from handlers.stripe.gateway import PaymentGateway
from handlers.stripe_events.backfill import EventBackfill
from handlers.stripe_events.handler import StripeEventHandler
from handlers.telegram.messenger import Messenger
from handlers.telegram.rate_limit import TelegramRateLimiter
from handlers.web.app import make_app
from handlers.web.stripe_webhook import OnStripeEvent
from storage.chats import ChatRepository
from storage.database.database import Database
from storage.disputes import DisputeRepository
from storage.invitations import InvitationRepository
from storage.job_queue import JobQueue
from storage.payments import PAYMENTS_CHANGED, PaymentRepository
from storage.refunds import RefundRepository

CHECK_INTERVAL_WITHOUT_WEBHOOK = 10.0


@dataclass(frozen=True, kw_only=True)
class Components:
    """The parts that run, and those that the service calls.

    `incoming_workers` handle Telegram's updates and Stripe's events, `outgoing_worker` sends messages.
    """

    leadership: Leadership
    heartbeats: Heartbeats
    background_tasks: BackgroundTasks
    queues: Sequence[JobQueue]
    updates: JobQueue
    membership: MembershipService
    restored_backup: RestoredBackup
    incoming_workers: Sequence[Worker]
    outgoing_worker: Worker
    reconciler: Reconciler
    event_backfill: EventBackfill
    balance_sync: BalanceSync
    live_updates: LiveUpdates
    monitor: Monitor
    web_app: web.Application

    @property
    def workers(self) -> Sequence[Worker]:
        """All workers."""
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
    """Builds all parts between the database and the two adapters."""
    heartbeats, background_tasks, locks = Heartbeats(), BackgroundTasks(), KeyedLocks(db)
    leadership = Leadership(db)
    events, updates, outbox = JobQueue(db, "events"), JobQueue(db, "updates"), JobQueue(db, "outbox")
    timing = Timing(settings.attempt_seconds, _live_check_interval(settings))
    display = DisplaySettings(settings.wallet_name, _message_base_url(settings.public_url))
    payments = PaymentRepository(
        db,
        outbox,
        partial(jobs_for_change, has_pages=display.public_url is not None),
        lambda payment, now: state_machine.next_check_at(payment, now=now, timing=timing),
    )
    refunds = RefundRepository(db, outbox, jobs_for_refund, refund_state_machine.next_look)
    disputes = DisputeRepository(db, outbox, jobs_for_dispute, jobs_for_fraud_warning)
    membership = MembershipService(db, settings.owner_ids, clock)
    authorization = Authorization(db, membership)
    owners = OwnerNotifier(db, membership, outbox, clock)
    incidents = Incidents(db, owners, clock)
    has_webhook = bool(settings.stripe_webhook_secrets)
    monitor = Monitor(
        db,
        incidents,
        (events, updates),
        clock,
        heartbeats,
        expects_webhooks=has_webhook,
        accepted_at=lambda: metrics.stripe_accepted_at,
        on_webhook=metrics.webhook_arrived,
    )
    payment_sync = PaymentSync(
        db,
        payments,
        gateway,
        clock,
        timing,
        locks=locks,
        is_authorized=authorization.is_request_authorized,
        on_clock_compared=monitor.clock_compared,
    )
    refund_sync = RefundSync(db, refunds, gateway, clock, locks=locks, is_authorized=authorization.is_refund_authorized)
    dispute_sync = DisputeSync(db, disputes, gateway, clock, locks=locks)
    defaults = PaymentDefaults(settings.request_hours, partial(_return_url, settings.public_url, messenger))
    payment_service = PaymentService(db, payments, payment_sync, gateway, clock, defaults, background_tasks)
    refund_service = RefundService(
        db,
        refunds,
        refund_sync,
        gateway,
        clock,
        background_tasks,
        owners=membership.owners,
        approval_above=settings.refund_approval_above,
    )
    chats = ChatChanges(db, ChatRepository(payments, outbox, is_worth_sending), outbox, clock)
    recipients = Recipients(db, refunds, disputes, authorization, outbox, clock)
    alerts = Alerts(owners, clock, incidents)
    metrics.expects_webhooks(has_webhook)
    invitation_repository = InvitationRepository(outbox)
    restored_backup = RestoredBackup(db, owners, invitation_repository, clock)
    invitations = InvitationService(
        db,
        membership,
        invitation_repository,
        outbox,
        messenger,
        clock,
        secret=_invitation_secret(settings),
        on_admin_invited=alerts.admin_invited,
    )
    questions = Questions(db, outbox, clock)
    chat = UpdateHandler(
        Services(
            db=db,
            payments=payment_service,
            refunds=refund_service,
            authorization=authorization,
            membership=membership,
            outbox=outbox,
            messenger=messenger,
            clock=clock,
            heartbeats=heartbeats,
            invitations=invitations,
            chats=chats,
            display=display,
            questions=questions,
            livemode=settings.livemode,
        )
    )
    delivery = MessageDelivery(
        db,
        messenger,
        rate_limiter,
        clock,
        chats=chats,
        display=display,
        recipients=recipients,
        questions=questions,
        made={INVITATION: invitations},
    )
    qr_messages = QrMessages(db, delivery, messenger, clock, display)
    report_delivery = ReportDelivery(
        db,
        ReportService(db, livemode=gateway.livemode),
        delivery,
        messenger,
        authorization,
        clock,
        otherwise=qr_messages.deliver,
    )
    balance_sync = BalanceSync(db, gateway, clock)
    stripe_events = StripeEventHandler(db, payment_sync, refund_sync, dispute_sync, balance_sync)
    worker = partial(Worker, clock=clock, heartbeats=heartbeats, outbox=outbox, on_finished=metrics.job_finished)
    incoming_workers = (
        worker(updates, chat.handle, on_dead_letter=(chat.on_dead_letter, alerts.dead_letter)),
        worker(events, stripe_events.handle, on_dead_letter=(alerts.dead_letter,)),
    )
    outgoing_worker = worker(outbox, report_delivery.deliver, on_dead_letter=(alerts.dead_letter,))
    queues = (events, updates, outbox)
    event_backfill = EventBackfill(
        db,
        gateway,
        events,
        clock,
        seconds=settings.reconcile_seconds,
        has_webhook=has_webhook,
        on_late_events=_on_late_events(metrics, monitor),
    )
    reconciler = Reconciler(
        db,
        payment_sync,
        payments,
        clock,
        heartbeats,
        queues={events: EVENTS_KEPT, updates: JOB_RETENTION, outbox: JOB_RETENTION},
        alerts=alerts,
        refunds=DueRefunds(db, refund_sync, refunds, alerts, clock),
        reports=ScheduledReports(db, authorization, outbox, clock, livemode=settings.livemode),
        wake_up=db.event(PAYMENTS_CHANGED),
        seconds=settings.reconcile_seconds,
        on_checked=lambda before, after: metrics.payment_checked(monitor.change_found(before, after)),
    )
    gauges = GaugeCollector(db, metrics, queues, heartbeats, clock, lambda: leadership.is_leader)
    pages = PayPageService(db, events, payment_service, background_tasks, clock)
    live_updates = LiveUpdates(pages.find, clock, total=max_open_pages())
    db.on_payment_changed(live_updates.notify, live_updates.notify_all)
    web_app = make_app(
        events=events,
        updates=updates,
        clock=clock,
        webhook_secrets=[secret.get_secret_value() for secret in settings.stripe_webhook_secrets],
        update_secret=settings.update_secret.get_secret_value(),
        make_update_job=partial(update_job, bot_id=bot_id),
        livemode=settings.livemode,
        pages=pages,
        live_updates=live_updates,
        heartbeats=heartbeats,
        ready={"database": db.is_reachable, "schema": db.has_current_schema},
        wallet_name=settings.wallet_name,
        public_url=settings.public_url,
        trusted_proxies=settings.trusted_proxies,
        frame_ancestors=framed_by,
        on_stripe_event=_on_webhook(metrics, monitor, clock),
        metrics_page=gauges.page,
        metrics_token=settings.metrics_token.get_secret_value() if settings.metrics_token else "",
    )
    return Components(
        leadership=leadership,
        heartbeats=heartbeats,
        background_tasks=background_tasks,
        queues=queues,
        updates=updates,
        membership=membership,
        restored_backup=restored_backup,
        incoming_workers=incoming_workers,
        outgoing_worker=outgoing_worker,
        reconciler=reconciler,
        event_backfill=event_backfill,
        balance_sync=balance_sync,
        live_updates=live_updates,
        monitor=monitor,
        web_app=web_app,
    )


def _on_late_events(metrics: Metrics, monitor: Monitor) -> Callable[[int], None]:
    """A callback that reports events that no webhook delivered."""

    def on_late_events(events: int) -> None:
        metrics.late_events(events)
        monitor.late_events_found(events)

    return on_late_events


def _on_webhook(metrics: Metrics, monitor: Monitor, clock: Clock) -> OnStripeEvent:
    """A callback that counts a webhook request, and reports it to the monitor if it may be about a payment of Kvit's.

    Anything else shows only that Stripe sends something: the endpoint of another mode, program or payload style.
    """

    def on_webhook(outcome: str, event: StripeEvent | None) -> None:
        created = event.created if event else None
        metrics.stripe_event(outcome, None if created is None else clock.now().timestamp() - created)
        if event and event.intent_id and outcome != "ignored":
            monitor.webhook_received(event.intent_id, event.payment_id)

    return on_webhook


def _message_base_url(public_url: str | None) -> str | None:
    """The base URL in messages. None for a host without a dot, such as `localhost`: Telegram rejects such buttons."""
    return public_url if public_url and "." in (urlsplit(public_url).hostname or "") else None


def _return_url(public_url: str | None, messenger: Messenger, token: str) -> str:
    """Where the wallet sends the customer: the pay page, or the bot if there are no pay pages."""
    return f"{public_url}/p/{token}" if public_url else f"https://t.me/{messenger.username}"


def _invitation_secret(settings: Settings) -> bytes:
    """The key from which invitation tokens are derived: made from the bot's token."""
    token = settings.telegram_bot_token.get_secret_value()
    return hmac.digest(token.encode(), b"kvit: invitations", "sha256")


def _live_check_interval(settings: Settings) -> float:
    """Seconds between two checks of an active attempt: shorter without webhooks."""
    has_webhook = bool(settings.stripe_webhook_secrets)
    return (
        settings.reconcile_seconds if has_webhook else min(settings.reconcile_seconds, CHECK_INTERVAL_WITHOUT_WEBHOOK)
    )
