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
from bot.telegram.update_jobs import draft_of
from handlers.access.authorization import Rights
from handlers.access.membership import Team
from handlers.chat.context import Desks
from handlers.chat.dispatcher import Chat
from handlers.clock import Clock
from handlers.disputes.sync import DisputeAttendant
from handlers.messages.delivery import Outbox
from handlers.messages.payment_events import announce
from handlers.messages.payment_message import Looks
from handlers.messages.qr_message import Pictures
from handlers.messages.recipients import MoneyOut
from handlers.messages.refund_events import announce_dispute, announce_refund, announce_warning
from handlers.operations.alerts import Alerts, Episodes, Owners
from handlers.operations.metrics import Metrics, Readings
from handlers.operations.monitor import Watch
from handlers.operations.reconciler import EVENTS_KEPT, KEPT, RefundRound, Sweep
from handlers.pay_page.live_updates import Live
from handlers.pay_page.service import PageDesk
from handlers.payments import state_machine
from handlers.payments.service import Payments, Terms
from handlers.payments.state_machine import Times
from handlers.payments.sync import Attendant
from handlers.refunds import state_machine as refund_life
from handlers.refunds.service import Refunds
from handlers.refunds.sync import RefundAttendant
from handlers.runtime.concurrency import Errands, Turns
from handlers.runtime.heartbeats import Health
from handlers.runtime.worker import Belt
from handlers.shops.invitations import KIND as INVITATION
from handlers.shops.invitations import Colleagues
from handlers.stripe.gateway import Gateway
from handlers.stripe_events.backfill import MissedEvents
from handlers.stripe_events.handler import Inbox
from handlers.telegram.messenger import Messenger
from handlers.telegram.rate_limit import Pacing
from handlers.web.app import site
from storage.audit_log import Trail
from storage.database.database import Database
from storage.disputes import DisputeBook
from storage.invitations import Invitations
from storage.job_queue import Mailbox
from storage.messages import Posts
from storage.payment_queries import Queries
from storage.payments import BOOK, Ledger
from storage.prompts import Questions
from storage.refunds import RefundBook
from storage.shops import Directory
from storage.statistics import Counts

LOOK_SECONDS_WITHOUT_WEBHOOK = 10.0


@dataclass(frozen=True, kw_only=True)
class House:
    """The parts that have to be run, and those that a start or an operator asks something of.

    The `incoming` belts carry what people and Stripe say, the `outgoing` one what is said to people.
    """

    health: Health
    errands: Errands
    boxes: Sequence[Mailbox]
    updates: Mailbox
    queries: Queries
    directory: Directory
    team: Team
    incoming: Sequence[Belt]
    outgoing: Belt
    sweep: Sweep
    missed: MissedEvents
    live: Live
    watch: Watch
    site: web.Application

    @property
    def belts(self) -> Sequence[Belt]:
        """All of them."""
        return (*self.incoming, self.outgoing)


def build(
    settings: Settings,
    db: Database,
    clock: Clock,
    gateway: Gateway,
    messenger: Messenger,
    *,
    bot_id: int,
    pacing: Pacing,
    framed_by: str,
    metrics: Metrics,
) -> House:
    """Everything that decides, between the database and the two vendors."""
    health, errands = Health(), Errands()
    events, updates, outbox = Mailbox(db, "events"), Mailbox(db, "updates"), Mailbox(db, "outbox")
    queries, directory, posts = Queries(db), Directory(db), Posts(db)
    times = Times(settings.attempt_seconds, _look_seconds(settings))
    ledger = Ledger(db, outbox, announce, lambda payment, now: state_machine.next_look(payment, now=now, times=times))
    turns, team = Turns(), Team(directory, settings.owner_ids, clock)
    rights = Rights(team, directory, posts)
    attendant = Attendant(ledger, queries, gateway, clock, times, turns=turns, may_still=rights.stand_behind)
    refund_book = RefundBook(db, outbox, announce_refund, refund_life.next_look)
    dispute_book = DisputeBook(db, outbox, announce_dispute, announce_warning)
    refunder = RefundAttendant(refund_book, queries, gateway, clock, turns=turns, may_still=rights.stand_behind_refund)
    disputes = DisputeAttendant(dispute_book, queries, gateway, clock, turns=turns)
    above = settings.refund_approval_above
    refunds = Refunds(refund_book, refunder, gateway, clock, errands, approval_above=above)
    money_out = MoneyOut(refund_book, dispute_book, rights, outbox, clock)
    terms = Terms(settings.request_hours, partial(_return_url, settings.public_url, messenger))
    payments = Payments(ledger, attendant, gateway, clock, terms, errands)
    owners, counts = Owners(directory, team, outbox, clock), Counts(db)
    episodes = Episodes(directory, owners, clock)
    alerts = Alerts(owners, clock, episodes)
    has_webhook = bool(settings.stripe_webhook_secrets)
    watch = Watch(
        directory,
        episodes,
        (events, updates),
        counts,
        clock,
        health,
        expects_webhooks=has_webhook,
        accepted_at=lambda: metrics.stripe_accepted_at,
    )
    metrics.expects_webhooks(has_webhook)
    questions = Questions(db)
    secret = _invitation_secret(settings)
    colleagues = Colleagues(team, Invitations(db, outbox), outbox, alerts, messenger, clock, secret=secret)
    looks = Looks(settings.wallet_name, _on_cards(settings.public_url))
    desks = Desks(
        payments=payments,
        refunds=refunds,
        rights=rights,
        team=team,
        queries=queries,
        directory=directory,
        questions=questions,
        posts=posts,
        outbox=outbox,
        messenger=messenger,
        clock=clock,
        health=health,
        colleagues=colleagues,
        trail=Trail(db),
        looks=looks,
    )
    chat = Chat(desks)
    carrier = Outbox(
        posts,
        queries,
        directory,
        messenger,
        pacing,
        clock,
        show=payments.show,
        looks=looks,
        money_out=money_out,
        made={INVITATION: colleagues},
    )
    pictures = Pictures(carrier, posts, queries, directory, messenger, clock, looks)
    inbox = Inbox(attendant, refunder, disputes, queries)
    belt = partial(Belt, clock=clock, health=health, outbox=outbox, settled=metrics.settled)
    incoming = (
        belt(updates, chat.handle, set_aside=(chat.gave_up, alerts.set_aside)),
        belt(events, inbox.handle, set_aside=(alerts.set_aside,)),
    )
    outgoing = belt(outbox, pictures.deliver, set_aside=(alerts.set_aside,))
    bell, seconds = db.bell(BOOK), settings.sweep_seconds
    boxes = (events, updates, outbox)
    late = _late(metrics, watch)
    missed = MissedEvents(
        gateway, events, directory, queries, clock, seconds=seconds, has_webhook=has_webhook, late=late
    )
    sweep = Sweep(
        attendant,
        ledger,
        queries,
        posts,
        clock,
        health,
        boxes={events: EVENTS_KEPT, updates: KEPT, outbox: KEPT},
        questions=questions,
        alerts=alerts,
        refunds=RefundRound(refunder, refund_book, alerts, clock),
        bell=bell,
        seconds=seconds,
        found=lambda before, after: metrics.attended(watch.found(before, after)),
    )
    readings = Readings(metrics, counts, boxes, health, clock)
    pages = PageDesk(queries, directory, events, payments, refund_book, errands, clock)
    live = Live(pages.find, clock, total=most_connections() // 2)
    db.listen(live.tell)
    app = site(
        inbox=events,
        updates=updates,
        clock=clock,
        webhook_secrets=[secret.get_secret_value() for secret in settings.stripe_webhook_secrets],
        update_secret=settings.update_secret.get_secret_value(),
        update_draft=partial(draft_of, bot_id=bot_id),
        livemode=settings.livemode,
        pages=pages,
        live=live,
        health=health,
        ready={"database": db.answers, "schema": db.is_ready},
        wallet_name=settings.wallet_name,
        public_url=settings.public_url,
        trusted_proxies=settings.trusted_proxies,
        framed_by=framed_by,
        came=_told(metrics, watch),
        readings=readings.page,
        metrics_token=settings.metrics_token.get_secret_value() if settings.metrics_token else "",
    )
    return House(
        health=health,
        errands=errands,
        boxes=boxes,
        updates=updates,
        queries=queries,
        directory=directory,
        team=team,
        incoming=incoming,
        outgoing=outgoing,
        sweep=sweep,
        missed=missed,
        live=live,
        watch=watch,
        site=app,
    )


def _late(metrics: Metrics, watch: Watch) -> Callable[[int], None]:
    """Who hears of events that no webhook brought."""

    def read_late(events: int) -> None:
        metrics.read_late(events)
        watch.read_late(events)

    return read_late


def _told(metrics: Metrics, watch: Watch) -> Callable[[str, float | None], None]:
    """Who hears of a webhook; one that was refused is none of Stripe's."""

    def came(outcome: str, lag: float | None) -> None:
        metrics.event(outcome, lag)
        if outcome != "refused":
            watch.heard()

    return came


def _on_cards(public_url: str | None) -> str | None:
    """The address that cards carry: Telegram refuses a button to a host without a dot, such as `localhost`."""
    return public_url if public_url and "." in (urlsplit(public_url).hostname or "") else None


def _return_url(public_url: str | None, messenger: Messenger, token: str) -> str:
    """Where the customer comes back to: the payment's page, or the bot where no page can be reached."""
    return f"{public_url}/p/{token}" if public_url else f"https://t.me/{messenger.username}"


def _invitation_secret(settings: Settings) -> bytes:
    """What the words of invitations are made from: the bot's token, for a purpose of its own."""
    token = settings.telegram_bot_token.get_secret_value()
    return hmac.digest(token.encode(), b"kvit: invitations", "sha256")


def _look_seconds(settings: Settings) -> float:
    """How often a live attempt is looked at: seldom where webhooks tell, often where nothing else does."""
    told = bool(settings.stripe_webhook_secrets)
    return settings.sweep_seconds if told else min(settings.sweep_seconds, LOOK_SECONDS_WITHOUT_WEBHOOK)
