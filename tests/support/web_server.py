"""The web server as tests run it: signed events, pages by token, and an unavailable database."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, cast

import stripe
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from bot.telegram.update_jobs import update_job
from bot.web_server import make_runner
from handlers.clock import Clock
from handlers.pay_page.live_updates import LiveUpdates
from handlers.pay_page.service import PayPage
from handlers.runtime.heartbeats import Heartbeats
from handlers.stripe.event_parsing import StripeEvent
from handlers.web.app import make_app
from handlers.web.monitoring import Check
from handlers.web.pay_page import Pages
from storage.errors import DatabaseUnavailable
from storage.job_queue import JobQueue
from storage.models.movement import CreditNote

UPDATE_SECRET = "what_telegram_shows"
OLD, NEW = "whsec_the_old_one", "whsec_the_new_one"


def event(**changes: Any) -> dict[str, Any]:
    """An event about one of our intents, as Stripe sends it."""
    intent = {
        "id": "pi_1",
        "object": "payment_intent",
        "client_secret": "pi_1_secret_canary",
        "metadata": {"kvit_payment": "pay_1"},
    }
    whole = {
        "id": "evt_1",
        "object": "event",
        "type": "payment_intent.succeeded",
        "livemode": False,
        "data": {"object": intent},
    }
    return whole | changes


def raw(said: Any = None) -> bytes:
    return json.dumps(event() if said is None else said, indent=2).encode()


def signed(body: bytes, at: datetime, *secrets: str, shift: int = 0) -> str:
    """A `Stripe-Signature` made by the SDK, with one `v1` for each secret."""
    moment = int(at.timestamp()) + shift
    made = [stripe.WebhookSignature._compute_signature(f"{moment}.{body.decode()}", secret) for secret in secrets]
    return ",".join([f"t={moment}", *(f"v1={signature}" for signature in made)])


class NoPages:
    """There are no payments."""

    async def find(self, token: str) -> PayPage | None:
        return None

    async def customer_returned(self, page: PayPage) -> None:
        raise AssertionError("there is no page to return to")

    async def pay(self, page: PayPage) -> str | None:
        raise AssertionError("there is no page to pay on")

    async def credit_notes(self, page: PayPage) -> Sequence[CreditNote]:
        raise AssertionError("there is no payment with refunds")


class SomePages:
    """The given pages, by token. `back` are the tokens of customers who came back, `taps` of those who pressed the
    button.

    `answer` is the wallet link, None if there is none, or an error to raise.
    """

    def __init__(self, *pages: PayPage) -> None:
        self.pages = {page.payment.page_token: page for page in pages}
        self.back: list[str] = []
        self.taps: list[str] = []
        self.answer: str | Exception | None = None
        self.notes: list[CreditNote] = []

    async def find(self, token: str) -> PayPage | None:
        return self.pages.get(token)

    async def customer_returned(self, page: PayPage) -> None:
        self.back.append(page.payment.page_token)

    async def pay(self, page: PayPage) -> str | None:
        self.taps.append(page.payment.page_token)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def credit_notes(self, page: PayPage) -> Sequence[CreditNote]:
        return self.notes


class UnreachableQueue:
    """A queue whose database is unavailable."""

    async def enqueue(self, *jobs: object, now: datetime) -> int:
        raise DatabaseUnavailable("database is locked")


def ignore(outcome: str, event: StripeEvent | None) -> None:
    """An event counter that counts nothing."""


def app(
    inbox: JobQueue,
    clock: Clock,
    *,
    secrets: tuple[str, ...] = (OLD, NEW),
    pages: Pages | None = None,
    heartbeats: Heartbeats | None = None,
    ready: Mapping[str, Check] | None = None,
    updates: JobQueue | None = None,
    live_updates: LiveUpdates | None = None,
    **more: Any,
) -> web.Application:
    """The web application, with nothing behind the parts that are not given."""
    return make_app(
        events=inbox,
        updates=updates or inbox,
        update_secret=UPDATE_SECRET,
        make_update_job=partial(update_job, bot_id=4242),
        clock=clock,
        webhook_secrets=secrets,
        livemode=False,
        pages=pages or NoPages(),
        live_updates=live_updates or LiveUpdates((pages or NoPages()).find, clock),
        heartbeats=heartbeats or Heartbeats(),
        ready=ready or {},
        **{"on_stripe_event": ignore} | more,
    )


class WebServer(TestServer):
    """The web application, served as the program serves it."""

    async def _make_runner(self, **_: Any) -> web.AppRunner:
        return make_runner(self.app)


def doors(clock: Clock, pages: Pages | None = None, **more: Any) -> TestClient[web.Request, web.Application]:
    """A client of the web application, whose queues are unavailable."""
    return TestClient(WebServer(app(cast("JobQueue", UnreachableQueue()), clock, pages=pages, **more)))
