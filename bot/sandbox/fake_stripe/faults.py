"""Injected faults: the n-th request to an endpoint times out, is dropped, or gets 409, 429 or 500."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

KINDS = ("timeout", "drop", "409", "429", "500")


@dataclass
class Fault:
    """Hits the requests `nth` to `nth + times - 1` to `method`, counted from now (1 is the next one).

    `when`: `before` (the request is not executed) or `after` (it is, and the response is lost or replaced).
    `code` is the code of a 429: rate_limit or lock_timeout. A 409 is Stripe's error for a request whose key is in use.
    """

    method: str
    nth: int
    when: str
    how: str
    times: int = 1
    code: str = "rate_limit"
    seen: int = 0

    def count_request(self) -> bool:
        """Count one request; true if the fault hits it. Do not call it again once `is_used_up`."""
        self.seen += 1
        return self.seen >= self.nth

    @property
    def is_used_up(self) -> bool:
        return self.seen >= self.nth + self.times - 1

    @property
    def name(self) -> str:
        return f"{self.how} {self.when}"


class Faults:
    """The pending faults. `known` are the names of the endpoints, like "POST /v1/payment_intents/:id/confirm"."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = frozenset(known)
        self._pending: list[Fault] = []

    def add(self, fields: dict[str, Any]) -> None:
        """Add a fault from the body of the control route; raises ValueError for a wrong field."""
        unknown = fields.keys() - {"method", "nth", "when", "how", "times", "code"}
        if unknown:
            raise ValueError(f"unknown field: {min(unknown)}")
        fault = Fault(
            str(fields.get("method")),
            _positive(fields, "nth"),
            str(fields.get("when", "before")),
            str(fields.get("how")),
            _positive(fields, "times"),
            str(fields.get("code", "rate_limit")),
        )
        if fault.method not in self._known:
            raise ValueError(f"no such method: {fault.method}")
        if fault.when not in ("before", "after") or fault.how not in KINDS:
            raise ValueError("when is before or after, how is timeout, drop, 409, 429 or 500")
        if fault.code not in ("rate_limit", "lock_timeout"):
            raise ValueError("code is rate_limit or lock_timeout")
        self._pending.append(fault)

    def next_fault(self, method: str) -> Fault | None:
        """The fault that hits this request, if any; counts the request."""
        matching = [fault for fault in self._pending if fault.method == method and fault.count_request()]
        self._pending = [fault for fault in self._pending if not fault.is_used_up]
        return matching[0] if matching else None


def _positive(fields: dict[str, Any], name: str) -> int:
    value = fields.get(name, 1)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is an integer of at least 1")
    return value
