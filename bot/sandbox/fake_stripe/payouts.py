"""Payouts to the bank account: the object, what happens to one, and the endpoints."""

from __future__ import annotations

from bot.sandbox.fake_stripe import balance_transactions, form_params, pagination
from bot.sandbox.fake_stripe.api_error import Json, not_found
from bot.sandbox.fake_stripe.endpoint import Call, Endpoint
from bot.sandbox.fake_stripe.state import FakeStripeState, RequestCause

ROOT = "/v1/payouts"
ARRIVAL_SECONDS = 2 * 86_400


def create(state: FakeStripeState, cause: RequestCause, currency: str, amount: int | None = None) -> Json:
    """Pay out everything in a currency that was not paid out yet, as the automatic schedule does.

    With an `amount`, it is a manual payout, for which Stripe cannot tell which transactions it consists of.
    """
    store = state.store
    unpaid = [
        item
        for item in store.balance_transactions.values()
        if item["currency"] == currency and item["id"] not in store.payout_items and item["type"] != "payout"
    ]
    automatic = amount is None
    amount = sum(item["net"] for item in unpaid) if amount is None else amount
    payout = _payout(state.new_identity("po_", cause.at), currency, amount, automatic=automatic)
    store.payouts[payout["id"]] = payout
    payout["balance_transaction"] = balance_transactions.add(state, cause, payout, "payout", -amount)
    if automatic:
        store.payout_items |= dict.fromkeys((item["id"] for item in unpaid), payout["id"])
    state.emit(cause, "payout.created", payout)
    if automatic:
        payout["reconciliation_status"] = "completed"
        state.emit(cause, "payout.reconciliation_completed", payout)
    return payout


def pay(state: FakeStripeState, cause: RequestCause, payout: Json) -> None:
    """The payout arrives."""
    payout["status"] = "paid"
    state.emit(cause, "payout.paid", payout)


def fail(state: FakeStripeState, cause: RequestCause, payout: Json) -> None:
    """The bank returns the payout, also one that had arrived; its amount is part of the next one."""
    payout |= {"status": "failed", "failure_code": "account_closed", "failure_message": "The account was closed."}
    returned = balance_transactions.add(state, cause, payout, "payout_failure", payout["amount"])
    payout["failure_balance_transaction"] = returned
    state.emit(cause, "payout.failed", payout)


def charge_fee(state: FakeStripeState, cause: RequestCause, currency: str, amount: int, description: str) -> str:
    """Stripe charges a fee that belongs to no payment, as MobilePay's of a day or a month; returns its transaction."""
    source = {"currency": currency, "description": description}
    return balance_transactions.add(state, cause, source, "stripe_fee", -amount, category="fee")


def _payout(identity: Json, currency: str, amount: int, *, automatic: bool) -> Json:
    return {
        "id": identity["id"],
        "object": "payout",
        "amount": amount,
        "application_fee": None,
        "application_fee_amount": None,
        "arrival_date": identity["created"] + ARRIVAL_SECONDS,
        "automatic": automatic,
        "balance_transaction": None,
        "created": identity["created"],
        "currency": currency,
        "description": "STRIPE PAYOUT",
        "destination": "ba_1SandboxKvit0001",
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "livemode": identity["livemode"],
        "metadata": {},
        "method": "standard",
        "original_payout": None,
        "payout_method": None,
        "reconciliation_status": "in_progress" if automatic else "not_applicable",
        "reversed_by": None,
        "source_type": "card",
        "statement_descriptor": None,
        "status": "in_transit",
        "trace_id": {"status": "pending", "value": None},
        "type": "bank_account",
    }


def retrieve(call: Call) -> Json:
    found: Json | None = call.state.store.payouts.get(call.id)
    if found is None:
        raise not_found("payout", call.id)
    return found


def list_all(call: Call) -> Json:
    status = call.params.get("status")
    matching = [item for item in call.state.store.payouts.values() if status in (None, item["status"])]
    return pagination.page(call, ROOT, "payout", matching)


LIST: form_params.Fields = {
    **pagination.CURSORS,
    "created": form_params.time_range,
    "arrival_date": form_params.time_range,
    "destination": form_params.text(),
    "status": form_params.one_of("pending", "paid", "failed", "canceled"),
}
ENDPOINTS = (Endpoint("GET", ROOT, list_all, LIST), Endpoint("GET", f"{ROOT}/:id", retrieve))
