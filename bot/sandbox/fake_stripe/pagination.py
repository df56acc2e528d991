"""Stripe's lists, newest first with cursors, and `expand`, the same for every kind of object."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

from bot.sandbox.fake_stripe import form_params, objects
from bot.sandbox.fake_stripe.api_error import ApiError, Json, mutually_exclusive, not_found
from bot.sandbox.fake_stripe.endpoint import Call
from bot.sandbox.fake_stripe.state import FakeStripeState

CURSORS: form_params.Fields = {
    "limit": form_params.integer,
    "starting_after": form_params.text(),
    "ending_before": form_params.text(),
}
COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "gt": int.__gt__,
    "gte": int.__ge__,
    "lt": int.__lt__,
    "lte": int.__le__,
}
EXPANDABLE = {
    "latest_charge": "charges",
    "charge": "charges",
    "payment_intent": "intents",
    "payment_method": "payment_methods",
}


def page(call: Call, url: str, kind: str, oldest_first: Iterable[Json]) -> Json:
    """One page of the objects that fit, newest first.

    `ending_before` gives the `limit` objects just newer than the cursor, still newest first; `has_more` tells
    whether there are more in the direction of travel.
    """
    limit = call.params.get("limit", 10)
    if not 1 <= limit <= 100:
        raise ApiError("Invalid integer: limit must be between 1 and 100", param="limit")
    after, before = call.params.get("starting_after"), call.params.get("ending_before")
    if after and before:
        raise mutually_exclusive("ending_before", "starting_after")
    found = [thing for thing in oldest_first if is_within(thing.get("created", 0), call.params.get("created"))]
    found.reverse()
    if before:
        newer = found[: _index_of(found, before, kind, "ending_before")]
        return objects.list_object(newer[-limit:], url, has_more=len(newer) > limit)
    older = found[_index_of(found, after, kind, "starting_after") + 1 :] if after else found
    return objects.list_object(older[:limit], url, has_more=len(older) > limit)


def is_within(moment: int, span: Json | None) -> bool:
    return all(COMPARISONS[name](moment, edge) for name, edge in (span or {}).items())


def _index_of(found: list[Json], cursor: str, kind: str, param: str) -> int:
    for place, thing in enumerate(found):
        if thing["id"] == cursor:
            return place
    raise not_found(kind, cursor, param=param, status=400)


def expand(state: FakeStripeState, thing: Json, paths: list[str]) -> Json:
    """A copy of `thing` with the ids at `paths` (`latest_charge`, `data.charge`) replaced by their objects."""
    shown = deepcopy(thing)
    for path in paths:
        _expand(state, shown, path, path.split("."))
    return shown


def _expand(state: FakeStripeState, thing: Any, path: str, parts: list[str]) -> None:
    if thing is None:
        return
    if isinstance(thing, list):
        for item in thing:
            _expand(state, item, path, parts)
        return
    name, rest = parts[0], parts[1:]
    if name not in thing or (name not in EXPANDABLE and name != "data"):
        raise ApiError(f"This property cannot be expanded ({path}).", param="expand[0]", stored=True)
    if isinstance(thing[name], str):
        thing[name] = deepcopy(getattr(state.store, EXPANDABLE[name])[thing[name]])
    if rest:
        _expand(state, thing[name], path, rest)
