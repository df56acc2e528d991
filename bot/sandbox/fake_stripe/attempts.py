"""What the customer and the five minutes do to an intent: begin, approve, decline, lapse."""

from __future__ import annotations

from datetime import timedelta

from bot.sandbox.fake_stripe import captures, objects
from bot.sandbox.fake_stripe.api_error import DOCS, Json
from bot.sandbox.fake_stripe.ledger import Attempt
from bot.sandbox.fake_stripe.state import ACCOUNT, Cause, World

MESSAGES = {
    "payment_intent_payment_attempt_expired": "The customer did not authorize the payment in time.",
    "payment_intent_authentication_failure": "The provided payment method has failed authentication. You can provide"
    " payment_method_data or a new PaymentMethod to attempt to fulfill this PaymentIntent again.",
    "card_declined": "Your card was declined.",
    "payment_method_customer_decline": "The customer declined the payment.",
    "payment_method_provider_decline": "The payment was declined by the provider.",
}


def begin(world: World, cause: Cause, intent: Json, return_url: str) -> None:
    """Open a link for the customer: the intent waits in `requires_action` for five minutes from now."""
    before = world.ledger.attempts.setdefault(intent["id"], [])
    ends = cause.at + timedelta(seconds=world.switches.attempt_seconds)
    nonce = world.names.make("pa_nonce_", 26)
    attempt = Attempt(nonce, intent["id"], len(before) + 1, cause.at, ends, return_url)
    before.append(attempt)
    world.ledger.links[nonce] = attempt
    redirect = {"return_url": return_url, "url": address(world, attempt)}
    action = {"redirect_to_url": redirect, "type": "redirect_to_url"}
    intent |= {"status": "requires_action", "next_action": action, "last_payment_error": None}
    world.emit(cause, "payment_intent.requires_action", intent)
    seconds = world.switches.attempt_seconds + world.switches.lapse_delay
    world.later(cause, seconds, lambda due: lapse(world, due, attempt))


def address(world: World, attempt: Attempt) -> str:
    """The link itself."""
    return f"{world.base}/test/authorize/{ACCOUNT}/{attempt.nonce}"


def approve(world: World, cause: Cause, attempt: Attempt) -> None:
    """The customer swipes: money is taken, or held when the capture is manual."""
    intent = world.ledger.intents[attempt.intent]
    attempt.end("approved", cause.at)
    holds = manual(intent)
    charge = objects.charge(
        world.identity("ch_", cause.at), intent, world.ledger.methods[intent["payment_method"]], captured=not holds
    )
    world.ledger.charges[charge["id"]] = charge
    intent |= {"latest_charge": charge["id"], "next_action": None}
    if holds:
        _hold(world, cause, intent, charge)
    else:
        captures.book(world, cause, intent, charge)
        world.emit(cause, "charge.succeeded", charge)
        intent |= {"status": "succeeded", "amount_received": intent["amount"]}
        world.emit(cause, "payment_intent.succeeded", intent)


def _hold(world: World, cause: Cause, intent: Json, charge: Json) -> None:
    world.emit(cause, "charge.succeeded", charge)
    intent |= {"status": "requires_capture", "amount_capturable": intent["amount"]}
    world.emit(cause, "payment_intent.amount_capturable_updated", intent)
    world.later(cause, world.switches.hold_seconds, lambda due: captures.expire(world, due, intent))


def manual(intent: Json) -> bool:
    """Whether approval only holds the money; MobilePay's own option beats the intent's."""
    own = intent["payment_method_options"].get("mobilepay", {}).get("capture_method")
    return "manual" in (own, intent["capture_method"])


def decline(
    world: World,
    cause: Cause,
    attempt: Attempt,
    *,
    code: str | None = None,
    decline_code: str | None = None,
    final: bool = True,
) -> None:
    """The payment fails with `code`; not `final`: one card is declined and the customer may try another in the app."""
    code = code or world.switches.decline_code
    if not final:
        _failed_charge(world, cause, world.ledger.intents[attempt.intent], code, decline_code)
        return
    attempt.end("declined", cause.at)
    _fail(world, cause, attempt, code, decline_code)


def lapse(world: World, cause: Cause, attempt: Attempt) -> None:
    """The five minutes are over; nothing happens to an attempt that ended otherwise."""
    if attempt.outcome is None:
        attempt.end("expired", cause.at)
        _fail(world, cause, attempt, world.switches.lapse_code, None)


def _fail(world: World, cause: Cause, attempt: Attempt, code: str, decline_code: str | None) -> None:
    intent = world.ledger.intents[attempt.intent]
    method = world.ledger.methods[intent["payment_method"]]
    error: Json = {"code": code, "doc_url": DOCS + code.replace("_", "-"), "message": message(code)}
    error |= {"payment_method": method, "type": "card_error" if decline_code else "invalid_request_error"}
    if decline_code:
        error["decline_code"] = decline_code
    if world.switches.failed_charges:
        error["charge"] = _failed_charge(world, cause, intent, code, decline_code)
    intent |= {"status": "requires_payment_method", "payment_method": None, "next_action": None}
    intent["last_payment_error"] = error
    world.emit(cause, "payment_intent.payment_failed", intent)


def _failed_charge(world: World, cause: Cause, intent: Json, code: str, decline_code: str | None) -> str:
    method = world.ledger.methods[intent["payment_method"]]
    whole = objects.charge(world.identity("ch_", cause.at), intent, method, captured=False)
    charge = objects.failed(whole, code, message(code), decline_code)
    world.ledger.charges[charge["id"]] = charge
    intent["latest_charge"] = charge["id"]
    world.emit(cause, "charge.failed", charge)
    return str(charge["id"])


def message(code: str) -> str:
    return MESSAGES.get(code, "The payment attempt failed.")
