"""What happens to money that is held or taken: booked on the balance, captured, released."""

from __future__ import annotations

from bot.sandbox.fake_stripe.api_error import Json
from bot.sandbox.fake_stripe.state import Cause, World


def book(world: World, cause: Cause, intent: Json, charge: Json) -> None:
    """Give the charge its balance transaction: at once, or a moment later when the capture is asynchronous.

    Since 2024-04-10 `automatic_async` is the default and leaves `balance_transaction` null until `charge.updated`.
    """
    if intent["capture_method"] != "automatic_async":
        charge["balance_transaction"] = world.names.make("txn_")
        return
    world.later(cause, world.switches.booking_seconds, lambda due: _booked(world, due, charge))


def _booked(world: World, cause: Cause, charge: Json) -> None:
    charge["balance_transaction"] = world.names.make("txn_")
    world.emit(cause, "charge.updated", charge, {"balance_transaction": None})


def capture(world: World, cause: Cause, intent: Json) -> None:
    """Take the whole held amount."""
    charge = world.ledger.charges[intent["latest_charge"]]
    charge |= {"captured": True, "amount_captured": intent["amount"]}
    charge["balance_transaction"] = world.names.make("txn_")
    world.emit(cause, "charge.captured", charge)
    intent |= {"status": "succeeded", "amount_capturable": 0, "amount_received": intent["amount"]}
    world.emit(cause, "payment_intent.succeeded", intent)


def cancel(world: World, cause: Cause, intent: Json, reason: str | None) -> None:
    """End the intent and whatever is open on it; a hold is released, without any Refund (since 2025-03-31)."""
    attempt = world.ledger.open_attempt(intent["id"])
    if attempt is not None:
        attempt.end("canceled", cause.at)
    intent |= {"status": "canceled", "canceled_at": int(cause.at.timestamp()), "cancellation_reason": reason}
    intent |= {"amount_capturable": 0, "next_action": None}
    world.emit(cause, "payment_intent.canceled", intent)


def expire(world: World, cause: Cause, intent: Json) -> None:
    """Release a hold that nobody captured in its seven days."""
    if intent["status"] == "requires_capture":
        world.emit(cause, "charge.expired", world.ledger.charges[intent["latest_charge"]])
        cancel(world, cause, intent, "automatic")
