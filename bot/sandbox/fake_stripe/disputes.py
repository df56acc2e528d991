"""The Dispute endpoints: disputes are made by customers and decided by banks, so they can only be looked at."""

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
    wanted = {name: call.params[name] for name in ("charge", "payment_intent") if name in call.params}
    found = [each for each in call.state.store.disputes.values() if wanted.items() <= each.items()]
    return pagination.page(call, ROOT, "dispute", found)


LIST: form_params.Fields = {
    **pagination.CURSORS,
    "created": form_params.time_range,
    "charge": form_params.text(),
    "payment_intent": form_params.text(),
}
ENDPOINTS = (Endpoint("GET", ROOT, list_all, LIST), Endpoint("GET", f"{ROOT}/:id", retrieve))
