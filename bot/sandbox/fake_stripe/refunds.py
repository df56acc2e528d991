"""The Refund endpoints. A refund succeeds at once, unless another outcome is forced or the balance is too low."""

from __future__ import annotations

from bot.sandbox.fake_stripe import form_params, pagination, refund_actions
from bot.sandbox.fake_stripe.api_error import ApiError, Json, missing_param, mutually_exclusive, not_found
from bot.sandbox.fake_stripe.endpoint import Call, Endpoint

ROOT = "/v1/refunds"


def create(call: Call) -> Json:
    return refund_actions.create(call.state, call.cause, _charge(call), call.params)


def _charge(call: Call) -> Json:
    """The charge to refund: the given one, or the captured one of the given intent."""
    store, params = call.state.store, call.params
    if "charge" in params and "payment_intent" in params:
        raise mutually_exclusive("charge", "payment_intent")
    if "payment_intent" in params:
        intent = store.intents.get(params["payment_intent"])
        if intent is None:
            raise not_found("payment_intent", params["payment_intent"], param="payment_intent")
        return refund_actions.captured_charge(call.state, intent)
    if "charge" not in params:
        raise missing_param("payment_intent")
    if params["charge"] not in store.charges:
        raise not_found("charge", params["charge"], param="charge")
    charge: Json = store.charges[params["charge"]]
    if not charge["captured"]:
        message = f"Charge {charge['id']} has not been captured."
        raise ApiError(message, code="charge_not_refundable", param="charge", stored=True)
    return charge


def retrieve(call: Call) -> Json:
    refund: Json | None = call.state.store.refunds.get(call.id)
    if refund is None:
        raise not_found("refund", call.id)
    return refund


def update(call: Call) -> Json:
    refund = retrieve(call)
    refund["metadata"] = refund["metadata"] | call.params.get("metadata", {})
    state = call.state
    state.emit(call.cause, "refund.updated", refund)
    return refund


def cancel(call: Call) -> Json:
    """The API cancels only a refund in `requires_action`."""
    refund = retrieve(call)
    if refund["status"] != "requires_action":
        raise ApiError(f"Refund {refund['id']} has a status of {refund['status']} and cannot be canceled.", stored=True)
    refund_actions.cancel(call.state, call.cause, refund)
    return refund


def list_all(call: Call) -> Json:
    filters = {name: call.params[name] for name in ("charge", "payment_intent") if name in call.params}
    matching = [refund for refund in call.state.store.refunds.values() if filters.items() <= refund.items()]
    return pagination.page(call, ROOT, "refund", matching)


CREATE: form_params.Fields = {
    "amount": form_params.integer,
    "charge": form_params.text(),
    "payment_intent": form_params.text(),
    "metadata": form_params.metadata,
    "reason": form_params.one_of("duplicate", "fraudulent", "requested_by_customer"),
    "instructions_email": form_params.text(800),
    **dict.fromkeys(("currency", "customer", "origin", "refund_application_fee", "reverse_transfer")),
}
LIST: form_params.Fields = {
    **pagination.CURSORS,
    "created": form_params.time_range,
    "charge": form_params.text(),
    "payment_intent": form_params.text(),
}
ENDPOINTS = (
    Endpoint("POST", ROOT, create, CREATE),
    Endpoint("GET", ROOT, list_all, LIST),
    Endpoint("GET", f"{ROOT}/:id", retrieve),
    Endpoint("POST", f"{ROOT}/:id", update, {"metadata": form_params.metadata}),
    Endpoint("POST", f"{ROOT}/:id/cancel", cancel),
)
