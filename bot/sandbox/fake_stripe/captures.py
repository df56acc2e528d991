"""Capture, release and expiry of an authorized amount, and its balance transaction."""

from __future__ import annotations

from bot.sandbox.fake_stripe import balance_transactions
from bot.sandbox.fake_stripe.api_error import Json
from bot.sandbox.fake_stripe.state import FakeStripeState, RequestCause


def record_on_balance(state: FakeStripeState, cause: RequestCause, intent: Json, charge: Json) -> None:
    """Add the balance transaction to the charge: at once, or later if the capture is asynchronous.

    Since 2024-04-10 `automatic_async` is the default and leaves `balance_transaction` null until `charge.updated`.
    """
    if intent["capture_method"] != "automatic_async":
        charge["balance_transaction"] = _transaction(state, cause, charge)
        return
    state.call_later(
        cause, state.options.balance_transaction_delay, lambda due: _add_balance_transaction(state, due, charge)
    )


def _add_balance_transaction(state: FakeStripeState, cause: RequestCause, charge: Json) -> None:
    charge["balance_transaction"] = _transaction(state, cause, charge)
    state.emit(cause, "charge.updated", charge, {"balance_transaction": None})


def _transaction(state: FakeStripeState, cause: RequestCause, charge: Json) -> str:
    fee = charge["amount"] * state.options.fee_rate // 10_000
    return balance_transactions.add(state, cause, charge, "charge", charge["amount"], fee=fee)


def capture(state: FakeStripeState, cause: RequestCause, intent: Json) -> None:
    """Capture the full authorized amount."""
    charge = state.store.charges[intent["latest_charge"]]
    charge |= {"captured": True, "amount_captured": intent["amount"]}
    charge["balance_transaction"] = _transaction(state, cause, charge)
    state.emit(cause, "charge.captured", charge)
    intent |= {"status": "succeeded", "amount_capturable": 0, "amount_received": intent["amount"]}
    state.emit(cause, "payment_intent.succeeded", intent)


def cancel(state: FakeStripeState, cause: RequestCause, intent: Json, reason: str | None) -> None:
    """Cancel the intent and its open attempt; a hold is released without a Refund (since 2025-03-31)."""
    attempt = state.store.open_attempt(intent["id"])
    if attempt is not None:
        attempt.end("canceled", cause.at)
    intent |= {"status": "canceled", "canceled_at": int(cause.at.timestamp()), "cancellation_reason": reason}
    intent |= {"amount_capturable": 0, "next_action": None}
    state.emit(cause, "payment_intent.canceled", intent)


def expire_hold(state: FakeStripeState, cause: RequestCause, intent: Json) -> None:
    """Release a hold that was not captured in time."""
    if intent["status"] == "requires_capture":
        state.emit(cause, "charge.expired", state.store.charges[intent["latest_charge"]])
        cancel(state, cause, intent, "automatic")
