"""Stripe's Refund with the fields of each of its states, as API version 2026-10-28.endive shows it."""

from __future__ import annotations

from bot.sandbox.fake_stripe.api_error import Json

EMAIL_DAYS = 30


def make_refund(identity: Json, charge: Json, params: Json) -> Json:
    """A Refund that is pending; `fields` gives those that come and go with the state."""
    return {
        "id": identity["id"],
        "object": "refund",
        "amount": params["amount"],
        "balance_transaction": None,
        "charge": charge["id"],
        "created": identity["created"],
        "currency": charge["currency"],
        "customer": charge["customer"],
        "customer_account": None,
        "destination_details": {"card": {"type": "pending"}, "type": "card"},
        "failure_balance_transaction": None,
        "metadata": params.get("metadata") or {},
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "reason": params.get("reason"),
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "pending",
        "transfer_reversal": None,
    }


STATUS_FIELDS = ("pending_reason", "failure_reason", "next_action")


def destination() -> Json:
    """Where the money went, while the acquirer's reference is awaited."""
    card = {"reference_status": "pending", "reference_type": "acquirer_reference_number", "type": "refund"}
    return {"card": card, "type": "card"}


def email_sent(at: int) -> Json:
    """What the customer has to do: read the letter and say where the money shall go."""
    sent = {"email_sent_at": at, "email_sent_to": "customer@kvit.example"}
    return {
        "display_details": {"email_sent": sent, "expires_at": at + EMAIL_DAYS * 86400},
        "type": "display_details",
    }
