"""The Event endpoints; events are retained for thirty days."""

from __future__ import annotations

from typing import Any

from bot.sandbox.fake_stripe import form_params, pagination
from bot.sandbox.fake_stripe.api_error import ApiError, Json, mutually_exclusive, not_found
from bot.sandbox.fake_stripe.endpoint import Call, Endpoint
from bot.sandbox.fake_stripe.event_types import EVENT_TYPES

ROOT = "/v1/events"
RETENTION_SECONDS = 30 * 86400


def retained(call: Call) -> list[Json]:
    oldest = call.cause.at.timestamp() - RETENTION_SECONDS
    return [event for event in call.state.store.events.values() if event["created"] >= oldest]


def retrieve(call: Call) -> Json:
    event: Json | None = call.state.store.events.get(call.id)
    if event is None:
        raise not_found("event", call.id)
    return event


def list_all(call: Call) -> Json:
    params = call.params
    if "type" in params and "types" in params:
        raise mutually_exclusive("type", "types")
    if len(params.get("types", [])) > 20:
        raise ApiError("You may pass at most 20 values in `types`.", param="types")
    matching = [event for event in retained(call) if _matches_filters(event, params)]
    return pagination.page(call, ROOT, "event", matching)


def _matches_filters(event: Json, params: Json) -> bool:
    if "types" in params and event["type"] not in params["types"]:
        return False
    if "type" in params and not _matches_pattern(event["type"], params["type"]):
        return False
    return params.get("delivery_success") in (None, event["pending_webhooks"] == 0)


def _matches_pattern(kind: str, pattern: str) -> bool:
    return kind.startswith(pattern[:-1]) if pattern.endswith("*") else kind == pattern


def event_type(value: Any, name: str) -> str:
    """The name of an event type; raises ApiError for an unknown one."""
    if value not in EVENT_TYPES:
        raise ApiError(f"Invalid {name}: {value} is not the name of an event", param=name)
    return str(value)


FIELDS: form_params.Fields = {
    **pagination.CURSORS,
    "created": form_params.time_range,
    "delivery_success": form_params.boolean,
    "type": form_params.text(),
    "types": form_params.list_of(event_type),
}
ENDPOINTS = (Endpoint("GET", ROOT, list_all, FIELDS), Endpoint("GET", f"{ROOT}/:id", retrieve))
