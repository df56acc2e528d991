"""What the account behind the key is: its capabilities, its balance, its payment method settings."""

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
    """A Danish business that may take cards, and MobilePay as the switch says."""
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
    empty = ("annual_revenue", "estimated_worker_count", "monthly_estimated_revenue", "product_description")
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
    """What was captured and neither given back nor disputed, all of it available, by currency; or what was ordered."""
    sums: Counter[str] = Counter({"dkk": 0})
    ledger, ordered = call.state.store, call.state.balance.available
    for charge in ledger.charges.values():
        sums[charge["currency"]] += charge["amount_captured"]
    for refund in ledger.refunds.values():
        sums[refund["currency"]] -= refund["amount"] if refund["status"] == "succeeded" else 0
    for dispute in ledger.disputes.values():
        sums[dispute["currency"]] += sum(moved["net"] for moved in dispute["balance_transactions"])
    if ordered is not None:
        sums = Counter(dict.fromkeys(sums, ordered))
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
    """The default configuration: cards, and MobilePay where the account may use it and shows it."""
    switches = call.state.options
    return {
        "id": objects.CONFIGURATION,
        "object": "payment_method_configuration",
        "active": True,
        "application": None,
        "card": _availability(available=True),
        "is_default": True,
        "livemode": call.state.livemode,
        "mobilepay": _availability(available=switches.mobilepay == "active", shown=switches.mobilepay_enabled),
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
