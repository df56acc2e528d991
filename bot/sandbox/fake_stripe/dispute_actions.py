"""Disputes: create, update and close, with the withdrawal and the reinstatement of the amount."""

from __future__ import annotations

from bot.sandbox.fake_stripe import balance_transactions, dispute_object, fraud_warnings, refund_actions
from bot.sandbox.fake_stripe.api_error import Json
from bot.sandbox.fake_stripe.state import FakeStripeState, RequestCause

CLOSED_STATUSES = ("won", "lost", "warning_closed", "prevented")
OPEN_STATUSES = (
    "needs_response",
    "under_review",
    "warning_needs_response",
    "warning_under_review",
    "appeal_needs_response",
    "appeal_under_review",
)


def create(state: FakeStripeState, cause: RequestCause, charge: Json, claim: Json) -> Json:
    """Create a dispute; an inquiry (`warning_…`) does not withdraw the amount yet."""
    dispute = dispute_object.make_dispute(state.new_identity("du_", cause.at), charge, claim)
    state.store.disputes[dispute["id"]] = dispute
    charge["disputed"] = True
    state.emit(cause, "charge.dispute.created", dispute)
    _withdraw_funds(state, cause, dispute)
    fraud_warnings.resolve(state, cause, charge)
    return dispute


def _withdraw_funds(state: FakeStripeState, cause: RequestCause, dispute: Json) -> None:
    """Withdraw the disputed amount, once; pending refunds of the charge fail."""
    if dispute["status"].startswith("warning") or dispute["balance_transactions"]:
        return
    _add_balance_transaction(state, cause, dispute, -dispute["amount"])
    state.emit(cause, "charge.dispute.funds_withdrawn", dispute)
    if dispute["is_charge_refundable"]:
        return
    for refund in list(state.store.refunds.values()):
        if refund["charge"] == dispute["charge"] and refund["status"] in refund_actions.PENDING_STATUSES:
            refund_actions.fail(state, cause, refund, "charge_for_pending_refund_disputed")


def _add_balance_transaction(state: FakeStripeState, cause: RequestCause, dispute: Json, amount: int) -> None:
    state.balance.add(amount)
    word = "withdrawal" if amount < 0 else "reversal"
    category = "dispute" if amount < 0 else "dispute_reversal"
    description = f"Chargeback {word} for {dispute['charge']}"
    fee = state.options.dispute_fee if amount < 0 else 0
    number = balance_transactions.add(
        state, cause, dispute | {"description": description}, "adjustment", amount, fee=fee, category=category
    )
    dispute["balance_transactions"].append(state.store.balance_transactions[number])


def update(state: FakeStripeState, cause: RequestCause, dispute: Json, status: str) -> None:
    """Change the status; an inquiry that becomes a dispute withdraws the amount."""
    before = {"status": dispute["status"]}
    escalates = before["status"].startswith("warning") and not status.startswith("warning")
    dispute |= {"status": status} | ({"is_charge_refundable": False} if escalates else {})
    state.emit(cause, "charge.dispute.updated", dispute, before)
    _withdraw_funds(state, cause, dispute)


def close(state: FakeStripeState, cause: RequestCause, dispute: Json, status: str) -> None:
    """Close the dispute; if it is won, the amount is reinstated."""
    before = {"status": dispute["status"], "is_charge_refundable": dispute["is_charge_refundable"]}
    dispute |= {"status": status, "is_charge_refundable": status != "lost"}
    state.emit(cause, "charge.dispute.closed", dispute, before)
    if status == "won" and dispute["balance_transactions"]:
        _add_balance_transaction(state, cause, dispute, dispute["amount"])
        state.emit(cause, "charge.dispute.funds_reinstated", dispute)
