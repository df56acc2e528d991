"""What control routes have in common: JSON in, JSON out, errors in plain words, and all watchers are told."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from bot.sandbox.fake_stripe.api_error import Json
from bot.sandbox.fake_stripe.state import FakeStripeState
from bot.sandbox.fake_stripe.store import to_json

ControlHandler = Callable[[web.Request, Json], Awaitable[Any]]


def post_routes(state: FakeStripeState, acts: Mapping[str, ControlHandler]) -> list[web.RouteDef]:
    """The routes that change something, by path."""
    return [web.post(path, _route(_notifying(state, act))) for path, act in acts.items()]


def get_routes(acts: Mapping[str, ControlHandler]) -> list[web.RouteDef]:
    """The routes that only show, by path."""
    return [web.get(path, _route(act)) for path, act in acts.items()]


def _notifying(state: FakeStripeState, act: ControlHandler) -> ControlHandler:
    """The act, told to everybody who watches."""

    async def told(request: web.Request, body: Json) -> Any:
        try:
            return await act(request, body)
        finally:
            state.changes.notify()

    return told


def _route(act: ControlHandler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """404 for unknown ids, 400 for what cannot be understood, 409 for what is too late."""

    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            body = json.loads(await request.read() or b"{}")
            if not isinstance(body, dict):
                raise ValueError("the body is a JSON object")
            return web.json_response(to_json(await act(request, body)))
        except (ValueError, OverflowError) as error:
            raise http_error(web.HTTPBadRequest, str(error)) from error

    return handler


def http_error(status: type[web.HTTPError], words: str) -> web.HTTPError:
    """The HTTP error that says `words`."""
    return status(text=json.dumps({"error": words}), content_type="application/json")


def find(things: dict[str, Json], request: web.Request, kind: str) -> Json:
    """The thing that the path names; raises 404."""
    thing = things.get(request.match_info["id"])
    if thing is None:
        raise http_error(web.HTTPNotFound, f"no such {kind}")
    return thing


def check_fields(body: Json, *names: str) -> None:
    """Raise ValueError for a field that the route does not know, so that a misspelt one is never ignored."""
    if unknown := body.keys() - set(names):
        raise ValueError(f"unknown field: {min(unknown)}")


def string_field(body: Json, name: str, choices: tuple[str, ...] = ()) -> str | None:
    """A string or None; one of `choices` where there are any."""
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} is a string")
    if value is not None and choices and value not in choices:
        raise ValueError(f"{name} is one of {', '.join(choices)}")
    return value


def integer_field(body: Json, name: str, least: int = 0) -> int | None:
    """A whole number from `least`, or None."""
    value = body.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
        raise ValueError(f"{name} is a whole number from {least}")
    return value
