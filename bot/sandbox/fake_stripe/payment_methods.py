"""The PaymentMethod endpoints: create, retrieve, list."""

from __future__ import annotations

from bot.sandbox.fake_stripe import form_params, intent_fields, objects, pagination
from bot.sandbox.fake_stripe.api_error import Json, not_found
from bot.sandbox.fake_stripe.endpoint import Call, Endpoint

ROOT = "/v1/payment_methods"


def create(call: Call) -> Json:
    method = objects.payment_method(call.state.new_identity("pm_", call.cause.at), call.params)
    call.state.store.payment_methods[method["id"]] = method
    return method


def retrieve(call: Call) -> Json:
    method: Json | None = call.state.store.payment_methods.get(call.id)
    if method is None:
        raise not_found("PaymentMethod", call.id, param="payment_method")
    return method


def list_all(call: Call) -> Json:
    """Those of a customer or a type; methods of one payment belong to no customer."""
    filters = {name: call.params[name] for name in ("customer", "type") if name in call.params}
    matching = [method for method in call.state.store.payment_methods.values() if filters.items() <= method.items()]
    return pagination.page(call, ROOT, "payment_method", matching)


CREATE: form_params.Fields = {
    "type": intent_fields.only_mobilepay,
    "billing_details": intent_fields.BILLING,
    "metadata": form_params.metadata,
    "mobilepay": form_params.hash_of({}),
    "allow_redisplay": form_params.one_of("always", "limited", "unspecified"),
}
FILTERS: form_params.Fields = dict.fromkeys(("customer", "type"), form_params.text())
ENDPOINTS = (
    Endpoint("POST", ROOT, create, CREATE, ("type",)),
    Endpoint("GET", ROOT, list_all, {**pagination.CURSORS, **FILTERS}),
    Endpoint("GET", f"{ROOT}/:id", retrieve),
)
