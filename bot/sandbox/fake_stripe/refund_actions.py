"""What happens to a refund: made, waiting, succeeded, failed (weeks later too), canceled, and its charge with it."""

from __future__ import annotations

from bot.sandbox.fake_stripe import fraud_warnings, refund_object
from bot.sandbox.fake_stripe.api_error import Json, Refusal
from bot.sandbox.fake_stripe.balance import Fate
from bot.sandbox.fake_stripe.state import Cause, World

REFERENCE_SECONDS = 3600.0
UNDER_WAY = ("pending", "requires_action")
ALIVE = (*UNDER_WAY, "succeeded")
MAY: dict[str, tuple[str, ...]] = {
    "succeed": UNDER_WAY,
    "fail": ALIVE,
    "cancel": UNDER_WAY,
    "require_action": ("pending",),
}
WORDS = {
    "balance_insufficient": "Insufficient funds in your Stripe balance to refund this amount.",
    "charge_already_refunded": "Charge {} has already been refunded.",
    "charge_disputed": "Charge {} has been charged back; cannot issue a refund.",
}


def captured(world: World, intent: Json) -> Json:
    """The charge of a paid intent; raises 400 for one without."""
    if intent["status"] != "succeeded":
        words = f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
        raise Refusal(words, code="charge_not_refundable", param="payment_intent", stored=True)
    charge: Json = world.ledger.charges[intent["latest_charge"]]
    return charge


def make(world: World, cause: Cause, charge: Json, params: Json) -> Json:
    """The new refund of `charge`, as its fate has it; raises what Stripe refuses."""
    amount = _amount(world, charge, params)
    if _barred(world, charge):
        raise _refused("charge_disputed", charge)
    fate = world.fates.next()
    if fate.status == "refused":
        raise _refused(fate.code, charge)
    if fate.status == "succeeded" and not world.purse.covers(amount):
        if world.purse.refuses:
            raise _refused("balance_insufficient", charge)
        fate = Fate("pending", pending_reason="insufficient_funds")
    refund = refund_object.refund(world.identity("re_", cause.at), charge, params | {"amount": amount})
    world.ledger.refunds[refund["id"]] = refund
    _come_out(world, cause, refund, fate)
    world.emit(cause, "refund.created", refund)
    if refund["status"] == "failed":
        world.emit(cause, "refund.failed", refund)
    _tally(world, cause, charge)
    return refund


def _amount(world: World, charge: Json, params: Json) -> int:
    left = charge["amount_captured"] - _sum(world, charge, ALIVE)
    if left == 0:
        raise _refused("charge_already_refunded", charge)
    amount: int = params.get("amount", left)
    if amount < 1:
        raise Refusal("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    if amount > left:
        words = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
        raise Refusal(words, param="amount", stored=True)
    return amount


def _barred(world: World, charge: Json) -> bool:
    """A disputed charge is given back only where its dispute still allows it, or was won."""
    disputes = [each for each in world.ledger.disputes.values() if each["charge"] == charge["id"]]
    return any(each["status"] != "won" and not each["is_charge_refundable"] for each in disputes)


def _refused(code: str, charge: Json) -> Refusal:
    words = WORDS.get(code, "Charge {} cannot be refunded.").format(charge["id"])
    return Refusal(words, code=code, stored=True)


def _come_out(world: World, cause: Cause, refund: Json, fate: Fate) -> None:
    """Put the state a refund begins in on it."""
    match fate.status:
        case "succeeded":
            _pay(world, cause, refund)
        case "failed":
            refund |= {"status": "failed", "failure_reason": fate.failure_reason}
        case "requires_action":
            refund |= {"status": "requires_action", "next_action": refund_object.email_sent(refund["created"])}
        case _:
            refund |= {"status": "pending", "pending_reason": fate.pending_reason}


def _pay(world: World, cause: Cause, refund: Json) -> None:
    world.purse.move(-refund["amount"])
    refund |= {"status": "succeeded", "balance_transaction": world.names.make("txn_")}
    refund["destination_details"] = refund_object.destination()
    world.later(cause, REFERENCE_SECONDS, lambda due: _referenced(world, due, refund))


def _referenced(world: World, cause: Cause, refund: Json) -> None:
    """The acquirer reference number, which the customer's bank can look for."""
    if refund["status"] != "succeeded":
        return
    card = refund["destination_details"]["card"]
    before = {"destination_details": {"card": dict(card), "type": "card"}}
    card |= {"reference": world.names.make("", 23), "reference_status": "available"}
    world.emit(cause, "refund.updated", refund, before)


def _sum(world: World, charge: Json, statuses: tuple[str, ...]) -> int:
    refunds = [each for each in world.ledger.refunds.values() if each["charge"] == charge["id"]]
    return sum(each["amount"] for each in refunds if each["status"] in statuses)


def _tally(world: World, cause: Cause, charge: Json) -> None:
    """Add up what the charge has given back; whether what waits counts already is a switch."""
    before = {"amount_refunded": charge["amount_refunded"], "refunded": charge["refunded"]}
    charge["amount_refunded"] = _sum(world, charge, ALIVE if world.switches.waiting_refunds_count else ("succeeded",))
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    if charge["amount_refunded"] > before["amount_refunded"]:
        world.emit(cause, "charge.refunded", charge, before)
        fraud_warnings.settle(world, cause, charge)


def _leave(refund: Json) -> Json:
    """Take off what belonged to the state that is over; returns it."""
    before = {name: refund.pop(name) for name in refund_object.PASSING if name in refund}
    return {"status": refund["status"]} | before


def succeed(world: World, cause: Cause, refund: Json) -> None:
    """The money is on its way."""
    before = _leave(refund)
    _pay(world, cause, refund)
    world.emit(cause, "refund.updated", refund, before)
    _tally(world, cause, world.ledger.charges[refund["charge"]])


def require_action(world: World, cause: Cause, refund: Json) -> None:
    """The customer has to say where the money shall go."""
    before = _leave(refund)
    refund |= {"status": "requires_action", "next_action": refund_object.email_sent(int(cause.at.timestamp()))}
    world.emit(cause, "refund.updated", refund, before)


def cancel(world: World, cause: Cause, refund: Json) -> None:
    """Nothing is given back after all."""
    before = _leave(refund)
    refund["status"] = "canceled"
    _tally(world, cause, world.ledger.charges[refund["charge"]])
    world.emit(cause, "refund.updated", refund, before)


def fail(world: World, cause: Cause, refund: Json, reason: str) -> None:
    """The bank sent the money back, or it never left; the charge may be refunded anew."""
    before = _leave(refund)
    if before["status"] == "succeeded":
        world.purse.move(refund["amount"])
        refund["failure_balance_transaction"] = world.names.make("txn_")
    refund |= {"status": "failed", "failure_reason": reason}
    _tally(world, cause, world.ledger.charges[refund["charge"]])
    world.emit(cause, "refund.updated", refund, before)
    world.emit(cause, "refund.failed", refund)


def pay_waiting(world: World, cause: Cause) -> None:
    """Pay what waited for money, oldest first, as far as it goes."""
    for refund in world.ledger.refunds.values():
        if refund.get("pending_reason") == "insufficient_funds" and world.purse.covers(refund["amount"]):
            succeed(world, cause, refund)
