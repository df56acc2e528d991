"""Shared code of the control routes: JSON in and out, error responses, change notifications."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from bot.sandbox.fake_stripe.api_error import Json
from bot.sandbox.fake_stripe.state import FakeStripeState
from bot.sandbox.fake_stripe.store import to_json

ControlHandler = Callable[[web.Request, Json], Awaitable[Any]]


def post_routes(state: FakeStripeState, handlers: Mapping[str, ControlHandler]) -> list[web.RouteDef]:
    """POST routes, by path; each notifies the waiters for changes."""
    return [web.post(path, _route(_notifying(state, handler))) for path, handler in handlers.items()]


def get_routes(handlers: Mapping[str, ControlHandler]) -> list[web.RouteDef]:
    """GET routes, by path."""
    return [web.get(path, _route(handler)) for path, handler in handlers.items()]


def _notifying(state: FakeStripeState, handler: ControlHandler) -> ControlHandler:
    async def notifying(request: web.Request, body: Json) -> Any:
        try:
            return await handler(request, body)
        finally:
            state.changes.notify()

    return notifying


def _route(handler: ControlHandler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """An aiohttp handler; a ValueError becomes 400. Handlers raise 404 for unknown ids and 409 for a wrong state."""

    async def route(request: web.Request) -> web.StreamResponse:
        try:
            body = json.loads(await request.read() or b"{}")
            if not isinstance(body, dict):
                raise ValueError("the body is a JSON object")
            return web.json_response(to_json(await handler(request, body)))
        except (ValueError, OverflowError) as error:
            raise http_error(web.HTTPBadRequest, str(error)) from error

    return route


def http_error(status: type[web.HTTPError], message: str) -> web.HTTPError:
    """An HTTP error with `message` in its JSON body."""
    return status(text=json.dumps({"error": message}), content_type="application/json")


def find(items: dict[str, Json], request: web.Request, kind: str) -> Json:
    """The item with the id in the path; raises 404."""
    item = items.get(request.match_info["id"])
    if item is None:
        raise http_error(web.HTTPNotFound, f"no such {kind}")
    return item


def check_fields(body: Json, *names: str) -> None:
    """Raise ValueError for an unknown field, so that a misspelled one is not ignored."""
    if unknown := body.keys() - set(names):
        raise ValueError(f"unknown field: {min(unknown)}")


def string_field(body: Json, name: str, choices: tuple[str, ...] = ()) -> str | None:
    """A string or None; one of `choices` if given."""
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} is a string")
    if value is not None and choices and value not in choices:
        raise ValueError(f"{name} is one of {', '.join(choices)}")
    return value


def integer_field(body: Json, name: str, minimum: int = 0) -> int | None:
    """An integer of at least `minimum`, or None."""
    value = body.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < minimum):
        raise ValueError(f"{name} is an integer of at least {minimum}")
    return value
