"""The PaymentIntent endpoints: create, retrieve, list, update, confirm, cancel, capture."""

from __future__ import annotations

from typing import Any

from bot.sandbox.fake_stripe import attempts, captures, form_params, intent_fields, objects, pagination, rules
from bot.sandbox.fake_stripe.api_error import ApiError, Json, not_found
from bot.sandbox.fake_stripe.endpoint import Call, Endpoint

ROOT = "/v1/payment_intents"


def find(call: Call) -> Json:
    """The intent with the id in the path; raises 404 `resource_missing`."""
    intent: Json | None = call.state.store.intents.get(call.id)
    if intent is None:
        raise not_found("payment_intent", call.id, param="intent")
    return intent


def create(call: Call) -> Json:
    params = call.params | {"currency": (call.params["currency"] or "").lower()}
    rules.check_amount(params["amount"], params["currency"])
    types = rules.choose_method_types(call.state, params)
    rules.check_payment_method(call.state, types, params)
    if params.get("confirm"):
        rules.check_confirm_params(call.state, params)
    elif "return_url" in params:
        raise ApiError("`return_url` can only be used with confirm=true.", param="return_url")
    intent = _new_intent(call, params, types)
    if params.get("confirm"):
        rules.check_can_confirm(call.state, intent, params)
    call.state.store.intents[intent["id"]] = intent
    call.state.emit(call.cause, "payment_intent.created", intent)
    _attach_payment_method(call, intent)
    if params.get("confirm"):
        attempts.begin(call.state, call.cause, intent, params["return_url"])
    return intent


def _new_intent(call: Call, params: Json, types: list[str]) -> Json:
    identity = call.state.new_identity("pi_", call.cause.at)
    identity["client_secret"] = identity["id"] + call.state.ids.make("_secret_", 25)
    return objects.intent(identity, params, types)


def _attach_payment_method(call: Call, intent: Json) -> None:
    """Attach the given PaymentMethod, or one made of `payment_method_data`, to the intent, if there is any."""
    method: Json | None
    if "payment_method_data" in call.params:
        method = objects.payment_method(
            call.state.new_identity("pm_", call.cause.at), call.params["payment_method_data"]
        )
        call.state.store.payment_methods[method["id"]] = method
    elif "payment_method" in call.params:
        method = call.state.store.payment_methods[call.params["payment_method"]]
    else:
        method = None
    if method is not None:
        intent |= {"payment_method": method["id"], "status": "requires_confirmation", "last_payment_error": None}


def update(call: Call) -> Json:
    intent = find(call)
    params: Json = dict(call.params)
    rules.check_can_update(intent)
    rules.check_payment_method(call.state, intent["payment_method_types"], params)
    params["currency"] = (params.get("currency") or intent["currency"]).lower()
    rules.check_amount(params["amount"] if "amount" in params else intent["amount"], params["currency"])
    if intent["status"] == "requires_action" and {"amount", "payment_method_data"} & params.keys():
        raise ApiError(
            "An open payment attempt cannot be changed.", code="payment_intent_unexpected_state", intent=intent
        )
    _apply_changes(intent, params)
    _attach_payment_method(call, intent)
    intent["last_payment_error"] = None
    return intent


def _apply_changes(intent: Json, params: Json) -> None:
    copied = ("amount", "currency", "description", "receipt_email", "capture_method", "statement_descriptor")
    for name in (*copied, "statement_descriptor_suffix", "transfer_group"):
        if name in params:
            intent[name] = params[name]
    if "metadata" in params:
        merged = intent["metadata"] | params["metadata"] if params["metadata"] else {}
        intent["metadata"] = {key: value for key, value in merged.items() if value != ""}
    if "payment_method_options" in params:
        intent["payment_method_options"] |= params["payment_method_options"]


def confirm(call: Call) -> Json:
    intent = find(call)
    state = call.state
    rules.check_payment_method(state, intent["payment_method_types"], call.params)
    rules.check_can_confirm(state, intent, call.params)
    rules.check_confirm_params(state, call.params)
    if call.params.get("amount_to_confirm", intent["amount"]) != intent["amount"]:
        raise ApiError("`amount_to_confirm` differs from the amount of this PaymentIntent.", param="amount_to_confirm")
    if len(state.store.attempts.get(intent["id"], [])) >= state.options.confirm_limit:
        captures.cancel(state, call.cause, intent, "automatic")
        return intent
    if (replaced := state.store.open_attempt(intent["id"])) is not None:
        replaced.end("replaced", call.cause.at)
    _apply_changes(intent, {name: call.params[name] for name in call.params if name != "metadata"})
    _attach_payment_method(call, intent)
    attempts.begin(state, call.cause, intent, call.params["return_url"])
    return intent


def cancel(call: Call) -> Json:
    intent = find(call)
    rules.check_can_cancel(intent)
    captures.cancel(call.state, call.cause, intent, call.params.get("cancellation_reason"))
    return intent


def capture(call: Call) -> Json:
    intent = find(call)
    rules.check_can_capture(intent, call.params)
    _apply_changes(intent, {name: call.params[name] for name in call.params if name == "metadata"})
    captures.capture(call.state, call.cause, intent)
    return intent


def retrieve(call: Call) -> Json:
    intent = find(call)
    secret: Any = call.params.get("client_secret")
    if secret is not None and secret != intent["client_secret"]:
        raise ApiError("The client_secret provided does not match this PaymentIntent.", param="client_secret")
    return intent


def list_all(call: Call) -> Json:
    customer = call.params.get("customer")
    matching = [intent for intent in call.state.store.intents.values() if customer in (None, intent["customer"])]
    return pagination.page(call, ROOT, "payment_intent", matching)


LIST: form_params.Fields = {
    **pagination.CURSORS,
    "created": form_params.time_range,
    "customer": form_params.text(),
    "customer_account": None,
}
ENDPOINTS = (
    Endpoint("POST", ROOT, create, intent_fields.CREATE, ("amount", "currency")),
    Endpoint("GET", ROOT, list_all, LIST),
    Endpoint("GET", f"{ROOT}/:id", retrieve, {"client_secret": form_params.text()}),
    Endpoint("POST", f"{ROOT}/:id", update, intent_fields.UPDATE),
    Endpoint("POST", f"{ROOT}/:id/confirm", confirm, intent_fields.CONFIRM),
    Endpoint("POST", f"{ROOT}/:id/cancel", cancel, intent_fields.CANCEL),
    Endpoint("POST", f"{ROOT}/:id/capture", capture, intent_fields.CAPTURE),
)
