"""Parses request parameters: bracketed form fields in, checked and typed parameters out, or Stripe's error."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bot.sandbox.fake_stripe.api_error import ApiError, Json, missing_param

Reader = Callable[[Any, str], Any]
Fields = Mapping[str, Reader | None]
"""The parameters of an endpoint; None marks one that Stripe supports and this fake does not."""

PART = re.compile(r"\[([^\[\]]*)\]")


def decode(pairs: Iterable[tuple[str, str]]) -> Json:
    """Decode `a[b]=1&c[0]=2&d[]=3` to `{"a": {"b": "1"}, "c": ["2"], "d": ["3"]}`; metadata is never a list."""
    tree: Json = {}
    for name, value in pairs:
        path = [name.split("[", 1)[0], *PART.findall(name)]
        at = tree
        for part in path[:-1]:
            below = at.setdefault(part, {})
            if not isinstance(below, dict):
                raise ApiError(f"Invalid hash: {name}", param=path[0])
            at = below
        at[path[-1] or str(len(at))] = value
    return {name: value if name == "metadata" else _lists(value) for name, value in tree.items()}


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    items = {name: _lists(item) for name, item in value.items()}
    return list(items.values()) if list(items) == [str(n) for n in range(len(items))] else items


def parse(params: Json, fields: Fields, required: Iterable[str] = (), prefix: str = "") -> Json:
    """The typed parameters; raises ApiError, as Stripe would, for an unknown, missing or malformed one."""
    found = {}
    for name, value in params.items():
        full = f"{prefix}[{name}]" if prefix else name
        if name not in fields:
            raise ApiError(f"Received unknown parameter: {full}", code="parameter_unknown", param=full)
        reader = fields[name]
        if reader is None:
            raise ApiError(f"This fake Stripe does not support the parameter {full}", param=full)
        found[name] = reader(value, full)
    for name in required:
        if name not in found:
            raise missing_param(f"{prefix}[{name}]" if prefix else name)
    return found


def text(limit: int = 5000) -> Reader:
    """A string of at most `limit` characters; an empty one becomes None, which unsets."""

    def reader(value: Any, name: str) -> str | None:
        if not isinstance(value, str):
            raise ApiError(f"Invalid string: {name}", param=name)
        if len(value) > limit:
            raise ApiError(f"Invalid string: {value[:20]}...; must be at most {limit} characters", param=name)
        return value or None

    return reader


def integer(value: Any, name: str) -> int:
    if value == "":
        message = (
            f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset a parameter."
        )
        raise ApiError(message, code="parameter_invalid_empty", param=name)
    if not isinstance(value, str) or not re.fullmatch(r"-?[0-9]{1,18}", value):
        raise ApiError(f"Invalid integer: {value}", code="parameter_invalid_integer", param=name)
    return int(value)


def boolean(value: Any, name: str) -> bool:
    if value not in ("true", "false"):
        raise ApiError(f"Invalid boolean: {value}", param=name)
    return bool(value == "true")


def one_of(*values: str) -> Reader:
    """One of `values`."""

    def reader(value: Any, name: str) -> str:
        if value not in values:
            raise ApiError(f"Invalid {name}: must be one of {', '.join(values)}", param=name)
        return str(value)

    return reader


def list_of(item: Reader) -> Reader:
    """A list whose entries are read by `item`."""

    def reader(value: Any, name: str) -> list[Any]:
        if value == "":  # form encoding has no empty list
            return []
        if not isinstance(value, list):
            raise ApiError("Invalid array", param=name)
        return [item(entry, f"{name}[{place}]") for place, entry in enumerate(value)]

    return reader


def hash_of(fields: Fields, required: Iterable[str] = ()) -> Reader:
    """A hash with these fields."""

    def reader(value: Any, name: str) -> Json:
        if value == "":  # form encoding has no empty hash
            return parse({}, fields, required, prefix=name)
        if not isinstance(value, dict):
            raise ApiError("Invalid hash", param=name)
        return parse(value, fields, required, prefix=name)

    return reader


def any_hash(value: Any, name: str) -> Json:
    """A hash of whatever content."""
    if value != "" and not isinstance(value, dict):
        raise ApiError("Invalid hash", param=name)
    return value or {}


def time_range(value: Any, name: str) -> Json:
    """A time or a range of times, in Unix seconds: `created=5` or `created[gte]=5`."""
    if isinstance(value, str):
        moment = integer(value, name)
        return {"gte": moment, "lte": moment}
    return dict(hash_of(dict.fromkeys(("gt", "gte", "lt", "lte"), integer))(value, name))


def metadata(value: Any, name: str) -> Json:
    """At most 50 keys of 40 characters with values of 500; an empty string unsets everything."""
    if value == "":
        return {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise ApiError(f"Invalid {name}: must be a hash of strings", param=name)
    if len(value) > 50:
        raise ApiError("Metadata can have at most 50 keys", param=name)
    for key, item in value.items():
        if len(key) > 40:
            raise ApiError("Metadata keys are limited to 40 characters", param=f"{name}[{key}]")
        if len(item) > 500:
            raise ApiError("Metadata values are limited to 500 characters", param=f"{name}[{key}]")
    return value
