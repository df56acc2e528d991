"""Refunds: create, succeed, require action, cancel, fail; and their effect on the charge."""

from __future__ import annotations

from bot.sandbox.fake_stripe import balance_transactions, fraud_warnings, refund_object
from bot.sandbox.fake_stripe.api_error import ApiError, Json
from bot.sandbox.fake_stripe.balance import ForcedOutcome
from bot.sandbox.fake_stripe.state import FakeStripeState, RequestCause

BANK_REFERENCE_DELAY = 3600.0
PENDING_STATUSES = ("pending", "requires_action")
COUNTED_STATUSES = (*PENDING_STATUSES, "succeeded")
ALLOWED_FROM: dict[str, tuple[str, ...]] = {
    "succeed": PENDING_STATUSES,
    "fail": COUNTED_STATUSES,
    "cancel": PENDING_STATUSES,
    "require_action": ("pending",),
}
MESSAGES = {
    "balance_insufficient": "Insufficient funds in your Stripe balance to refund this amount.",
    "charge_already_refunded": "Charge {} has already been refunded.",
    "charge_disputed": "Charge {} has been charged back; cannot issue a refund.",
}


def captured_charge(state: FakeStripeState, intent: Json) -> Json:
    """The charge of a paid intent; raises 400 for another intent."""
    if intent["status"] != "succeeded":
        message = f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
        raise ApiError(message, code="charge_not_refundable", param="payment_intent", stored=True)
    charge: Json = state.store.charges[intent["latest_charge"]]
    return charge


def create(state: FakeStripeState, cause: RequestCause, charge: Json, params: Json) -> Json:
    """Create a refund of `charge` with the next forced outcome; raises Stripe's error if it is not possible."""
    amount = _amount(state, charge, params)
    if _is_blocked_by_dispute(state, charge):
        raise _rejection("charge_disputed", charge)
    outcome = state.refund_outcomes.next()
    if outcome.status == "refused":
        raise _rejection(outcome.code, charge)
    if outcome.status == "succeeded" and not state.balance.covers(amount):
        if state.balance.rejects_refunds:
            raise _rejection("balance_insufficient", charge)
        outcome = ForcedOutcome("pending", pending_reason="insufficient_funds")
    refund = refund_object.make_refund(state.new_identity("re_", cause.at), charge, params | {"amount": amount})
    state.store.refunds[refund["id"]] = refund
    _apply_outcome(state, cause, refund, outcome)
    state.emit(cause, "refund.created", refund)
    if refund["status"] == "failed":
        state.emit(cause, "refund.failed", refund)
    _update_charge(state, cause, charge)
    return refund


def _amount(state: FakeStripeState, charge: Json, params: Json) -> int:
    left = charge["amount_captured"] - _sum(state, charge, COUNTED_STATUSES)
    if left == 0:
        raise _rejection("charge_already_refunded", charge)
    amount: int = params.get("amount", left)
    if amount < 1:
        raise ApiError("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    if amount > left:
        message = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
        raise ApiError(message, param="amount", stored=True)
    return amount


def _is_blocked_by_dispute(state: FakeStripeState, charge: Json) -> bool:
    """A disputed charge can be refunded only if the dispute allows it or was won."""
    disputes = [dispute for dispute in state.store.disputes.values() if dispute["charge"] == charge["id"]]
    return any(dispute["status"] != "won" and not dispute["is_charge_refundable"] for dispute in disputes)


def _rejection(code: str, charge: Json) -> ApiError:
    message = MESSAGES.get(code, "Charge {} cannot be refunded.").format(charge["id"])
    return ApiError(message, code=code, stored=True)


def _apply_outcome(state: FakeStripeState, cause: RequestCause, refund: Json, outcome: ForcedOutcome) -> None:
    """Set the first status of a refund."""
    match outcome.status:
        case "succeeded":
            _pay(state, cause, refund)
        case "failed":
            refund |= {"status": "failed", "failure_reason": outcome.failure_reason}
        case "requires_action":
            refund |= {"status": "requires_action", "next_action": refund_object.email_sent(refund["created"])}
        case _:
            refund |= {"status": "pending", "pending_reason": outcome.pending_reason}


def _pay(state: FakeStripeState, cause: RequestCause, refund: Json) -> None:
    state.balance.add(-refund["amount"])
    transaction = balance_transactions.add(state, cause, refund, "refund", -refund["amount"])
    refund |= {"status": "succeeded", "balance_transaction": transaction}
    refund["destination_details"] = refund_object.destination()
    state.call_later(cause, BANK_REFERENCE_DELAY, lambda due: _add_bank_reference(state, due, refund))


def _add_bank_reference(state: FakeStripeState, cause: RequestCause, refund: Json) -> None:
    """Add the acquirer reference number, by which the customer's bank can find the refund."""
    if refund["status"] != "succeeded":
        return
    card = refund["destination_details"]["card"]
    before = {"destination_details": {"card": dict(card), "type": "card"}}
    card |= {"reference": state.ids.make("", 23), "reference_status": "available"}
    state.emit(cause, "refund.updated", refund, before)


def _sum(state: FakeStripeState, charge: Json, statuses: tuple[str, ...]) -> int:
    refunds = [refund for refund in state.store.refunds.values() if refund["charge"] == charge["id"]]
    return sum(refund["amount"] for refund in refunds if refund["status"] in statuses)


def _update_charge(state: FakeStripeState, cause: RequestCause, charge: Json) -> None:
    """Update the charge's `amount_refunded`; `options.pending_refunds_count` decides whether pending refunds count."""
    before = {"amount_refunded": charge["amount_refunded"], "refunded": charge["refunded"]}
    charge["amount_refunded"] = _sum(
        state, charge, COUNTED_STATUSES if state.options.pending_refunds_count else ("succeeded",)
    )
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    if charge["amount_refunded"] > before["amount_refunded"]:
        state.emit(cause, "charge.refunded", charge, before)
        fraud_warnings.resolve(state, cause, charge)


def _clear_status_fields(refund: Json) -> Json:
    """Remove the fields that belong to the old status; returns the old values."""
    before = {name: refund.pop(name) for name in refund_object.STATUS_FIELDS if name in refund}
    return {"status": refund["status"]} | before


def succeed(state: FakeStripeState, cause: RequestCause, refund: Json) -> None:
    """A pending refund succeeds."""
    before = _clear_status_fields(refund)
    _pay(state, cause, refund)
    state.emit(cause, "refund.updated", refund, before)
    _update_charge(state, cause, state.store.charges[refund["charge"]])


def require_action(state: FakeStripeState, cause: RequestCause, refund: Json) -> None:
    """The refund waits until the customer gives Stripe the destination."""
    before = _clear_status_fields(refund)
    refund |= {"status": "requires_action", "next_action": refund_object.email_sent(int(cause.at.timestamp()))}
    state.emit(cause, "refund.updated", refund, before)


def cancel(state: FakeStripeState, cause: RequestCause, refund: Json) -> None:
    """A pending refund is canceled."""
    before = _clear_status_fields(refund)
    refund["status"] = "canceled"
    _update_charge(state, cause, state.store.charges[refund["charge"]])
    state.emit(cause, "refund.updated", refund, before)


def fail(state: FakeStripeState, cause: RequestCause, refund: Json, reason: str) -> None:
    """The refund fails, after it succeeded too; the charge can be refunded again."""
    before = _clear_status_fields(refund)
    if before["status"] == "succeeded":
        state.balance.add(refund["amount"])
        transaction = balance_transactions.add(state, cause, refund, "refund_failure", refund["amount"])
        refund["failure_balance_transaction"] = transaction
    refund |= {"status": "failed", "failure_reason": reason}
    _update_charge(state, cause, state.store.charges[refund["charge"]])
    state.emit(cause, "refund.updated", refund, before)
    state.emit(cause, "refund.failed", refund)


def pay_pending(state: FakeStripeState, cause: RequestCause) -> None:
    """Pay refunds that are pending for insufficient funds, oldest first, as far as the balance suffices."""
    for refund in state.store.refunds.values():
        if refund.get("pending_reason") == "insufficient_funds" and state.balance.covers(refund["amount"]):
            succeed(state, cause, refund)
