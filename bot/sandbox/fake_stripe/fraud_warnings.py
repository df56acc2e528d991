"""Early fraud warnings: the card's bank says that a payment may be fraud, before anybody disputes it."""

from __future__ import annotations

from bot.sandbox.fake_stripe import form_params, pagination
from bot.sandbox.fake_stripe.api_error import Json, no_such
from bot.sandbox.fake_stripe.endpoint import Call, Endpoint
from bot.sandbox.fake_stripe.state import Cause, World

ROOT = "/v1/radar/early_fraud_warnings"
KINDS = (
    "card_never_received",
    "fraudulent_card_application",
    "made_with_counterfeit_card",
    "made_with_lost_card",
    "made_with_stolen_card",
    "misc",
    "unauthorized_use_of_card",
)


def warn(world: World, cause: Cause, charge: Json, kind: str) -> Json:
    """A new warning; it is actionable until the charge is disputed or wholly refunded."""
    warning: Json = world.identity("issfr_", cause.at) | {
        "object": "radar.early_fraud_warning",
        "actionable": not (charge["refunded"] or charge["disputed"]),
        "charge": charge["id"],
        "fraud_type": kind,
        "payment_intent": charge["payment_intent"],
    }
    world.ledger.warnings[warning["id"]] = warning
    world.emit(cause, "radar.early_fraud_warning.created", warning)
    return warning


def settle(world: World, cause: Cause, charge: Json) -> None:
    """Nothing is left to do about a charge that is disputed or wholly refunded."""
    for warning in world.ledger.warnings.values():
        if warning["charge"] == charge["id"] and warning["actionable"] and (charge["refunded"] or charge["disputed"]):
            warning["actionable"] = False
            world.emit(cause, "radar.early_fraud_warning.updated", warning, {"actionable": True})


def retrieve(call: Call) -> Json:
    warning: Json | None = call.world.ledger.warnings.get(call.id)
    if warning is None:
        raise no_such("early fraud warning", call.id)
    return warning


def list_all(call: Call) -> Json:
    wanted = {name: call.params[name] for name in ("charge", "payment_intent") if name in call.params}
    found = [each for each in call.world.ledger.warnings.values() if wanted.items() <= each.items()]
    return pagination.page(call, ROOT, "early fraud warning", found)


LIST: form_params.Fields = {
    **pagination.CURSORS,
    "created": form_params.span,
    "charge": form_params.text(),
    "payment_intent": form_params.text(),
}
ENDPOINTS = (Endpoint("GET", ROOT, list_all, LIST), Endpoint("GET", f"{ROOT}/:id", retrieve))
