"""Looks whether Stripe takes the key, lets it do what Kvit needs, and offers MobilePay."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from bot.checks.stripe_webhooks import check_webhooks
from bot.findings import Finding, failure, ok, warning
from bot.settings import Settings
from bot.stripe.admin_client import StripeAdminClient
from bot.stripe.error_help import error_of, explain, lacks_permission, permission_hint
from handlers.clock import Clock
from handlers.stripe.gateway import GatewayError

CLOCK, KEY, RIGHTS, MOBILEPAY = "clock", "stripe key", "stripe rights", "mobilepay"
MAX_CLOCK_SKEW = timedelta(seconds=60)
DAY = timedelta(days=1)
INTENTS, REFUNDS = "PaymentIntents: Write", "Refunds: Write"
DISPUTES, EVENTS = "Disputes: Read", "Events: Read"
NEEDED = {INTENTS, REFUNDS}
"""What `serve` does not work without; without the others it sees less."""

ACCOUNT, METHODS = "Account: Read", "Payment Method Configurations: Read"
SWITCH_ON = "In Stripe's Dashboard, Settings, Payment methods: turn MobilePay on."


async def check_stripe(settings: Settings, clock: Clock) -> list[Finding]:
    """Ask Stripe; nothing is changed there. Where the key is refused there is nothing more to ask."""
    stripe = StripeAdminClient(settings.stripe_api_key.get_secret_value(), api_base=settings.stripe_api_base)
    try:
        refusal = await error_of(stripe.probe_intents())
        found = [*_clock(stripe, clock), _key(refusal, settings)]
        return [*found, *(await _check_account(stripe, settings, clock, refusal))] if found[-1].ok else found
    finally:
        await stripe.close()


async def _check_account(
    stripe: StripeAdminClient, settings: Settings, clock: Clock, refusal: GatewayError | None
) -> list[Finding]:
    now = stripe.server_date or clock.now()
    events = await error_of(stripe.delivery_results(now - DAY, now))
    refunds, disputes = await error_of(stripe.probe_refunds()), await error_of(stripe.probe_disputes())
    rights = _rights({INTENTS: refusal, REFUNDS: refunds, DISPUTES: disputes, EVENTS: events})
    return [rights, await _mobilepay(stripe, settings), *(await check_webhooks(stripe, settings, now))]


def _clock(stripe: StripeAdminClient, clock: Clock) -> list[Finding]:
    """Signatures of webhooks grow old by this machine's clock; nothing where Stripe did not say what time it is."""
    if stripe.server_date is None:
        return []
    apart = clock.now() - stripe.server_date
    seconds = f"{abs(apart.total_seconds()):.0f} seconds"
    if abs(apart) <= MAX_CLOCK_SKEW:
        return [ok(CLOCK, f"It is within {MAX_CLOCK_SKEW.seconds} seconds of Stripe's.")]
    side = "ahead of" if apart > timedelta() else "behind"
    return [failure(CLOCK, f"It is {seconds} {side} Stripe's.", "Have this machine's clock set by NTP.")]


def _key(refusal: GatewayError | None, settings: Settings) -> Finding:
    if refusal is not None and not lacks_permission(refusal):
        return failure(KEY, *explain(refusal))
    mode = "live mode: real money moves" if settings.livemode else "test mode: no money moves"
    return ok(KEY, f"Stripe takes it, in {mode}.")


def _rights(asked: Mapping[str, GatewayError | None]) -> Finding:
    """What the key may read; whether it may also write shows when it first does."""
    lacking = [right for right, refusal in asked.items() if lacks_permission(refusal)]
    if refusal := next((it for it in asked.values() if it is not None and not lacks_permission(it)), None):
        return failure(RIGHTS, *explain(refusal))
    if set(lacking) & NEEDED:
        return failure(RIGHTS, f"The key lacks the right {' and '.join(lacking)}.", permission_hint(*lacking))
    if lacking:
        return warning(
            RIGHTS,
            f"Without the right {' and '.join(lacking)} not all of Stripe's news is seen.",
            permission_hint(*lacking),
        )
    return ok(RIGHTS, "The key may read what Kvit reads.")


async def _mobilepay(stripe: StripeAdminClient, settings: Settings) -> Finding:
    """The account must have it, and the payment method settings must show it; either may be hidden from the key."""
    try:
        account = await stripe.account()
    except GatewayError as error:
        return await _by_the_methods(stripe, error)
    if settings.livemode and not account.charges_enabled:
        remedy = "Finish what Stripe's Dashboard asks for on its first page."
        return failure(MOBILEPAY, "Stripe does not let this account take payments yet.", remedy)
    match account.mobilepay:
        case "active":
            return await _by_the_methods(stripe, None)
        case "pending":
            return failure(
                MOBILEPAY, "Stripe still examines whether the account may have it.", "Wait for Stripe's mail."
            )
        case _:
            return failure(MOBILEPAY, "The account does not have it.", SWITCH_ON)


async def _by_the_methods(stripe: StripeAdminClient, account_hidden: GatewayError | None) -> Finding:
    try:
        offered = await stripe.has_mobilepay()
    except GatewayError as error:
        if account_hidden is None and lacks_permission(error):
            return ok(MOBILEPAY, "The account has it.")
        if lacks_permission(error):
            return warning(MOBILEPAY, "The key may not see whether it is on.", permission_hint(ACCOUNT, METHODS))
        return failure(MOBILEPAY, *explain(error))
    if offered:
        return ok(MOBILEPAY, "It is on.")
    return failure(MOBILEPAY, "It is off in the payment method settings.", SWITCH_ON)
