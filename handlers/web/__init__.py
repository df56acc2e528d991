"""The table of routes: what can be asked over HTTP, and which door answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiohttp import web

from handlers.health import Health
from handlers.ports import Clock
from handlers.web.bodies import LARGEST
from handlers.web.headers import friendly, securing
from handlers.web.operations import Check, Operations
from handlers.web.pay_page import Pages, PayPage
from handlers.web.stripe_webhook import StripeWebhook
from handlers.web.telegram_webhook import MakeDraft, TelegramWebhook
from storage.mailbox import Mailbox


def site(
    *,
    inbox: Mailbox,
    updates: Mailbox,
    clock: Clock,
    webhook_secrets: Sequence[str],
    update_secret: str,
    update_draft: MakeDraft,
    livemode: bool,
    pages: Pages,
    health: Health,
    ready: Mapping[str, Check],
    wallet_name: str = "auto",
    framed_by: str = "'none'",
) -> web.Application:
    """Every route of this version, in every mode.

    `inbox` takes Stripe's events, `webhook_secrets` are what they may be signed with, `livemode` is that of our key.
    `updates` takes Telegram's, as `update_draft` keeps them, from whoever shows the `update_secret`.
    `ready` are the checks of `/readyz` by name. `framed_by` is a source of CSP `frame-ancestors`.
    """
    stripe = StripeWebhook(inbox, clock, secrets=webhook_secrets, livemode=livemode)
    telegram = TelegramWebhook(updates, clock, secret=update_secret, draft=update_draft)
    page = PayPage(pages, clock, wallet_name=wallet_name)
    operations = Operations(clock, health, ready)
    app = web.Application(middlewares=[friendly], client_max_size=LARGEST)
    app.on_response_prepare.append(securing(framed_by))
    app.add_routes(
        [
            web.post("/stripe/webhook", stripe.receive),
            web.post("/telegram/webhook", telegram.receive),
            web.get("/p/{token}", page.show),
            web.get("/p/{token}/state", page.state),
            web.get("/healthz", operations.alive),
            web.get("/readyz", operations.readiness),
        ]
    )
    return app
