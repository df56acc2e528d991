"""The Dispute object, as in API version 2026-10-28.endive."""

from __future__ import annotations

from bot.sandbox.fake_stripe.api_error import Json

EVIDENCE = """
    access_activity_log appeal billing_address cancellation_policy cancellation_policy_disclosure
    cancellation_rebuttal customer_communication customer_email_address customer_name customer_purchase_ip
    customer_signature duplicate_charge_documentation duplicate_charge_explanation duplicate_charge_id
    product_description receipt refund_policy refund_policy_disclosure refund_refusal_explanation service_date
    service_documentation shipping_address shipping_carrier shipping_date shipping_documentation
    shipping_tracking_number uncategorized_file uncategorized_text
"""
NETWORK_CODES = {"fraudulent": "10.4", "product_not_received": "13.1", "duplicate": "12.6"}


def make_dispute(identity: Json, charge: Json, claim: Json) -> Json:
    """A Dispute of `charge`; `claim` has amount, reason, status, due_by and refundable."""
    code = NETWORK_CODES.get(claim["reason"], "13.7")
    case = "inquiry" if claim["status"].startswith("warning") else "chargeback"
    card = {"brand": "visa", "case_type": case, "network": "visa", "network_reason_code": code}
    return {
        "id": identity["id"],
        "object": "dispute",
        "amount": claim["amount"],
        "balance_transactions": [],
        "charge": charge["id"],
        "created": identity["created"],
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": dict.fromkeys(EVIDENCE.split()) | {"enhanced_evidence": {}},
        "evidence_details": {
            "due_by": claim["due_by"],
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "intended_submission_method": None,
        "is_charge_refundable": claim["refundable"],
        "livemode": identity["livemode"],
        "metadata": {},
        "network_reason_code": code,
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {"card": card, "type": "card"},
        "reason": claim["reason"],
        "status": claim["status"],
    }
