"""Looks whether Stripe takes the key, lets it do what Kvit needs, and offers MobilePay."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from bot.checks.stripe_webhooks import look_at_webhooks
from bot.checks.findings import Finding, fine, note, wrong
from bot.settings import Settings
from bot.stripe.admin_client import StripeSetup
from bot.stripe.error_help import explained, grant, lacks_right, refusal_of
from handlers.clock import Clock
from handlers.stripe.gateway import GatewayError

CLOCK, KEY, RIGHTS, MOBILEPAY = "clock", "stripe key", "stripe rights", "mobilepay"
CLOCKS_APART = timedelta(seconds=60)
DAY = timedelta(days=1)
INTENTS, REFUNDS = "PaymentIntents: Write", "Refunds: Write"
DISPUTES, EVENTS = "Disputes: Read", "Events: Read"
NEEDED = {INTENTS, REFUNDS}
"""What `serve` does not work without; without the others it sees less."""

ACCOUNT, METHODS = "Account: Read", "Payment Method Configurations: Read"
SWITCH_ON = "In Stripe's Dashboard, Settings, Payment methods: turn MobilePay on."


async def look(settings: Settings, clock: Clock) -> list[Finding]:
    """Ask Stripe; nothing is changed there. Where the key is refused there is nothing more to ask."""
    stripe = StripeSetup(settings.stripe_api_key.get_secret_value(), api_base=settings.stripe_api_base)
    try:
        refusal = await refusal_of(stripe.look_at_intents())
        found = [*_clock(stripe, clock), _key(refusal, settings)]
        return [*found, *(await _behind_the_key(stripe, settings, clock, refusal))] if found[-1].ok else found
    finally:
        await stripe.close()


async def _behind_the_key(
    stripe: StripeSetup, settings: Settings, clock: Clock, refusal: GatewayError | None
) -> list[Finding]:
    now = stripe.date or clock.now()
    events = await refusal_of(stripe.delivered(now - DAY, now))
    refunds, disputes = await refusal_of(stripe.look_at_refunds()), await refusal_of(stripe.look_at_disputes())
    rights = _rights({INTENTS: refusal, REFUNDS: refunds, DISPUTES: disputes, EVENTS: events})
    return [rights, await _mobilepay(stripe, settings), *(await look_at_webhooks(stripe, settings, now))]


def _clock(stripe: StripeSetup, clock: Clock) -> list[Finding]:
    """Signatures of webhooks grow old by this machine's clock; nothing where Stripe did not say what time it is."""
    if stripe.date is None:
        return []
    apart = clock.now() - stripe.date
    seconds = f"{abs(apart.total_seconds()):.0f} seconds"
    if abs(apart) <= CLOCKS_APART:
        return [fine(CLOCK, f"It is within {CLOCKS_APART.seconds} seconds of Stripe's.")]
    side = "ahead of" if apart > timedelta() else "behind"
    return [wrong(CLOCK, f"It is {seconds} {side} Stripe's.", "Have this machine's clock set by NTP.")]


def _key(refusal: GatewayError | None, settings: Settings) -> Finding:
    if refusal is not None and not lacks_right(refusal):
        return wrong(KEY, *explained(refusal))
    mode = "live mode: real money moves" if settings.livemode else "test mode: no money moves"
    return fine(KEY, f"Stripe takes it, in {mode}.")


def _rights(asked: Mapping[str, GatewayError | None]) -> Finding:
    """What the key may read; whether it may also write shows when it first does."""
    lacking = [right for right, refusal in asked.items() if lacks_right(refusal)]
    if refusal := next((it for it in asked.values() if it is not None and not lacks_right(it)), None):
        return wrong(RIGHTS, *explained(refusal))
    if set(lacking) & NEEDED:
        return wrong(RIGHTS, f"The key lacks the right {' and '.join(lacking)}.", grant(*lacking))
    if lacking:
        return note(
            RIGHTS, f"Without the right {' and '.join(lacking)} not all of Stripe's news is seen.", grant(*lacking)
        )
    return fine(RIGHTS, "The key may read what Kvit reads.")


async def _mobilepay(stripe: StripeSetup, settings: Settings) -> Finding:
    """The account must have it, and the payment method settings must show it; either may be hidden from the key."""
    try:
        account = await stripe.account()
    except GatewayError as error:
        return await _by_the_methods(stripe, error)
    if settings.livemode and not account.charges_enabled:
        remedy = "Finish what Stripe's Dashboard asks for on its first page."
        return wrong(MOBILEPAY, "Stripe does not let this account take payments yet.", remedy)
    match account.mobilepay:
        case "active":
            return await _by_the_methods(stripe, None)
        case "pending":
            return wrong(MOBILEPAY, "Stripe still examines whether the account may have it.", "Wait for Stripe's mail.")
        case _:
            return wrong(MOBILEPAY, "The account does not have it.", SWITCH_ON)


async def _by_the_methods(stripe: StripeSetup, account_hidden: GatewayError | None) -> Finding:
    try:
        offered = await stripe.offers_mobilepay()
    except GatewayError as error:
        if account_hidden is None and lacks_right(error):
            return fine(MOBILEPAY, "The account has it.")
        if lacks_right(error):
            return note(MOBILEPAY, "The key may not see whether it is on.", grant(ACCOUNT, METHODS))
        return wrong(MOBILEPAY, *explained(error))
    if offered:
        return fine(MOBILEPAY, "It is on.")
    return wrong(MOBILEPAY, "It is off in the payment method settings.", SWITCH_ON)
