"""Payment attempts on an intent: begin, approve, decline, expire."""

from __future__ import annotations

from datetime import timedelta

from bot.sandbox.fake_stripe import captures, objects
from bot.sandbox.fake_stripe.api_error import DOCS, Json
from bot.sandbox.fake_stripe.state import ACCOUNT, FakeStripeState, RequestCause
from bot.sandbox.fake_stripe.store import Attempt

MESSAGES = {
    "payment_intent_payment_attempt_expired": "The customer did not authorize the payment in time.",
    "payment_intent_authentication_failure": "The provided payment method has failed authentication. You can provide"
    " payment_method_data or a new PaymentMethod to attempt to fulfill this PaymentIntent again.",
    "card_declined": "Your card was declined.",
    "payment_method_customer_decline": "The customer declined the payment.",
    "payment_method_provider_decline": "The payment was declined by the provider.",
}


def begin(state: FakeStripeState, cause: RequestCause, intent: Json, return_url: str) -> None:
    """Create a link for the customer; the intent is in `requires_action` until the attempt ends or expires."""
    before = state.store.attempts.setdefault(intent["id"], [])
    ends = cause.at + timedelta(seconds=state.options.attempt_seconds)
    nonce = state.ids.make("pa_nonce_", 26)
    attempt = Attempt(nonce, intent["id"], len(before) + 1, cause.at, ends, return_url)
    before.append(attempt)
    state.store.links[nonce] = attempt
    redirect = {"return_url": return_url, "url": link_url(state, attempt)}
    action = {"redirect_to_url": redirect, "type": "redirect_to_url"}
    intent |= {"status": "requires_action", "next_action": action, "last_payment_error": None}
    state.emit(cause, "payment_intent.requires_action", intent)
    seconds = state.options.attempt_seconds + state.options.expiry_delay
    state.call_later(cause, seconds, lambda due: expire(state, due, attempt))


def link_url(state: FakeStripeState, attempt: Attempt) -> str:
    """The URL of the link."""
    return f"{state.base}/test/authorize/{ACCOUNT}/{attempt.nonce}"


def approve(state: FakeStripeState, cause: RequestCause, attempt: Attempt) -> None:
    """The customer approves: the amount is captured, or authorized if the capture is manual."""
    intent = state.store.intents[attempt.intent]
    attempt.end("approved", cause.at)
    holds = is_manual_capture(intent)
    charge = objects.charge(
        state.new_identity("ch_", cause.at),
        intent,
        state.store.payment_methods[intent["payment_method"]],
        captured=not holds,
    )
    state.store.charges[charge["id"]] = charge
    intent |= {"latest_charge": charge["id"], "next_action": None}
    if holds:
        _hold(state, cause, intent, charge)
    else:
        captures.record_on_balance(state, cause, intent, charge)
        state.emit(cause, "charge.succeeded", charge)
        intent |= {"status": "succeeded", "amount_received": intent["amount"]}
        state.emit(cause, "payment_intent.succeeded", intent)


def _hold(state: FakeStripeState, cause: RequestCause, intent: Json, charge: Json) -> None:
    state.emit(cause, "charge.succeeded", charge)
    intent |= {"status": "requires_capture", "amount_capturable": intent["amount"]}
    state.emit(cause, "payment_intent.amount_capturable_updated", intent)
    state.call_later(cause, state.options.hold_seconds, lambda due: captures.expire_hold(state, due, intent))


def is_manual_capture(intent: Json) -> bool:
    """Whether approval only authorizes; MobilePay's option overrides the intent's."""
    own = intent["payment_method_options"].get("mobilepay", {}).get("capture_method")
    return "manual" in (own, intent["capture_method"])


def decline(
    state: FakeStripeState,
    cause: RequestCause,
    attempt: Attempt,
    *,
    code: str | None = None,
    decline_code: str | None = None,
    final: bool = True,
) -> None:
    """The attempt fails with `code`. If not `final`, one card is declined and the customer can choose another."""
    code = code or state.options.decline_code
    if not final:
        _create_failed_charge(state, cause, state.store.intents[attempt.intent], code, decline_code)
        return
    attempt.end("declined", cause.at)
    _fail(state, cause, attempt, code, decline_code)


def expire(state: FakeStripeState, cause: RequestCause, attempt: Attempt) -> None:
    """The attempt expires, unless it has ended already."""
    if attempt.outcome is None:
        attempt.end("expired", cause.at)
        _fail(state, cause, attempt, state.options.expiry_code, None)


def _fail(state: FakeStripeState, cause: RequestCause, attempt: Attempt, code: str, decline_code: str | None) -> None:
    intent = state.store.intents[attempt.intent]
    method = state.store.payment_methods[intent["payment_method"]]
    error: Json = {"code": code, "doc_url": DOCS + code.replace("_", "-"), "message": error_message(code)}
    error |= {"payment_method": method, "type": "card_error" if decline_code else "invalid_request_error"}
    if decline_code:
        error["decline_code"] = decline_code
    if state.options.failed_charges:
        error["charge"] = _create_failed_charge(state, cause, intent, code, decline_code)
    intent |= {"status": "requires_payment_method", "payment_method": None, "next_action": None}
    intent["last_payment_error"] = error
    state.emit(cause, "payment_intent.payment_failed", intent)


def _create_failed_charge(
    state: FakeStripeState, cause: RequestCause, intent: Json, code: str, decline_code: str | None
) -> str:
    method = state.store.payment_methods[intent["payment_method"]]
    charge = objects.charge(state.new_identity("ch_", cause.at), intent, method, captured=False)
    charge = objects.failed_charge(charge, code, error_message(code), decline_code)
    state.store.charges[charge["id"]] = charge
    intent["latest_charge"] = charge["id"]
    state.emit(cause, "charge.failed", charge)
    return str(charge["id"])


def error_message(code: str) -> str:
    return MESSAGES.get(code, "The payment attempt failed.")
