"""The Charge endpoints: charges are made by customers, so they can only be looked at."""

from __future__ import annotations

from bot.sandbox.fake_stripe import form_params, pagination
from bot.sandbox.fake_stripe.api_error import Json, not_found
from bot.sandbox.fake_stripe.endpoint import Call, Endpoint

ROOT = "/v1/charges"


def retrieve(call: Call) -> Json:
    charge: Json | None = call.state.store.charges.get(call.id)
    if charge is None:
        raise not_found("charge", call.id)
    return charge


def list_all(call: Call) -> Json:
    wanted = {
        name: call.params[name] for name in ("payment_intent", "customer", "transfer_group") if name in call.params
    }
    found = [each for each in call.state.store.charges.values() if wanted.items() <= each.items()]
    return pagination.page(call, ROOT, "charge", found)


FILTERS: form_params.Fields = dict.fromkeys(("payment_intent", "customer", "transfer_group"), form_params.text())
ENDPOINTS = (
    Endpoint("GET", ROOT, list_all, {**pagination.CURSORS, "created": form_params.time_range, **FILTERS}),
    Endpoint("GET", f"{ROOT}/:id", retrieve),
)
