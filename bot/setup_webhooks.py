"""`python -m bot setup-webhooks`: webhooks at Stripe and Telegram, and the bot's menus.

Running it again changes only what is not right.
"""

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


async def set_up(settings: Settings, show: Callable[[str], None], *, now: datetime) -> bool:
    """Runs all steps, also after one that failed, and shows a line for each; False if one of them failed."""
    stripe = StripeAdminClient(settings.stripe_api_key.get_secret_value(), api_base=settings.stripe_api_base)
    token, base = settings.telegram_bot_token.get_secret_value(), settings.telegram_api_base or API
    request = AiohttpRequest(token, base=base)
    steps: tuple[Callable[[], Awaitable[Finding]], ...] = (
        partial(_subscribe, stripe, settings),
        partial(set_webhook, request, settings),
        partial(set_menus, request, wallet=wallet_name(settings.wallet_name, now, DEFAULT_TIME_ZONE)),
    )
    succeeded = True
    try:
        for step in steps:
            finding = await step()
            show(finding.line)
            succeeded = succeeded and finding.ok
    finally:
        await request.shutdown()
        await stripe.close()
    return succeeded


async def _subscribe(stripe: StripeAdminClient, settings: Settings) -> Finding:
    url = url_of(settings)
    if url is None:
        detail = "Stripe sends to https addresses only, and PUBLIC_URL is not one."
        return failure(ENDPOINT, detail, "Set PUBLIC_URL to the https address of this service, then run this again.")
    try:
        ours, others = partition_endpoints(await stripe.endpoints(), url, API_VERSION)
        if ours is None:
            return _created(settings, *(await stripe.create_endpoint(url)), others)
        current = ours if ours.has_exact_events else await stripe.update_endpoint(ours)
    except GatewayError as error:
        return failure(ENDPOINT, *explain(error, RIGHT))
    return _existing(settings, current, others, changed=current is not ours)


def _created(settings: Settings, endpoint: WebhookEndpoint, secret: str, others: list[WebhookEndpoint]) -> Finding:
    """Stripe shows the secret only here. It is at the end of the line, to be copied."""
    delete = _delete_hint(others, "another API version, which cannot be changed")
    after = " after the present ones and a comma" if settings.stripe_webhook_secrets else ""
    hint = f"Put its secret, shown only now, into .env{after}, then start `serve` again: STRIPE_WEBHOOK_SECRETS="
    return warning(ENDPOINT, f"{endpoint.id} was created for {endpoint.url}.{delete}", f"{hint}{secret}")


def _existing(
    settings: Settings, endpoint: WebhookEndpoint, others: list[WebhookEndpoint], *, changed: bool
) -> Finding:
    state = "existed and now receives exactly Kvit's events" if changed else "exists already and is right"
    detail = f"{endpoint.id} for {endpoint.url} {state}.{_delete_hint(others, 'the same URL')}"
    if settings.stripe_webhook_secrets:
        return ok(ENDPOINT, detail)
    hint = f"Its secret is in {DASHBOARD}, Webhooks, at the endpoint: put it into STRIPE_WEBHOOK_SECRETS."
    return warning(ENDPOINT, detail, hint)


def _delete_hint(others: list[WebhookEndpoint], reason: str) -> str:
    if not others:
        return ""
    ids = " and ".join(other.id for other in others)
    return f" Delete {ids} in {DASHBOARD}, Webhooks: it has {reason}."
