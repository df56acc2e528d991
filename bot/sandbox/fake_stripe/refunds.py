"""The Refund endpoints; a refund succeeds at once, and its acquirer reference arrives an hour later."""

from __future__ import annotations

from bot.sandbox.fake_stripe import form, listing, objects
from bot.sandbox.fake_stripe.call import Call, Endpoint
from bot.sandbox.fake_stripe.refusal import Json, Refusal, exclusive, missing, no_such
from bot.sandbox.fake_stripe.world import Cause, World

ROOT = "/v1/refunds"
REFERENCE_SECONDS = 3600.0


def create(call: Call) -> Json:
    charge = _charge(call)
    left = charge["amount_captured"] - charge["amount_refunded"]
    if left == 0:
        raise Refusal(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded", stored=True)
    amount = call.params.get("amount", left)
    if amount < 1:
        raise Refusal("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    if amount > left:
        words = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
        raise Refusal(words, param="amount", stored=True)
    identity = call.world.identity("re_", call.cause.at)
    identity["balance_transaction"] = call.world.names.make("txn_")
    refund = objects.refund(identity, charge, call.params | {"amount": amount})
    call.world.ledger.refunds[refund["id"]] = refund
    _succeed(call.world, call.cause, refund, charge)
    return refund


def _charge(call: Call) -> Json:
    """The charge to give back: named itself, or the captured one of the named intent."""
    ledger, params = call.world.ledger, call.params
    if "charge" in params and "payment_intent" in params:
        raise exclusive("charge", "payment_intent")
    if "payment_intent" in params:
        intent = ledger.intents.get(params["payment_intent"])
        if intent is None:
            raise no_such("payment_intent", params["payment_intent"], param="payment_intent")
        if intent["status"] != "succeeded":
            words = f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
            raise Refusal(words, code="charge_not_refundable", param="payment_intent", stored=True)
        return ledger.charges[intent["latest_charge"]]
    if "charge" not in params:
        raise missing("payment_intent")
    if params["charge"] not in ledger.charges:
        raise no_such("charge", params["charge"], param="charge")
    charge = ledger.charges[params["charge"]]
    if not charge["captured"]:
        words = f"Charge {charge['id']} has not been captured."
        raise Refusal(words, code="charge_not_refundable", param="charge", stored=True)
    return charge


def _succeed(world: World, cause: Cause, refund: Json, charge: Json) -> None:
    before = {"amount_refunded": charge["amount_refunded"], "refunded": charge["refunded"]}
    charge["amount_refunded"] += refund["amount"]
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    world.emit(cause, "refund.created", refund)
    world.emit(cause, "charge.refunded", charge, before)
    world.later(cause, REFERENCE_SECONDS, lambda due: _referenced(world, due, refund))


def _referenced(world: World, cause: Cause, refund: Json) -> None:
    """The acquirer reference number, which the customer's bank can look for."""
    card = refund["destination_details"]["card"]
    before = {"destination_details": {"card": dict(card), "type": "card"}}
    card |= {"reference": world.names.make("", 23), "reference_status": "available"}
    world.emit(cause, "refund.updated", refund, before)


def retrieve(call: Call) -> Json:
    refund: Json | None = call.world.ledger.refunds.get(call.id)
    if refund is None:
        raise no_such("refund", call.id)
    return refund


def update(call: Call) -> Json:
    refund = retrieve(call)
    refund["metadata"] = refund["metadata"] | call.params.get("metadata", {})
    world = call.world
    world.emit(call.cause, "refund.updated", refund)
    return refund


def list_all(call: Call) -> Json:
    wanted = {name: call.params[name] for name in ("charge", "payment_intent") if name in call.params}
    found = [each for each in call.world.ledger.refunds.values() if wanted.items() <= each.items()]
    return listing.page(call, ROOT, "refund", found)


CREATE: form.Fields = {
    "amount": form.integer,
    "charge": form.text(),
    "payment_intent": form.text(),
    "metadata": form.metadata,
    "reason": form.one_of("duplicate", "fraudulent", "requested_by_customer"),
    "instructions_email": form.text(800),
    **dict.fromkeys(("currency", "customer", "origin", "refund_application_fee", "reverse_transfer")),
}
LIST: form.Fields = {**listing.CURSORS, "created": form.span, "charge": form.text(), "payment_intent": form.text()}
ENDPOINTS = (
    Endpoint("POST", ROOT, create, CREATE),
    Endpoint("GET", ROOT, list_all, LIST),
    Endpoint("GET", f"{ROOT}/:id", retrieve),
    Endpoint("POST", f"{ROOT}/:id", update, {"metadata": form.metadata}),
)
