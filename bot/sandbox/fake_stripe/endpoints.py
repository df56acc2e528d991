"""The WebhookEndpoint endpoints: who wants to hear about which events."""

from __future__ import annotations

from typing import Any

from bot.sandbox.fake_stripe import events, form_params, objects, pagination
from bot.sandbox.fake_stripe.api_error import Json, Refusal, no_such
from bot.sandbox.fake_stripe.endpoint import Call, Endpoint

ROOT = "/v1/webhook_endpoints"
MOST = 16


def subscribed(value: Any, name: str) -> str:
    return "*" if value == "*" else events.known(value, name)


def address(value: Any, name: str) -> str:
    """An http or https URL."""
    found = form_params.text()(value, name)
    if not found or not found.startswith(("http://", "https://")):
        raise Refusal("Not a valid URL", code="url_invalid", param=name)
    return str(found)


def create(call: Call) -> Json:
    """The new endpoint with its signing secret, which is shown here and never again."""
    world, params = call.world, call.params
    if len(world.ledger.endpoints) >= MOST:
        raise Refusal(f"You have reached the maximum of {MOST} webhook endpoints.")
    if world.livemode and not params["url"].startswith("https://"):
        raise Refusal("Live webhook endpoints must use https.", code="url_invalid", param="url")
    endpoint = world.identity("we_", call.cause.at) | {
        "object": "webhook_endpoint",
        "api_version": params.get("api_version"),
        "application": None,
        "description": params.get("description"),
        "enabled_events": params["enabled_events"],
        "metadata": params.get("metadata", {}),
        "status": "enabled",
        "url": params["url"],
    }
    world.ledger.endpoints[endpoint["id"]] = endpoint
    return endpoint | {"secret": world.webhook_secret}


def find(call: Call) -> Json:
    endpoint: Json | None = call.world.ledger.endpoints.get(call.id)
    if endpoint is None:
        raise no_such("webhook endpoint", call.id)
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
    del call.world.ledger.endpoints[endpoint["id"]]
    return {"id": endpoint["id"], "object": "webhook_endpoint", "deleted": True}


def list_all(call: Call) -> Json:
    return pagination.page(call, ROOT, "webhook endpoint", call.world.ledger.endpoints.values())


CHANGEABLE: form_params.Fields = {
    "url": address,
    "enabled_events": form_params.each(subscribed),
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
