"""Injected faults: the n-th call of a method times out, is dropped, or gets an error response."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bot.sandbox.fake_telegram.api_error import Json

KINDS = ("timeout", "drop", "429", "500", "502")


@dataclass
class Fault:
    """Hits the calls `nth` to `nth + times - 1` of `method`, counted from now (1 is the next one).

    `when`: `before` (the call is not executed) or `after` (it is, and the response is lost or replaced).
    `retry_after` is in seconds, for a 429. A 502 is the HTML page of a proxy.
    """

    method: str
    nth: int
    when: str
    how: str
    times: int
    retry_after: int
    seen: int = 0

    @property
    def name(self) -> str:
        return f"{self.how} {self.when}"


class Faults:
    """The pending faults. `known` are the methods in their usual spelling, like "sendMessage"."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = {name.lower(): name for name in known}
        self._pending: list[Fault] = []

    def add(self, body: Json) -> None:
        """Add a fault from the body of the control route; raises ValueError for a wrong field."""
        unknown = body.keys() - {"method", "nth", "when", "how", "times", "retry_after"}
        if unknown:
            raise ValueError(f"unknown field: {min(unknown)}")
        method = self._known.get(str(body.get("method")).lower())
        if method is None:
            raise ValueError(f"no such method: {body.get('method')}")
        when, how = str(body.get("when", "before")), str(body.get("how"))
        if when not in ("before", "after") or how not in KINDS:
            raise ValueError(f"when is before or after, how is one of {', '.join(KINDS)}")
        nth, times, wait = (_positive(body, name) for name in ("nth", "times", "retry_after"))
        self._pending.append(Fault(method, nth, when, how, times, wait))

    def next_fault(self, method: str) -> Fault | None:
        """The fault that hits this call, if any; counts the call."""
        hit = None
        for fault in [fault for fault in self._pending if fault.method == method]:
            fault.seen += 1
            if fault.seen >= fault.nth:
                hit = hit or fault
            if fault.seen >= fault.nth + fault.times - 1:
                self._pending.remove(fault)
        return hit


def _positive(body: Json, name: str) -> int:
    value = body.get(name, 1)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is an integer of at least 1")
    return value
