"""What happens to a refund: made, waiting, succeeded, failed (weeks later too), canceled, and its charge with it."""

from __future__ import annotations

from bot.sandbox.fake_stripe import fraud_warnings, refund_object
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
    """The charge of a paid intent; raises 400 for one without."""
    if intent["status"] != "succeeded":
        words = f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
        raise ApiError(words, code="charge_not_refundable", param="payment_intent", stored=True)
    charge: Json = state.store.charges[intent["latest_charge"]]
    return charge


def create(state: FakeStripeState, cause: RequestCause, charge: Json, params: Json) -> Json:
    """The new refund of `charge`, as its fate has it; raises what Stripe refuses."""
    amount = _amount(state, charge, params)
    if _is_blocked_by_dispute(state, charge):
        raise _rejection("charge_disputed", charge)
    fate = state.refund_outcomes.next()
    if fate.status == "refused":
        raise _rejection(fate.code, charge)
    if fate.status == "succeeded" and not state.balance.covers(amount):
        if state.balance.rejects_refunds:
            raise _rejection("balance_insufficient", charge)
        fate = ForcedOutcome("pending", pending_reason="insufficient_funds")
    refund = refund_object.make_refund(state.new_identity("re_", cause.at), charge, params | {"amount": amount})
    state.store.refunds[refund["id"]] = refund
    _apply_outcome(state, cause, refund, fate)
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
        words = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
        raise ApiError(words, param="amount", stored=True)
    return amount


def _is_blocked_by_dispute(state: FakeStripeState, charge: Json) -> bool:
    """A disputed charge is given back only where its dispute still allows it, or was won."""
    disputes = [each for each in state.store.disputes.values() if each["charge"] == charge["id"]]
    return any(each["status"] != "won" and not each["is_charge_refundable"] for each in disputes)


def _rejection(code: str, charge: Json) -> ApiError:
    words = MESSAGES.get(code, "Charge {} cannot be refunded.").format(charge["id"])
    return ApiError(words, code=code, stored=True)


def _apply_outcome(state: FakeStripeState, cause: RequestCause, refund: Json, fate: ForcedOutcome) -> None:
    """Put the state a refund begins in on it."""
    match fate.status:
        case "succeeded":
            _pay(state, cause, refund)
        case "failed":
            refund |= {"status": "failed", "failure_reason": fate.failure_reason}
        case "requires_action":
            refund |= {"status": "requires_action", "next_action": refund_object.email_sent(refund["created"])}
        case _:
            refund |= {"status": "pending", "pending_reason": fate.pending_reason}


def _pay(state: FakeStripeState, cause: RequestCause, refund: Json) -> None:
    state.balance.add(-refund["amount"])
    refund |= {"status": "succeeded", "balance_transaction": state.ids.make("txn_")}
    refund["destination_details"] = refund_object.destination()
    state.call_later(cause, BANK_REFERENCE_DELAY, lambda due: _add_bank_reference(state, due, refund))


def _add_bank_reference(state: FakeStripeState, cause: RequestCause, refund: Json) -> None:
    """The acquirer reference number, which the customer's bank can look for."""
    if refund["status"] != "succeeded":
        return
    card = refund["destination_details"]["card"]
    before = {"destination_details": {"card": dict(card), "type": "card"}}
    card |= {"reference": state.ids.make("", 23), "reference_status": "available"}
    state.emit(cause, "refund.updated", refund, before)


def _sum(state: FakeStripeState, charge: Json, statuses: tuple[str, ...]) -> int:
    refunds = [each for each in state.store.refunds.values() if each["charge"] == charge["id"]]
    return sum(each["amount"] for each in refunds if each["status"] in statuses)


def _update_charge(state: FakeStripeState, cause: RequestCause, charge: Json) -> None:
    """Add up what the charge has given back; whether what waits counts already is a switch."""
    before = {"amount_refunded": charge["amount_refunded"], "refunded": charge["refunded"]}
    charge["amount_refunded"] = _sum(
        state, charge, COUNTED_STATUSES if state.options.pending_refunds_count else ("succeeded",)
    )
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    if charge["amount_refunded"] > before["amount_refunded"]:
        state.emit(cause, "charge.refunded", charge, before)
        fraud_warnings.resolve(state, cause, charge)


def _clear_status_fields(refund: Json) -> Json:
    """Take off what belonged to the state that is over; returns it."""
    before = {name: refund.pop(name) for name in refund_object.STATUS_FIELDS if name in refund}
    return {"status": refund["status"]} | before


def succeed(state: FakeStripeState, cause: RequestCause, refund: Json) -> None:
    """The money is on its way."""
    before = _clear_status_fields(refund)
    _pay(state, cause, refund)
    state.emit(cause, "refund.updated", refund, before)
    _update_charge(state, cause, state.store.charges[refund["charge"]])


def require_action(state: FakeStripeState, cause: RequestCause, refund: Json) -> None:
    """The customer has to say where the money shall go."""
    before = _clear_status_fields(refund)
    refund |= {"status": "requires_action", "next_action": refund_object.email_sent(int(cause.at.timestamp()))}
    state.emit(cause, "refund.updated", refund, before)


def cancel(state: FakeStripeState, cause: RequestCause, refund: Json) -> None:
    """Nothing is given back after all."""
    before = _clear_status_fields(refund)
    refund["status"] = "canceled"
    _update_charge(state, cause, state.store.charges[refund["charge"]])
    state.emit(cause, "refund.updated", refund, before)


def fail(state: FakeStripeState, cause: RequestCause, refund: Json, reason: str) -> None:
    """The bank sent the money back, or it never left; the charge may be refunded anew."""
    before = _clear_status_fields(refund)
    if before["status"] == "succeeded":
        state.balance.add(refund["amount"])
        refund["failure_balance_transaction"] = state.ids.make("txn_")
    refund |= {"status": "failed", "failure_reason": reason}
    _update_charge(state, cause, state.store.charges[refund["charge"]])
    state.emit(cause, "refund.updated", refund, before)
    state.emit(cause, "refund.failed", refund)


def pay_pending(state: FakeStripeState, cause: RequestCause) -> None:
    """Pay what waited for money, oldest first, as far as it goes."""
    for refund in state.store.refunds.values():
        if refund.get("pending_reason") == "insufficient_funds" and state.balance.covers(refund["amount"]):
            succeed(state, cause, refund)
