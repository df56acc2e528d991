"""The search endpoints, with the part of Stripe's query language that payments use.

Clauses like `status:'succeeded'`, `metadata['key']:'value'`, `amount>1000` or `-currency:'dkk'`, joined by AND or by
OR. At Stripe a new object is found only after up to a minute; here at once (docs.stripe.com/search).
"""

from __future__ import annotations

import re
from typing import Any

from bot.sandbox.fake_stripe import form_params
from bot.sandbox.fake_stripe.api_error import ApiError, Json
from bot.sandbox.fake_stripe.endpoint import Call, Endpoint

CLAUSE = re.compile(
    r"""(?P<not>-?)(?P<name>\w+)(?:\[["'](?P<key>[^"']+)["']\])?(?P<sign>:|~|>=|<=|>|<)"""
    r"""(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[\w.-]+))"""
)
FIELDS = {
    "payment_intents": {"amount", "created", "currency", "customer", "metadata", "status"},
    "charges": {"amount", "created", "currency", "customer", "disputed", "metadata", "refunded", "status"},
}


def payment_intents(call: Call) -> Json:
    return _search(call, "payment_intents", call.state.store.intents)


def charges(call: Call) -> Json:
    return _search(call, "charges", call.state.store.charges)


def _search(call: Call, kind: str, items: dict[str, Json]) -> Json:
    query, limit = str(call.params["query"] or ""), call.params.get("limit", 10)
    if not 1 <= limit <= 100:
        raise ApiError("Invalid integer: limit must be between 1 and 100", param="limit")
    words = re.split(r"\s+(AND|OR)\s+", query.strip(), flags=re.IGNORECASE)
    joins = {word.upper() for word in words[1::2]}
    if len(joins) > 1:
        raise _invalid(query, "AND and OR cannot be combined")
    clauses = [_parse(kind, clause, query) for clause in words[::2]]
    together = any if joins == {"OR"} else all
    found = [item for item in reversed(items.values()) if together(_matches(item, clause) for clause in clauses)]
    page = call.params.get("page") or "0"
    first = int(page) if str(page).isdecimal() else 0
    more = len(found) > first + limit
    return {
        "object": "search_result",
        "data": found[first : first + limit],
        "has_more": more,
        "next_page": str(first + limit) if more else None,
        "url": f"/v1/{kind}/search",
    }


def _parse(kind: str, clause: str, query: str) -> re.Match[str]:
    found = CLAUSE.fullmatch(clause)
    if found is None:
        raise _invalid(query, f"cannot parse {clause}")
    if found["name"] not in FIELDS[kind] or (found["key"] is None) == (found["name"] == "metadata"):
        raise _invalid(query, f"Field `{found['name']}` is an unsupported search field for resource `{kind}`")
    return found


def _matches(item: Json, clause: re.Match[str]) -> bool:
    value = item[clause["name"]].get(clause["key"]) if clause["key"] else item[clause["name"]]
    wanted = next(part for part in clause.group("double", "single", "bare") if part is not None)
    return _compares(value, clause["sign"], wanted) != bool(clause["not"])


def _compares(value: Any, sign: str, wanted: str) -> bool:
    match sign:
        case ":":
            shown = str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
            return shown == wanted
        case "~":
            return isinstance(value, str) and wanted.lower() in value.lower()
    edge = float(wanted) if re.fullmatch(r"-?\d+(\.\d+)?", wanted) else None
    if edge is None or not isinstance(value, int):
        return False
    return {">": value > edge, "<": value < edge, ">=": value >= edge, "<=": value <= edge}[sign]


def _invalid(query: str, reason: str) -> ApiError:
    return ApiError(f"We were unable to parse your search query: {query!r}. {reason}.", param="query")


PARAMS: form_params.Fields = {"query": form_params.text(), "limit": form_params.integer, "page": form_params.text()}
ENDPOINTS = (
    Endpoint("GET", "/v1/payment_intents/search", payment_intents, PARAMS, ("query",)),
    Endpoint("GET", "/v1/charges/search", charges, PARAMS, ("query",)),
)
"""They come before the endpoints with an id in their place."""
