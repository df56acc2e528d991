"""The Dispute endpoints: retrieve and list."""

from __future__ import annotations

from bot.sandbox.fake_stripe import form_params, pagination
from bot.sandbox.fake_stripe.api_error import Json, not_found
from bot.sandbox.fake_stripe.endpoint import Call, Endpoint

ROOT = "/v1/disputes"


def retrieve(call: Call) -> Json:
    dispute: Json | None = call.state.store.disputes.get(call.id)
    if dispute is None:
        raise not_found("dispute", call.id)
    return dispute


def list_all(call: Call) -> Json:
    filters = {name: call.params[name] for name in ("charge", "payment_intent") if name in call.params}
    matching = [dispute for dispute in call.state.store.disputes.values() if filters.items() <= dispute.items()]
    return pagination.page(call, ROOT, "dispute", matching)


LIST: form_params.Fields = {
    **pagination.CURSORS,
    "created": form_params.time_range,
    "charge": form_params.text(),
    "payment_intent": form_params.text(),
}
ENDPOINTS = (Endpoint("GET", ROOT, list_all, LIST), Endpoint("GET", f"{ROOT}/:id", retrieve))
