"""The Charge endpoints: retrieve and list."""

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
    filters = {
        name: call.params[name] for name in ("payment_intent", "customer", "transfer_group") if name in call.params
    }
    matching = [charge for charge in call.state.store.charges.values() if filters.items() <= charge.items()]
    return pagination.page(call, ROOT, "charge", matching)


FILTERS: form_params.Fields = dict.fromkeys(("payment_intent", "customer", "transfer_group"), form_params.text())
ENDPOINTS = (
    Endpoint("GET", ROOT, list_all, {**pagination.CURSORS, "created": form_params.time_range, **FILTERS}),
    Endpoint("GET", f"{ROOT}/:id", retrieve),
)
