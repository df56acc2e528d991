"""Lists, newest first with cursors, and `expand`, for every kind of object."""

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
    "balance_transaction": "balance_transactions",
    "failure_balance_transaction": "balance_transactions",
}
NEVER_SET = {"application", "application_fee", "customer", "on_behalf_of", "review", "source_transfer", "transfer"}
"""Properties that can be expanded and are null in this account."""


def page(call: Call, url: str, kind: str, oldest_first: Iterable[Json]) -> Json:
    """One page of the objects in the `created` range, newest first.

    `ending_before` returns the `limit` objects just newer than the cursor, also newest first. `has_more` is about
    the direction of the cursor.
    """
    limit = call.params.get("limit", 10)
    if not 1 <= limit <= 100:
        raise ApiError("Invalid integer: limit must be between 1 and 100", param="limit")
    after, before = call.params.get("starting_after"), call.params.get("ending_before")
    if after and before:
        raise mutually_exclusive("ending_before", "starting_after")
    found = [item for item in oldest_first if is_within(item.get("created", 0), call.params.get("created"))]
    found.reverse()
    if before:
        newer = found[: _index_of(found, before, kind, "ending_before")]
        return objects.list_object(newer[-limit:], url, has_more=len(newer) > limit)
    older = found[_index_of(found, after, kind, "starting_after") + 1 :] if after else found
    return objects.list_object(older[:limit], url, has_more=len(older) > limit)


def is_within(moment: int, span: Json | None) -> bool:
    return all(COMPARISONS[name](moment, edge) for name, edge in (span or {}).items())


def _index_of(found: list[Json], cursor: str, kind: str, param: str) -> int:
    for index, item in enumerate(found):
        if item["id"] == cursor:
            return index
    raise not_found(kind, cursor, param=param, status=400)


def expand(state: FakeStripeState, item: Json, paths: list[str]) -> Json:
    """A copy of `item` in which the ids at `paths` (`latest_charge`, `data.charge`) are replaced by their objects."""
    shown = deepcopy(item)
    for path in paths:
        _expand(state, shown, path, path.split("."))
    return shown


def _expand(state: FakeStripeState, item: Any, path: str, parts: list[str]) -> None:
    if item is None:
        return
    if isinstance(item, list):
        for element in item:
            _expand(state, element, path, parts)
        return
    name, rest = parts[0], parts[1:]
    if name == "refunds" and item.get("object") == "charge":
        listed = [refund for refund in state.store.refunds.values() if refund["charge"] == item["id"]]
        url = f"/v1/charges/{item['id']}/refunds"
        item[name] = objects.list_object(deepcopy(listed[::-1]), url, has_more=False)
    if name in NEVER_SET and name in item and item[name] is None:
        return
    if name not in item and name in EXPANDABLE and item.get("object") == "refund":
        return
    if name not in item or (name not in EXPANDABLE and name not in ("data", "refunds")):
        raise ApiError(f"This property cannot be expanded ({path}).", param="expand[0]", stored=True)
    if isinstance(item[name], str):
        item[name] = deepcopy(getattr(state.store, EXPANDABLE[name])[item[name]])
    if rest:
        _expand(state, item[name], path, rest)
