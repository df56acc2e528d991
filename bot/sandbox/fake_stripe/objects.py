"""Stripe's payment objects, with every field that API version 2026-10-28.endive has for MobilePay."""

from __future__ import annotations

from typing import Any

from bot.sandbox.fake_stripe.api_error import Json

API_VERSION = "2026-10-28.endive"

EMPTY_BILLING_DETAILS = {
    "address": {"city": None, "country": None, "line1": None, "line2": None, "postal_code": None, "state": None},
    "email": None,
    "name": None,
    "phone": None,
    "tax_id": None,
}

COPIED_PARAMS = (
    "application_fee_amount",
    "customer",
    "customer_account",
    "description",
    "on_behalf_of",
    "receipt_email",
    "setup_future_usage",
    "shipping",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_data",
    "transfer_group",
)


def intent(identity: Json, params: Json, types: list[str]) -> Json:
    """A new PaymentIntent in `requires_payment_method`; `identity` has id, client_secret, created, livemode."""
    return {
        "id": identity["id"],
        "object": "payment_intent",
        "allowed_payment_method_types": params.get("allowed_payment_method_types"),
        "amount": params["amount"],
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "automatic_payment_methods": automatic_payment_methods(params),
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": params.get("capture_method") or "automatic_async",
        "client_secret": identity["client_secret"],
        "confirmation_method": params.get("confirmation_method") or "automatic",
        "created": identity["created"],
        "currency": params["currency"],
        "excluded_payment_method_types": params.get("excluded_payment_method_types"),
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": identity["livemode"],
        "metadata": params.get("metadata") or {},
        "next_action": None,
        "payment_method": None,
        "payment_method_configuration_details": {"id": CONFIGURATION, "parent": None}
        if automatic_payment_methods(params)
        else None,
        "payment_method_options": payment_method_options(params, types),
        "payment_method_types": types,
        "payment_record": None,
        "processing": None,
        "review": None,
        "source": None,
        "status": "requires_payment_method",
    } | {name: params.get(name) for name in COPIED_PARAMS}


CONFIGURATION = "pmc_1SandboxKvitMobilePay0001"


def automatic_payment_methods(params: Json) -> Json | None:
    """Automatic payment methods are on unless the request chooses method types (since 2023-08-16)."""
    if "allowed_payment_method_types" in params:
        return None
    chosen = params.get("automatic_payment_methods") or {"enabled": True}
    return (
        {"allow_redirects": chosen.get("allow_redirects") or "always", "enabled": True} if chosen["enabled"] else None
    )


def payment_method_options(params: Json, types: list[str]) -> Json:
    known: Json = {
        "card": {
            "installments": None,
            "mandate_options": None,
            "network": None,
            "request_three_d_secure": "automatic",
        },
        "mobilepay": {
            name: value
            for name, value in params.get("payment_method_options", {}).get("mobilepay", {}).items()
            if value
        },
    }
    return {name: known[name] for name in types}


def payment_method(identity: Json, data: Json) -> Json:
    """A MobilePay PaymentMethod from `payment_method_data`."""
    return {
        "id": identity["id"],
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": EMPTY_BILLING_DETAILS | (data.get("billing_details") or {}),
        "created": identity["created"],
        "customer": None,
        "customer_account": None,
        "livemode": identity["livemode"],
        "metadata": data.get("metadata") or {},
        "mobilepay": {},
        "type": "mobilepay",
    }


def charge(identity: Json, intent: Json, payment_method: Json, *, captured: bool) -> Json:
    """A successful Charge of `intent`; `captured` is false for a hold."""
    amount = intent["amount"]
    copied = (
        "application_fee_amount",
        "currency",
        "customer",
        "description",
        "on_behalf_of",
        "receipt_email",
        "shipping",
        "statement_descriptor",
        "statement_descriptor_suffix",
        "transfer_data",
        "transfer_group",
    )
    return {
        "id": identity["id"],
        "object": "charge",
        "amount": amount,
        "amount_captured": amount if captured else 0,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "balance_transaction": None,
        "billing_details": payment_method["billing_details"],
        "calculated_statement_descriptor": "KVIT SANDBOX",
        "captured": captured,
        "created": identity["created"],
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "fraud_details": {},
        "livemode": identity["livemode"],
        "metadata": dict(intent["metadata"]),
        "outcome": outcome("authorized", "approved_by_network", "Payment complete."),
        "paid": True,
        "payment_intent": intent["id"],
        "payment_method": payment_method["id"],
        "payment_method_details": {"mobilepay": {"card": dict(CARD)}, "type": "mobilepay"},
        "radar_options": {},
        "receipt_number": None,
        "receipt_url": f"https://pay.stripe.com/receipts/payment/{identity['id']}",
        "refunded": False,
        "review": None,
        "source": None,
        "source_transfer": None,
        "status": "succeeded",
    } | {name: intent[name] for name in copied}


CARD = {"brand": "visa", "country": "DK", "exp_month": 12, "exp_year": 2030, "last4": "4242"}


def outcome(kind: str, network: str, message: str, reason: str | None = None) -> Json:
    return {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": network,
        "reason": reason,
        "risk_level": "normal",
        "risk_score": 12,
        "seller_message": message,
        "type": kind,
    }


def failed_charge(charge: Json, code: str, message: str, decline_code: str | None) -> Json:
    """The charge as a failed one."""
    return charge | {
        "amount_captured": 0,
        "captured": False,
        "failure_code": code,
        "failure_message": message,
        "outcome": outcome("issuer_declined", "declined_by_network", message, decline_code or code),
        "paid": False,
        "payment_method_details": {"mobilepay": {"card": None}, "type": "mobilepay"},
        "receipt_url": None,
        "status": "failed",
    }


def event(identity: Json, kind: str, data: Json, request: Json) -> Json:
    """A snapshot event; `data` has `object` and, for updates, `previous_attributes`."""
    return {
        "id": identity["id"],
        "object": "event",
        "api_version": API_VERSION,
        "created": identity["created"],
        "data": data,
        "livemode": identity["livemode"],
        "pending_webhooks": 0,
        "request": request,
        "type": kind,
    }


def list_object(data: list[Any], url: str, *, has_more: bool) -> Json:
    return {"object": "list", "data": data, "has_more": has_more, "url": url}
