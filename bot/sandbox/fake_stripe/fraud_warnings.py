"""Early fraud warnings: the card issuer reports a possible fraud before there is a dispute."""

from __future__ import annotations

from bot.sandbox.fake_stripe import form_params, pagination
from bot.sandbox.fake_stripe.api_error import Json, not_found
from bot.sandbox.fake_stripe.endpoint import Call, Endpoint
from bot.sandbox.fake_stripe.state import FakeStripeState, RequestCause

ROOT = "/v1/radar/early_fraud_warnings"
FRAUD_TYPES = (
    "card_never_received",
    "fraudulent_card_application",
    "made_with_counterfeit_card",
    "made_with_lost_card",
    "made_with_stolen_card",
    "misc",
    "unauthorized_use_of_card",
)


def create(state: FakeStripeState, cause: RequestCause, charge: Json, kind: str) -> Json:
    """A new warning; it is actionable until the charge is disputed or fully refunded."""
    warning: Json = state.new_identity("issfr_", cause.at) | {
        "object": "radar.early_fraud_warning",
        "actionable": not (charge["refunded"] or charge["disputed"]),
        "charge": charge["id"],
        "fraud_type": kind,
        "payment_intent": charge["payment_intent"],
    }
    state.store.fraud_warnings[warning["id"]] = warning
    state.emit(cause, "radar.early_fraud_warning.created", warning)
    return warning


def resolve(state: FakeStripeState, cause: RequestCause, charge: Json) -> None:
    """Mark the warnings of a disputed or fully refunded charge as not actionable."""
    for warning in state.store.fraud_warnings.values():
        if warning["charge"] == charge["id"] and warning["actionable"] and (charge["refunded"] or charge["disputed"]):
            warning["actionable"] = False
            state.emit(cause, "radar.early_fraud_warning.updated", warning, {"actionable": True})


def retrieve(call: Call) -> Json:
    warning: Json | None = call.state.store.fraud_warnings.get(call.id)
    if warning is None:
        raise not_found("early fraud warning", call.id)
    return warning


def list_all(call: Call) -> Json:
    filters = {name: call.params[name] for name in ("charge", "payment_intent") if name in call.params}
    matching = [warning for warning in call.state.store.fraud_warnings.values() if filters.items() <= warning.items()]
    return pagination.page(call, ROOT, "early fraud warning", matching)


LIST: form_params.Fields = {
    **pagination.CURSORS,
    "created": form_params.time_range,
    "charge": form_params.text(),
    "payment_intent": form_params.text(),
}
ENDPOINTS = (Endpoint("GET", ROOT, list_all, LIST), Endpoint("GET", f"{ROOT}/:id", retrieve))
