"""The WebhookEndpoint endpoints."""

from __future__ import annotations

from typing import Any

from bot.sandbox.fake_stripe import events, form_params, objects, pagination
from bot.sandbox.fake_stripe.api_error import ApiError, Json, not_found
from bot.sandbox.fake_stripe.endpoint import Call, Endpoint

ROOT = "/v1/webhook_endpoints"
MAX_ENDPOINTS = 16


def enabled_event(value: Any, name: str) -> str:
    return "*" if value == "*" else events.event_type(value, name)


def url(value: Any, name: str) -> str:
    """An http or https URL."""
    found = form_params.text()(value, name)
    if not found or not found.startswith(("http://", "https://")):
        raise ApiError("Not a valid URL", code="url_invalid", param=name)
    return str(found)


def create(call: Call) -> Json:
    """The new endpoint with its signing secret, which no other response contains."""
    state, params = call.state, call.params
    if len(state.store.webhook_endpoints) >= MAX_ENDPOINTS:
        raise ApiError(f"You have reached the maximum of {MAX_ENDPOINTS} webhook endpoints.")
    if state.livemode and not params["url"].startswith("https://"):
        raise ApiError("Live webhook endpoints must use https.", code="url_invalid", param="url")
    endpoint = state.new_identity("we_", call.cause.at) | {
        "object": "webhook_endpoint",
        "api_version": params.get("api_version"),
        "application": None,
        "description": params.get("description"),
        "enabled_events": params["enabled_events"],
        "metadata": params.get("metadata", {}),
        "status": "enabled",
        "url": params["url"],
    }
    state.store.webhook_endpoints[endpoint["id"]] = endpoint
    return endpoint | {"secret": state.webhook_secret}


def find(call: Call) -> Json:
    endpoint: Json | None = call.state.store.webhook_endpoints.get(call.id)
    if endpoint is None:
        raise not_found("webhook endpoint", call.id)
    return endpoint


def update(call: Call) -> Json:
    endpoint, params = find(call), dict(call.params)
    if "disabled" in params:
        endpoint["status"] = "disabled" if params.pop("disabled") else "enabled"
    params.pop("expand", None)
    endpoint |= params
    return endpoint


def delete(call: Call) -> Json:
    endpoint = find(call)
    del call.state.store.webhook_endpoints[endpoint["id"]]
    return {"id": endpoint["id"], "object": "webhook_endpoint", "deleted": True}


def list_all(call: Call) -> Json:
    return pagination.page(call, ROOT, "webhook endpoint", call.state.store.webhook_endpoints.values())


CHANGEABLE: form_params.Fields = {
    "url": url,
    "enabled_events": form_params.list_of(enabled_event),
    "description": form_params.text(),
    "metadata": form_params.metadata,
}
CREATE: form_params.Fields = {**CHANGEABLE, "api_version": form_params.one_of(objects.API_VERSION), "connect": None}
ENDPOINTS = (
    Endpoint("POST", ROOT, create, CREATE, ("url", "enabled_events")),
    Endpoint("GET", ROOT, list_all, pagination.CURSORS),
    Endpoint("GET", f"{ROOT}/:id", find),
    Endpoint("POST", f"{ROOT}/:id", update, {**CHANGEABLE, "disabled": form_params.boolean}),
    Endpoint("DELETE", f"{ROOT}/:id", delete),
)
