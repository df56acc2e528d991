"""The Refund object with the fields of each status, as in API version 2026-10-28.endive."""

from __future__ import annotations

from bot.sandbox.fake_stripe.api_error import Json

EMAIL_DAYS = 30


def make_refund(identity: Json, charge: Json, params: Json) -> Json:
    """A pending Refund; `STATUS_FIELDS` are added and removed with the status.

    `failure_balance_transaction` is there only once it has failed: by Stripe's schema it is never null.
    """
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
    """The destination while the acquirer reference number is pending."""
    card = {"reference_status": "pending", "reference_type": "acquirer_reference_number", "type": "refund"}
    return {"card": card, "type": "card"}


def email_sent(at: int) -> Json:
    """The next action: Stripe has sent the customer an email that asks for the destination."""
    sent = {"email_sent_at": at, "email_sent_to": "customer@kvit.example"}
    return {
        "display_details": {"email_sent": sent, "expires_at": at + EMAIL_DAYS * 86400},
        "type": "display_details",
    }
