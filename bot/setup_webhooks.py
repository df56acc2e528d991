"""Tells Stripe and Telegram where Kvit is, and dresses the bot; run again, it changes only what is not right."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial

from bot.findings import Finding, failure, ok, warning
from bot.settings import Settings
from bot.stripe.admin_client import API_VERSION, StripeAdminClient
from bot.stripe.error_help import DASHBOARD, explain
from bot.stripe.webhook_endpoint import WebhookEndpoint, partition_endpoints, url_of
from bot.telegram.http_client import API, AiohttpRequest
from bot.telegram.webhook_setup import set_menus, set_webhook
from handlers.i18n import DEFAULT_TIME_ZONE, wallet_name
from handlers.stripe.gateway import GatewayError

ENDPOINT = "webhook endpoint"
RIGHT = "Webhook Endpoints: Write"


async def set_up(settings: Settings, tell: Callable[[str], None], *, now: datetime) -> bool:
    """Take every step and `tell` a line about each; false if one of them failed, the others are taken all the same."""
    stripe = StripeAdminClient(settings.stripe_api_key.get_secret_value(), api_base=settings.stripe_api_base)
    token, base = settings.telegram_bot_token.get_secret_value(), settings.telegram_api_base or API
    request = AiohttpRequest(token, base=base)
    steps: tuple[Callable[[], Awaitable[Finding]], ...] = (
        partial(_subscribe, stripe, settings),
        partial(set_webhook, request, settings),
        partial(set_menus, request, wallet=wallet_name(settings.wallet_name, now, DEFAULT_TIME_ZONE)),
    )
    good = True
    try:
        for step in steps:
            finding = await step()
            tell(finding.line)
            good = good and finding.ok
    finally:
        await request.shutdown()
        await stripe.close()
    return good


async def _subscribe(stripe: StripeAdminClient, settings: Settings) -> Finding:
    url = url_of(settings)
    if url is None:
        detail = "Stripe sends to https addresses only, and PUBLIC_URL is none."
        return failure(ENDPOINT, detail, "Set PUBLIC_URL to the https address that leads here, then run this again.")
    try:
        ours, others = partition_endpoints(await stripe.endpoints(), url, API_VERSION)
        if ours is None:
            return _made(settings, *(await stripe.create_endpoint(url)), others)
        right = ours if ours.has_exact_events else await stripe.update_endpoint(ours)
    except GatewayError as error:
        return failure(ENDPOINT, *explain(error, RIGHT))
    return _kept(settings, right, others, changed=right is not ours)


def _made(settings: Settings, endpoint: WebhookEndpoint, secret: str, others: list[WebhookEndpoint]) -> Finding:
    """The only time that Stripe says the secret; it ends the line, so that it can be copied."""
    had = _too_many(others, "another API version, which cannot be changed")
    beside = " behind what is there and a comma" if settings.stripe_webhook_secrets else ""
    remedy = f"Put its secret, shown only now, into .env{beside}, then start `serve` again: STRIPE_WEBHOOK_SECRETS="
    return warning(ENDPOINT, f"{endpoint.id} was made for {endpoint.url}.{had}", f"{remedy}{secret}")


def _kept(settings: Settings, endpoint: WebhookEndpoint, others: list[WebhookEndpoint], *, changed: bool) -> Finding:
    did = "was there and now brings exactly Kvit's events" if changed else "is there already, as it should be"
    detail = f"{endpoint.id} for {endpoint.url} {did}.{_too_many(others, 'the same address')}"
    if settings.stripe_webhook_secrets:
        return ok(ENDPOINT, detail)
    secret = f"Its secret stands in {DASHBOARD}, Webhooks, at the endpoint"
    return warning(ENDPOINT, detail, f"{secret}: put it into STRIPE_WEBHOOK_SECRETS.")


def _too_many(others: list[WebhookEndpoint], why: str) -> str:
    if not others:
        return ""
    names = " and ".join(other.id for other in others)
    return f" Delete {names} in {DASHBOARD}, Webhooks: it has {why}."
