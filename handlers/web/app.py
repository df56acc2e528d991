"""The table of routes: what can be asked over HTTP, and which door answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from aiohttp import web

from handlers.clock import Clock
from handlers.pay_page.live_updates import LiveUpdates
from handlers.runtime.heartbeats import Heartbeats
from handlers.web.client_address import Networks
from handlers.web.middleware import error_middleware, security_headers
from handlers.web.monitoring import Check, MonitoringRoutes, Read
from handlers.web.pay_page import Pages, PayPageRoutes
from handlers.web.pay_page_text import WalletNaming
from handlers.web.request_body import MAX_BODY, BodyReader
from handlers.web.stripe_webhook import Came, StripeWebhook, nobody
from handlers.web.telegram_webhook import MakeDraft, TelegramWebhook
from storage.job_queue import JobQueue


def make_app(
    *,
    inbox: JobQueue,
    updates: JobQueue,
    clock: Clock,
    webhook_secrets: Sequence[str],
    update_secret: str,
    update_draft: MakeDraft,
    livemode: bool,
    pages: Pages,
    live_updates: LiveUpdates,
    heartbeats: Heartbeats,
    ready: Mapping[str, Check],
    wallet_name: str = "auto",
    public_url: str | None = None,
    trusted_proxies: Networks = (),
    framed_by: str = "'none'",
    came: Came = nobody,
    readings: Read | None = None,
    metrics_token: str = "",
) -> web.Application:
    """Every route of this version, in every mode.

    `inbox` takes Stripe's events, `webhook_secrets` are what they may be signed with, `livemode` is that of our key.
    `updates` takes Telegram's, as `update_draft` keeps them, from whoever shows the `update_secret`.
    `live` keeps open pages up to date. `ready` are the checks of `/readyz` by name. `framed_by` is a source of CSP
    `frame-ancestors`, `trusted_proxies` are those whose word counts for where a visitor comes from. `came` hears of
    Stripe's webhooks; `readings` makes the page of `/metrics`, which whoever shows the `metrics_token` may see.
    """
    bodies = BodyReader()
    stripe = StripeWebhook(inbox, clock, bodies, secrets=webhook_secrets, livemode=livemode, came=came)
    telegram = TelegramWebhook(updates, clock, bodies, secret=update_secret, draft=update_draft)
    voice = WalletNaming(wallet_name)
    page = PayPageRoutes(
        pages, live_updates, clock, wallet_naming=voice, public_url=public_url, trusted=trusted_proxies
    )
    operations = MonitoringRoutes(clock, heartbeats, ready, readings=readings, token=metrics_token)
    app = web.Application(middlewares=[error_middleware()], client_max_size=MAX_BODY)
    app.on_response_prepare.append(security_headers(framed_by))
    app.on_shutdown.append(_ending(live_updates))
    app.add_routes(
        [
            web.post("/stripe/webhook", stripe.receive),
            web.post("/telegram/webhook", telegram.receive),
            web.get("/p/{token}", page.show),
            web.post("/p/{token}", page.pay),
            web.get("/p/{token}/state", page.state),
            web.get("/p/{token}/qr.svg", page.qr),
            web.get("/p/{token}/qr.png", page.qr),
            web.get("/p/{token}/receipt", page.receipt),
            web.get("/healthz", operations.healthz),
            web.get("/readyz", operations.readyz),
            web.get("/metrics", operations.metrics),
        ]
    )
    return app


def _ending(live_updates: LiveUpdates) -> Callable[[web.Application], Awaitable[None]]:
    """What lets the streams end before the server waits for them."""

    async def end(_: web.Application) -> None:
        live_updates.close()

    return end
