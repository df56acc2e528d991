"""The Account, Balance and PaymentMethodConfiguration endpoints."""

from __future__ import annotations

from collections import Counter

from bot.sandbox.fake_stripe import form_params, objects, pagination
from bot.sandbox.fake_stripe.api_error import Json
from bot.sandbox.fake_stripe.endpoint import Call, Endpoint
from bot.sandbox.fake_stripe.state import ACCOUNT

CREATED = 1_760_000_000
REQUIREMENTS: Json = {
    "alternatives": [],
    "current_deadline": None,
    "currently_due": [],
    "disabled_reason": None,
    "errors": [],
    "eventually_due": [],
    "past_due": [],
    "pending_verification": [],
}


def retrieve(call: Call) -> Json:
    """A Danish company with card payments; MobilePay depends on `options.mobilepay`."""
    return {
        "id": ACCOUNT,
        "object": "account",
        "business_profile": business_profile(),
        "business_type": "company",
        "capabilities": {
            "card_payments": "active",
            "mobilepay_payments": call.state.options.mobilepay,
            "transfers": "active",
        },
        "charges_enabled": True,
        "controller": {"type": "account"},
        "country": "DK",
        "created": CREATED,
        "default_currency": "dkk",
        "details_submitted": True,
        "email": "owner@kvit.example",
        "external_accounts": objects.list_object([], f"/v1/accounts/{ACCOUNT}/external_accounts", has_more=False),
        "future_requirements": REQUIREMENTS,
        "metadata": {},
        "payouts_enabled": True,
        "requirements": REQUIREMENTS,
        "settings": settings(),
        "tos_acceptance": {"date": CREATED, "ip": None, "user_agent": None},
        "type": "standard",
    }


def business_profile() -> Json:
    """By Stripe's schema `monthly_estimated_revenue` is left out if it is not known, while the others are null."""
    empty = ("annual_revenue", "estimated_worker_count", "minority_owned_business_designation", "product_description")
    support = ("support_address", "support_email", "support_phone", "support_url", "url")
    return dict.fromkeys(empty + support) | {"mcc": "5734", "name": "Kvit sandbox"}


def settings() -> Json:
    return {
        "branding": {"icon": None, "logo": None, "primary_color": None, "secondary_color": None},
        "card_payments": {"statement_descriptor_prefix": "KVIT"},
        "dashboard": {"display_name": "Kvit sandbox", "timezone": "Europe/Copenhagen"},
        "payments": {"statement_descriptor": "KVIT SANDBOX"},
        "payouts": {
            "debit_negative_balances": True,
            "schedule": {"delay_days": 3, "interval": "daily"},
            "statement_descriptor": None,
        },
    }


def balance(call: Call) -> Json:
    """Captured minus refunded and disputed amounts by currency, or the forced balance. Everything is available."""
    sums: Counter[str] = Counter({"dkk": 0})
    store, forced = call.state.store, call.state.balance.available
    for charge in store.charges.values():
        sums[charge["currency"]] += charge["amount_captured"]
    for refund in store.refunds.values():
        sums[refund["currency"]] -= refund["amount"] if refund["status"] == "succeeded" else 0
    for dispute in store.disputes.values():
        sums[dispute["currency"]] += sum(transaction["net"] for transaction in dispute["balance_transactions"])
    if forced is not None:
        sums = Counter(dict.fromkeys(sums, forced))
    available = [{"amount": n, "currency": name, "source_types": {"card": n}} for name, n in sorted(sums.items())]
    pending = [{"amount": 0, "currency": name, "source_types": {"card": 0}} for name in sorted(sums)]
    return {
        "object": "balance",
        "available": available,
        "livemode": call.state.livemode,
        "pending": pending,
        "refund_and_dispute_prefunding": {"available": [], "pending": []},
    }


def configurations(call: Call) -> Json:
    return pagination.page(
        call, "/v1/payment_method_configurations", "payment_method_configuration", [configuration(call)]
    )


def configuration(call: Call) -> Json:
    """The default configuration: cards, and MobilePay if it is active and enabled."""
    options = call.state.options
    return {
        "id": objects.CONFIGURATION,
        "object": "payment_method_configuration",
        "active": True,
        "application": None,
        "card": _availability(available=True),
        "is_default": True,
        "livemode": call.state.livemode,
        "mobilepay": _availability(available=options.mobilepay == "active", shown=options.mobilepay_enabled),
        "name": "Default",
        "parent": None,
    }


def _availability(*, available: bool, shown: bool = True) -> Json:
    value = "on" if available and shown else "off"
    return {
        "available": available and shown,
        "display_preference": {"overridable": None, "preference": value, "value": value},
    }


ENDPOINTS = (
    Endpoint("GET", "/v1/account", retrieve),
    Endpoint("GET", "/v1/balance", balance),
    Endpoint(
        "GET",
        "/v1/payment_method_configurations",
        configurations,
        {**pagination.CURSORS, "active": form_params.boolean, "application": form_params.text()},
    ),
)
