"""Checks the Stripe key, its rights, MobilePay, and the webhook endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from bot.checks.stripe_webhooks import check_webhooks
from bot.findings import Finding, failure, ok, warning
from bot.settings import Settings
from bot.stripe.admin_client import StripeAdminClient
from bot.stripe.error_help import error_of, explain, lacks_permission, permission_hint
from handlers.balance.sync import BALANCE_RIGHT, PAYOUTS_RIGHT
from handlers.clock import Clock
from handlers.stripe.gateway import GatewayError

CLOCK, KEY, RIGHTS, MOBILEPAY = "clock", "stripe key", "stripe rights", "mobilepay"
MAX_CLOCK_SKEW = timedelta(seconds=60)
DAY = timedelta(days=1)
INTENTS, REFUNDS = "PaymentIntents: Write", "Refunds: Write"
DISPUTES, EVENTS = "Disputes: Read", "Events: Read"
FOR_FEES = (BALANCE_RIGHT, PAYOUTS_RIGHT)
"""The rights without which reports lack Stripe's fees and payouts, and everything else works."""

NEEDED = {INTENTS, REFUNDS}
"""The rights that `serve` needs. Without the others it misses some of Stripe's events."""

ACCOUNT, METHODS = "Account: Read", "Payment Method Configurations: Read"
ENABLE_MOBILEPAY = "In Stripe's Dashboard, Settings, Payment methods: turn MobilePay on."


async def check_stripe(settings: Settings, clock: Clock) -> list[Finding]:
    """The findings about Stripe. Nothing is changed there. If the key is rejected, nothing else can be checked."""
    stripe = StripeAdminClient(settings.stripe_api_key.get_secret_value(), api_base=settings.stripe_api_base)
    try:
        error = await error_of(stripe.probe_intents())
        key = _key(error, settings)
        account = await _check_account(stripe, settings, clock, error) if key.ok else []
        return [*_clock(stripe, clock), key, *account]
    finally:
        await stripe.close()


async def _check_account(
    stripe: StripeAdminClient, settings: Settings, clock: Clock, intents: GatewayError | None
) -> list[Finding]:
    now = stripe.server_date or clock.now()
    events = await error_of(stripe.delivery_results(now - DAY, now))
    refunds, disputes = await error_of(stripe.probe_refunds()), await error_of(stripe.probe_disputes())
    probes = {INTENTS: intents, REFUNDS: refunds, DISPUTES: disputes, EVENTS: events}
    probes |= {BALANCE_RIGHT: await error_of(stripe.probe_balance())}
    probes |= {PAYOUTS_RIGHT: await error_of(stripe.probe_payouts())}
    rights = _rights(probes)
    return [rights, await _mobilepay(stripe, settings), *(await check_webhooks(stripe, settings, now))]


def _clock(stripe: StripeAdminClient, clock: Clock) -> list[Finding]:
    """Webhook signatures expire by this machine's clock. No finding without Stripe's time."""
    if stripe.server_date is None:
        return []
    skew = clock.now() - stripe.server_date
    seconds = f"{abs(skew.total_seconds()):.0f} seconds"
    if abs(skew) <= MAX_CLOCK_SKEW:
        return [ok(CLOCK, f"It is within {MAX_CLOCK_SKEW.seconds} seconds of Stripe's.")]
    side = "ahead of" if skew > timedelta() else "behind"
    return [failure(CLOCK, f"It is {seconds} {side} Stripe's.", "Set this machine's clock by NTP.")]


def _key(error: GatewayError | None, settings: Settings) -> Finding:
    if error is not None and not lacks_permission(error):
        return failure(KEY, *explain(error))
    mode = "live mode: real money moves" if settings.livemode else "test mode: no money moves"
    return ok(KEY, f"Stripe accepts it, in {mode}.")


def _rights(probes: Mapping[str, GatewayError | None]) -> Finding:
    """Which rights the key lacks, by the error of each probe. Probes only read; missing write rights show later."""
    lacking = [right for right, error in probes.items() if lacks_permission(error)]
    if error := next((it for it in probes.values() if it is not None and not lacks_permission(it)), None):
        return failure(RIGHTS, *explain(error))
    if set(lacking) & NEEDED:
        return failure(RIGHTS, f"The key lacks the right {' and '.join(lacking)}.", permission_hint(*lacking))
    if lacking:
        cost = "Kvit misses some changes at Stripe" if set(lacking) - set(FOR_FEES) else "reports lack fees or payouts"
        detail = f"Without the right {' and '.join(lacking)} {cost}."
        return warning(RIGHTS, detail, permission_hint(*lacking))
    return ok(RIGHTS, "The key has the rights to read that Kvit needs.")


async def _mobilepay(stripe: StripeAdminClient, settings: Settings) -> Finding:
    """The account needs the capability and the payment method settings must show it; the key may see only one."""
    try:
        account = await stripe.account()
    except GatewayError as error:
        return await _payment_methods(stripe, error)
    if settings.livemode and not account.charges_enabled:
        hint = "Complete what the first page of Stripe's Dashboard asks for."
        return failure(MOBILEPAY, "Stripe does not let this account accept payments yet.", hint)
    match account.mobilepay:
        case "active":
            return await _payment_methods(stripe, None)
        case "pending":
            return failure(MOBILEPAY, "Stripe is still reviewing it for this account.", "Wait for Stripe's email.")
        case _:
            return failure(MOBILEPAY, "The account does not have it.", ENABLE_MOBILEPAY)


async def _payment_methods(stripe: StripeAdminClient, account_error: GatewayError | None) -> Finding:
    try:
        enabled = await stripe.has_mobilepay()
    except GatewayError as error:
        if account_error is None and lacks_permission(error):
            return ok(MOBILEPAY, "The account has it.")
        if lacks_permission(error):
            return warning(MOBILEPAY, "The key may not see whether it is on.", permission_hint(ACCOUNT, METHODS))
        return failure(MOBILEPAY, *explain(error))
    if enabled:
        return ok(MOBILEPAY, "It is on.")
    return failure(MOBILEPAY, "It is off in the payment method settings.", ENABLE_MOBILEPAY)
