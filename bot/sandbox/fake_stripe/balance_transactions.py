"""Balance transactions: one for each captured charge, refund and failed refund; and their endpoints."""

from __future__ import annotations

from bot.sandbox.fake_stripe import form_params, pagination
from bot.sandbox.fake_stripe.api_error import Json, not_found
from bot.sandbox.fake_stripe.endpoint import Call, Endpoint
from bot.sandbox.fake_stripe.state import FakeStripeState, RequestCause

ROOT = "/v1/balance_transactions"


def add(state: FakeStripeState, cause: RequestCause, source: Json, kind: str, amount: int) -> str:
    """Store a transaction of `amount` minor units, without a fee; returns its id. `kind` is charge, refund, …"""
    number, at = state.ids.make("txn_"), int(cause.at.timestamp())
    state.store.balance_transactions[number] = {
        "id": number,
        "object": "balance_transaction",
        "amount": amount,
        "available_on": at,
        "balance_type": "payments",
        "created": at,
        "currency": source["currency"],
        "description": source.get("description"),
        "exchange_rate": None,
        "fee": 0,
        "fee_details": [],
        "net": amount,
        "reporting_category": kind,
        "source": source["id"],
        "status": "available",
        "type": kind,
    }
    return number


def retrieve(call: Call) -> Json:
    found: Json | None = call.state.store.balance_transactions.get(call.id)
    if found is None:
        raise not_found("balance transaction", call.id)
    return found


def list_all(call: Call) -> Json:
    filters = {name: call.params[name] for name in ("currency", "source", "type") if name in call.params}
    matching = [item for item in call.state.store.balance_transactions.values() if filters.items() <= item.items()]
    return pagination.page(call, ROOT, "balance_transaction", matching)


FILTERS: form_params.Fields = dict.fromkeys(("currency", "source", "type", "payout"), form_params.text())
ENDPOINTS = (
    Endpoint("GET", ROOT, list_all, {**pagination.CURSORS, "created": form_params.time_range, **FILTERS}),
    Endpoint("GET", f"{ROOT}/:id", retrieve),
)
