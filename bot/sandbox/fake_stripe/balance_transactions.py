"""Balance transactions: of captured charges, refunds, disputes, fees and payouts; and their endpoints."""

from __future__ import annotations

from bot.sandbox.fake_stripe import form_params, pagination
from bot.sandbox.fake_stripe.api_error import Json, not_found
from bot.sandbox.fake_stripe.endpoint import Call, Endpoint
from bot.sandbox.fake_stripe.state import FakeStripeState, RequestCause

ROOT = "/v1/balance_transactions"


def add(
    state: FakeStripeState,
    cause: RequestCause,
    source: Json,
    kind: str,
    amount: int,
    *,
    fee: int = 0,
    category: str | None = None,
) -> str:
    """Store a transaction of `amount` and `fee` minor units; returns its id. `kind` is charge, refund, …

    Both are converted if the account settles in another currency than the source's. `category` is its
    `reporting_category` if that is not `kind`. A source without an id is null.
    """
    number, at = state.ids.make("txn_"), int(cause.at.timestamp())
    currency, rate = _settlement(state, source["currency"])
    amount, fee = (amount, fee) if rate is None else (round(amount * rate), round(fee * rate))
    state.store.balance_transactions[number] = {
        "id": number,
        "object": "balance_transaction",
        "amount": amount,
        "available_on": at,
        "balance_type": "payments",
        "created": at,
        "currency": currency,
        "description": source.get("description"),
        "exchange_rate": rate,
        "fee": fee,
        "fee_details": _fee_details(state, fee, currency),
        "net": amount - fee,
        "reporting_category": category or kind,
        "source": source.get("id"),
        "status": "available",
        "type": kind,
    }
    return number


def _settlement(state: FakeStripeState, currency: str) -> tuple[str, float | None]:
    """The currency in which it is settled, and the rate if that is another one."""
    settled: str = state.options.settlement_currency or currency
    return settled, None if settled == currency else state.options.exchange_rate


def _fee_details(state: FakeStripeState, fee: int, currency: str) -> list[Json]:
    """Stripe's own fee and the tax that is a part of the whole."""
    if not fee:
        return []
    tax = fee * state.options.fee_tax_rate // (10_000 + state.options.fee_tax_rate)
    parts = [("stripe_fee", fee - tax, "Stripe processing fees"), ("tax", tax, "VAT")]
    return [
        {"amount": amount, "application": None, "currency": currency, "description": text, "type": kind}
        for kind, amount, text in parts
        if amount
    ]


def retrieve(call: Call) -> Json:
    found: Json | None = call.state.store.balance_transactions.get(call.id)
    if found is None:
        raise not_found("balance transaction", call.id)
    return found


def list_all(call: Call) -> Json:
    filters = {name: call.params[name] for name in ("currency", "source", "type") if name in call.params}
    store, payout = call.state.store, call.params.get("payout")
    matching = [item for item in store.balance_transactions.values() if filters.items() <= item.items()]
    if payout is not None:
        if payout not in store.payouts:
            raise not_found("payout", payout, param="payout", status=400)
        matching = [item for item in matching if store.payout_items.get(item["id"]) == payout]
    return pagination.page(call, ROOT, "balance_transaction", matching)


FILTERS: form_params.Fields = dict.fromkeys(("currency", "source", "type", "payout"), form_params.text())
ENDPOINTS = (
    Endpoint("GET", ROOT, list_all, {**pagination.CURSORS, "created": form_params.time_range, **FILTERS}),
    Endpoint("GET", f"{ROOT}/:id", retrieve),
)
