"""The Dispute endpoints: disputes are made by customers and decided by banks, so they can only be looked at."""

from __future__ import annotations

from bot.sandbox.fake_stripe import form, listing
from bot.sandbox.fake_stripe.call import Call, Endpoint
from bot.sandbox.fake_stripe.refusal import Json, no_such

ROOT = "/v1/disputes"


def retrieve(call: Call) -> Json:
    dispute: Json | None = call.world.ledger.disputes.get(call.id)
    if dispute is None:
        raise no_such("dispute", call.id)
    return dispute


def list_all(call: Call) -> Json:
    wanted = {name: call.params[name] for name in ("charge", "payment_intent") if name in call.params}
    found = [each for each in call.world.ledger.disputes.values() if wanted.items() <= each.items()]
    return listing.page(call, ROOT, "dispute", found)


LIST: form.Fields = {**listing.CURSORS, "created": form.span, "charge": form.text(), "payment_intent": form.text()}
ENDPOINTS = (Endpoint("GET", ROOT, list_all, LIST), Endpoint("GET", f"{ROOT}/:id", retrieve))
