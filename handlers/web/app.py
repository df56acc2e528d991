"""The web application: every route and its handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from aiohttp import web

from handlers.clock import Clock
from handlers.pay_page.live_updates import LiveUpdates
from handlers.runtime.heartbeats import Heartbeats
from handlers.web.client_address import Networks
from handlers.web.middleware import error_middleware, security_headers
from handlers.web.monitoring import Check, MetricsPage, MonitoringRoutes
from handlers.web.pay_page import Pages, PayPageRoutes
from handlers.web.pay_page_text import WalletNaming
from handlers.web.request_body import MAX_BODY, BodyReader
from handlers.web.stripe_webhook import OnStripeEvent, StripeWebhook
from handlers.web.telegram_webhook import MakeUpdateJob, TelegramWebhook
from storage.job_queue import JobQueue


def make_app(
    *,
    events: JobQueue,
    updates: JobQueue,
    clock: Clock,
    webhook_secrets: Sequence[str],
    update_secret: str,
    make_update_job: MakeUpdateJob,
    livemode: bool,
    pages: Pages,
    live_updates: LiveUpdates,
    heartbeats: Heartbeats,
    ready: Mapping[str, Check],
    on_stripe_event: OnStripeEvent,
    wallet_name: str = "auto",
    public_url: str | None = None,
    trusted_proxies: Networks = (),
    frame_ancestors: str = "'none'",
    metrics_page: MetricsPage | None = None,
    metrics_token: str = "",
) -> web.Application:
    """The application with all routes, in every mode.

    Stripe's events, signed with one of `webhook_secrets`, go to the queue `events`; `livemode` is that of our key.
    Telegram's updates, sent with `update_secret`, go to the queue `updates`. `ready` are the checks of `/readyz` by
    name. `frame_ancestors` is a source of that CSP directive. `trusted_proxies` may set `X-Forwarded-For`.
    `metrics_page` is served at `/metrics` to requests with the `metrics_token`; see `MonitoringRoutes` for none.
    """
    body_reader = BodyReader()
    stripe_webhook = StripeWebhook(
        events, clock, body_reader, secrets=webhook_secrets, livemode=livemode, on_event=on_stripe_event
    )
    telegram_webhook = TelegramWebhook(updates, clock, body_reader, secret=update_secret, make_job=make_update_job)
    pay_page = PayPageRoutes(
        pages,
        live_updates,
        clock,
        wallet_naming=WalletNaming(wallet_name),
        public_url=public_url,
        trusted_proxies=trusted_proxies,
    )
    monitoring = MonitoringRoutes(
        clock, heartbeats, ready, metrics_page=metrics_page, token=metrics_token, is_public=public_url is not None
    )
    app = web.Application(middlewares=[error_middleware()], client_max_size=MAX_BODY)
    app.on_response_prepare.append(security_headers(frame_ancestors))
    app.on_shutdown.append(_close_streams(live_updates))
    app.add_routes(
        [
            web.post("/stripe/webhook", stripe_webhook.receive),
            web.post("/telegram/webhook", telegram_webhook.receive),
            web.get("/p/{token}", pay_page.show),
            web.post("/p/{token}", pay_page.pay),
            web.get("/p/{token}/state", pay_page.state),
            web.get("/p/{token}/qr.svg", pay_page.qr),
            web.get("/p/{token}/qr.png", pay_page.qr),
            web.get("/p/{token}/receipt", pay_page.receipt),
            web.get("/p/{token}/credit-note/{number}", pay_page.credit_note),
            web.get("/healthz", monitoring.healthz),
            web.get("/readyz", monitoring.readyz),
            web.get("/metrics", monitoring.metrics),
        ]
    )
    return app


def _close_streams(live_updates: LiveUpdates) -> Callable[[web.Application], Awaitable[None]]:
    """A shutdown hook that ends the event streams, so that the server does not wait for them."""

    async def close(_: web.Application) -> None:
        live_updates.close()

    return close
