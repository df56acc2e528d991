"""The Charge endpoints: charges are made by customers, so they can only be looked at."""

from __future__ import annotations

from bot.sandbox.fake_stripe import form, listing
from bot.sandbox.fake_stripe.call import Call, Endpoint
from bot.sandbox.fake_stripe.refusal import Json, no_such

ROOT = "/v1/charges"


def retrieve(call: Call) -> Json:
    charge: Json | None = call.world.ledger.charges.get(call.id)
    if charge is None:
        raise no_such("charge", call.id)
    return charge


def list_all(call: Call) -> Json:
    wanted = {
        name: call.params[name] for name in ("payment_intent", "customer", "transfer_group") if name in call.params
    }
    found = [each for each in call.world.ledger.charges.values() if wanted.items() <= each.items()]
    return listing.page(call, ROOT, "charge", found)


FILTERS: form.Fields = dict.fromkeys(("payment_intent", "customer", "transfer_group"), form.text())
ENDPOINTS = (
    Endpoint("GET", ROOT, list_all, {**listing.CURSORS, "created": form.span, **FILTERS}),
    Endpoint("GET", f"{ROOT}/:id", retrieve),
)
