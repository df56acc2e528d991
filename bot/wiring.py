"""Builds the house by hand, from the ground up: each part is given what it needs, and nothing is looked up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from bot.settings import Settings
from bot.telegram_update import draft_of
from handlers import lifecycle
from handlers.alerts import Alerts
from handlers.announcements import announce
from handlers.attendant import Attendant
from handlers.chat.context import Desks
from handlers.chat.router import Chat
from handlers.health import Health
from handlers.inbox import Inbox
from handlers.lifecycle import Times
from handlers.outbox import Outbox
from handlers.pacing import Pacing
from handlers.pages import PageDesk
from handlers.payments import Payments, Terms
from handlers.ports import Clock, Gateway, Messenger
from handlers.reconcile import Sweep
from handlers.team import Team
from handlers.web import site
from handlers.worker import Belt, Errands
from storage.database import Database
from storage.directory import Directory
from storage.ledger import BOOK, Ledger
from storage.mail import Mail
from storage.mailbox import Mailbox
from storage.post import Post
from storage.queries import Queries
from storage.questions import Questions

LOOK_SECONDS_WITHOUT_WEBHOOK = 10.0
SetAside = Callable[[Mail, str], Awaitable[None]]


@dataclass(frozen=True)
class House:
    """The parts that have to be run, and those that a start or an operator asks something of."""

    health: Health
    errands: Errands
    boxes: Sequence[Mailbox]
    updates: Mailbox
    queries: Queries
    directory: Directory
    team: Team
    belts: Sequence[Belt]
    sweep: Sweep
    site: web.Application


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
) -> House:
    """Everything that decides, between the database and the two vendors."""
    health, errands = Health(), Errands()
    events, updates, outbox = Mailbox(db, "events"), Mailbox(db, "updates"), Mailbox(db, "outbox")
    queries, directory, post = Queries(db), Directory(db), Post(db)
    times = Times(settings.attempt_seconds, _look_seconds(settings))
    ledger = Ledger(db, outbox, announce, lambda payment, now: lifecycle.next_look(payment, now=now, times=times))
    attendant = Attendant(ledger, queries, gateway, clock, times)
    terms = Terms(settings.request_hours, partial(_return_url, settings.public_url, messenger))
    payments = Payments(ledger, attendant, gateway, clock, terms, errands)
    team = Team(directory, settings.owner_ids, clock)
    alerts = Alerts(team, outbox, clock)
    questions = Questions(db)
    wallet_name = settings.wallet_name
    desks = Desks(payments, team, queries, directory, questions, post, outbox, messenger, clock, health, wallet_name)
    chat = Chat(desks)
    carrier = Outbox(post, queries, directory, messenger, pacing, clock, show=payments.show, wallet_name=wallet_name)
    inbox = Inbox(attendant, queries)
    belt = partial(Belt, clock=clock, health=health)
    belts = [
        belt(updates, chat.handle, set_aside=_both(chat.gave_up, alerts.set_aside)),
        belt(events, inbox.handle, set_aside=alerts.set_aside),
        belt(outbox, carrier.deliver, set_aside=alerts.set_aside),
    ]
    bell, seconds = db.bell(BOOK), settings.sweep_seconds
    boxes = (events, updates, outbox)
    sweep = Sweep(
        attendant,
        ledger,
        queries,
        post,
        clock,
        health,
        boxes=boxes,
        questions=questions,
        alerts=alerts,
        bell=bell,
        seconds=seconds,
    )
    app = site(
        inbox=events,
        updates=updates,
        clock=clock,
        webhook_secrets=[secret.get_secret_value() for secret in settings.stripe_webhook_secrets],
        update_secret=settings.update_secret.get_secret_value(),
        update_draft=partial(draft_of, bot_id=bot_id),
        livemode=settings.livemode,
        pages=PageDesk(queries, directory, events, clock),
        health=health,
        ready={"database": db.is_ready},
        wallet_name=wallet_name,
        framed_by=framed_by,
    )
    return House(health, errands, boxes, updates, queries, directory, team, belts, sweep, app)


def _return_url(public_url: str | None, messenger: Messenger, token: str) -> str:
    """Where the customer comes back to: the payment's page, or the bot where no page can be reached."""
    return f"{public_url}/p/{token}" if public_url else f"https://t.me/{messenger.username}"


def _look_seconds(settings: Settings) -> float:
    """How often a live attempt is looked at: seldom where webhooks tell, often where nothing else does."""
    told = bool(settings.stripe_webhook_secrets)
    return settings.sweep_seconds if told else min(settings.sweep_seconds, LOOK_SECONDS_WITHOUT_WEBHOOK)


def _both(first: SetAside, second: SetAside) -> SetAside:
    async def tell(mail: Mail, reason: str) -> None:
        try:
            await first(mail, reason)
        finally:
            await second(mail, reason)

    return tell
