"""Looks whether Stripe's webhooks come in: is there a secret, the right endpoint, and does it take what it is sent."""

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
IN_THE_DASHBOARD = f"It stands in {DASHBOARD}, Webhooks, at the endpoint."
DAY, ON_ITS_WAY = timedelta(days=1), timedelta(seconds=60)
ANSWER_SECONDS = 5.0


async def check_webhooks(stripe: StripeAdminClient, settings: Settings, now: datetime) -> list[Finding]:
    """What there is to say; `now` is Stripe's time."""
    url = url_of(settings)
    if url is None:
        remedy = "Set PUBLIC_URL to an https address that leads here."
        return [warning(ENDPOINT, "There is no address for one, so Kvit asks Stripe instead, which is slower.", remedy)]
    try:
        endpoints = await stripe.endpoints()
    except GatewayError as error:
        return [_secret(settings), _hidden(error)]
    found = [_secret(settings), _endpoint(endpoints, url, settings)]
    return [*found, *(await _delivery(stripe, settings, now))] if all(it.ok for it in found) else found


def _secret(settings: Settings) -> Finding:
    if settings.stripe_webhook_secrets:
        return ok(SECRET, "STRIPE_WEBHOOK_SECRETS is set.")
    remedy = f"{SET_UP} If the endpoint was there before, its secret is not: {IN_THE_DASHBOARD}"
    return failure(SECRET, "STRIPE_WEBHOOK_SECRETS is not set, so every webhook is refused.", remedy)


def _hidden(error: GatewayError) -> Finding:
    if lacks_permission(error):
        return warning(ENDPOINT, "The key may not see whether it is right.", permission_hint("Webhook Endpoints: Read"))
    return failure(ENDPOINT, *explain(error))


def _endpoint(endpoints: list[WebhookEndpoint], url: str, settings: Settings) -> Finding:
    ours, others = partition_endpoints(endpoints, url, API_VERSION)
    if ours is None:
        return _without_one(endpoints, others, url, "live" if settings.livemode else "test")
    if not ours.enabled:
        return failure(ENDPOINT, f"{ours.id} is switched off; Stripe does that when nobody answers for days.", SET_UP)
    if ours.missing:
        return failure(ENDPOINT, f"{ours.id} does not bring {', '.join(ours.missing)}.", SET_UP)
    if others:
        many = " and ".join(other.id for other in others)
        return warning(
            ENDPOINT, f"Beside {ours.id}, {many} sends to {url} too.", f"Delete {many} in {DASHBOARD}, Webhooks."
        )
    if not ours.has_exact_events:
        return warning(ENDPOINT, f"{ours.id} brings events that Kvit does not need.", SET_UP)
    return ok(ENDPOINT, f"{ours.id} brings Kvit's events to {url}.")


def _without_one(endpoints: list[WebhookEndpoint], outdated: list[WebhookEndpoint], url: str, mode: str) -> Finding:
    """None that fits: it is of another API version, or it leads elsewhere, or it was never made in this mode."""
    if outdated:
        had = f"{outdated[0].id} has the API version {outdated[0].api_version or 'of the account'}, not {API_VERSION}."
        return failure(ENDPOINT, had, f"{SET_UP} It makes a new one and says which to delete.")
    elsewhere = [endpoint.url for endpoint in endpoints if endpoint.url.endswith(ROUTE)]
    but = f", only one for {elsewhere[0]}" if elsewhere else ""
    return failure(ENDPOINT, f"In {mode} mode Stripe has none for {url}{but}.", SET_UP)


async def _delivery(stripe: StripeAdminClient, settings: Settings, now: datetime) -> list[Finding]:
    """Judged by the newest event that had time to arrive; without a right to see events there is nothing to say."""
    try:
        delivered = await stripe.delivery_results(now - DAY, now - ON_ITS_WAY)
    except GatewayError:
        return []
    if not delivered:
        return [warning(DELIVERY, "Stripe had nothing to send since yesterday.", "The first payment will show it.")]
    if delivered[0]:
        return [ok(DELIVERY, "The newest event was taken.")]
    lost = f"{delivered.count(False)} of the newest {len(delivered)} events were not taken"
    if await _answers(settings):
        remedy = f"Copy the secret anew: {IN_THE_DASHBOARD}"
        return [
            failure(DELIVERY, f"{lost}, though the address leads here: the secret is probably another one's.", remedy)
        ]
    remedy = "See that `serve` runs and that PUBLIC_URL leads to it."
    return [failure(DELIVERY, f"{lost}, and {settings.public_url} does not lead here, seen from this machine.", remedy)]


async def _answers(settings: Settings) -> bool:
    """Whether a Kvit answers at the public address, which tells a wrong address from a wrong secret."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as http,
            http.get(f"{settings.public_url}/healthz", allow_redirects=False) as answer,
        ):
            return answer.status == 200 and (await answer.json()) == {"alive": True}
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return False
