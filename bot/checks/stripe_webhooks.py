"""Checks Stripe's webhooks: the signing secret, the endpoint, and whether events are delivered."""

from __future__ import annotations

from datetime import datetime, timedelta

import aiohttp

from bot.findings import Finding, failure, ok, warning
from bot.settings import Settings
from bot.stripe.admin_client import API_VERSION, StripeAdminClient
from bot.stripe.error_help import DASHBOARD, explain, lacks_permission, permission_hint
from bot.stripe.webhook_endpoint import ROUTE, WebhookEndpoint, partition_endpoints, url_of
from handlers.stripe.gateway import GatewayError

SECRET, ENDPOINT, DELIVERY = "webhook secret", "webhook endpoint", "webhook delivery"
SET_UP = "Run `python -m bot setup-webhooks`."
WHERE_THE_SECRET_IS = f"It is in {DASHBOARD}, Webhooks, at the endpoint."
DAY, DELIVERY_TIME = timedelta(days=1), timedelta(seconds=60)
RESPONSE_TIMEOUT = 5.0


async def check_webhooks(stripe: StripeAdminClient, settings: Settings, now: datetime) -> list[Finding]:
    """The findings about webhooks; `now` is Stripe's time."""
    url = url_of(settings)
    if url is None:
        hint = "Set PUBLIC_URL to the https address of this service."
        return [warning(ENDPOINT, "There is no URL for one, so Kvit polls Stripe instead, which is slower.", hint)]
    try:
        endpoints = await stripe.endpoints()
    except GatewayError as error:
        return [_secret(settings), _unreadable(error)]
    findings = [_secret(settings), _endpoint(endpoints, url, settings)]
    return [*findings, *(await _delivery(stripe, settings, now))] if all(it.ok for it in findings) else findings


def _secret(settings: Settings) -> Finding:
    if settings.stripe_webhook_secrets:
        return ok(SECRET, "STRIPE_WEBHOOK_SECRETS is set.")
    hint = f"{SET_UP} It shows the secret of a new endpoint. That of an old one: {WHERE_THE_SECRET_IS}"
    return failure(SECRET, "STRIPE_WEBHOOK_SECRETS is not set, so every webhook is rejected.", hint)


def _unreadable(error: GatewayError) -> Finding:
    if lacks_permission(error):
        return warning(ENDPOINT, "The key may not see whether it is right.", permission_hint("Webhook Endpoints: Read"))
    return failure(ENDPOINT, *explain(error))


def _endpoint(endpoints: list[WebhookEndpoint], url: str, settings: Settings) -> Finding:
    ours, others = partition_endpoints(endpoints, url, API_VERSION)
    if ours is None:
        return _without_one(endpoints, others, url, "live" if settings.livemode else "test")
    if not ours.enabled:
        return failure(ENDPOINT, f"{ours.id} is disabled; Stripe does that after days without a response.", SET_UP)
    if ours.missing:
        return failure(ENDPOINT, f"{ours.id} does not receive {', '.join(ours.missing)}.", SET_UP)
    if others:
        ids = " and ".join(other.id for other in others)
        return warning(ENDPOINT, f"{ids} has the same URL as {ours.id}.", f"Delete {ids} in {DASHBOARD}, Webhooks.")
    if not ours.has_exact_events:
        return warning(ENDPOINT, f"{ours.id} receives events that Kvit does not need.", SET_UP)
    return ok(ENDPOINT, f"{ours.id} sends Kvit's events to {url}.")


def _without_one(endpoints: list[WebhookEndpoint], outdated: list[WebhookEndpoint], url: str, mode: str) -> Finding:
    """No endpoint fits: it has another API version or URL, or there is none in this mode."""
    if outdated:
        version = outdated[0].api_version or "of the account"
        detail = f"{outdated[0].id} has the API version {version}, not {API_VERSION}."
        return failure(ENDPOINT, detail, f"{SET_UP} It creates a new one and tells you which to delete.")
    elsewhere = [endpoint.url for endpoint in endpoints if endpoint.url.endswith(ROUTE)]
    only = f", only one for {elsewhere[0]}" if elsewhere else ""
    return failure(ENDPOINT, f"In {mode} mode Stripe has none for {url}{only}.", SET_UP)


async def _delivery(stripe: StripeAdminClient, settings: Settings, now: datetime) -> list[Finding]:
    """By the newest event that has had time to arrive. No finding if the key may not list events."""
    try:
        results = await stripe.delivery_results(now - DAY, now - DELIVERY_TIME)
    except GatewayError:
        return []
    if not results:
        return [warning(DELIVERY, "Stripe has sent no events since yesterday.", "Check again after the first payment.")]
    if results[0]:
        return [ok(DELIVERY, "The newest event was delivered.")]
    lost = f"{results.count(False)} of the newest {len(results)} events were not delivered"
    if await _is_reachable(settings):
        detail = f"{lost}, though the URL leads here: the secret is probably that of another endpoint."
        return [failure(DELIVERY, detail, f"Copy the secret again. {WHERE_THE_SECRET_IS}")]
    detail = f"{lost}, and {settings.public_url} does not lead here, as far as this machine can tell."
    return [failure(DELIVERY, detail, "Check that `serve` runs and that PUBLIC_URL leads to it.")]


async def _is_reachable(settings: Settings) -> bool:
    """Whether Kvit responds at PUBLIC_URL: distinguishes a wrong URL from a wrong secret."""
    timeout = aiohttp.ClientTimeout(total=RESPONSE_TIMEOUT)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as http,
            http.get(f"{settings.public_url}/healthz", allow_redirects=False) as response,
        ):
            return response.status == 200 and (await response.json()) == {"alive": True}
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return False
