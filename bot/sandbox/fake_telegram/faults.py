"""Faults on order: the n-th call of a method from now times out, is cut off, or is answered with an error."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bot.sandbox.fake_telegram.api_error import Json

KINDS = ("timeout", "drop", "429", "500", "502")


@dataclass
class Fault:
    """Strikes the calls `nth` to `nth + times - 1` of `method`, counted from now (1 is the next one).

    `when`: before (nothing is carried out) or after (it is, and the answer is lost or spoilt). `retry_after` are the
    seconds that a 429 names. 502 is the HTML page of a proxy.
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
    """The faults still to come, for methods in their own spelling ("sendMessage")."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = {name.lower(): name for name in known}
        self._pending: list[Fault] = []

    def add(self, body: Json) -> None:
        """Take an order as the control route gives it; raises ValueError with the reason."""
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
        """The fault for this call, if one was ordered; every call of the method is counted."""
        struck = None
        for fault in [fault for fault in self._pending if fault.method == method]:
            fault.seen += 1
            if fault.seen >= fault.nth:
                struck = struck or fault
            if fault.seen >= fault.nth + fault.times - 1:
                self._pending.remove(fault)
        return struck


def _positive(wanted: Json, name: str) -> int:
    value = wanted.get(name, 1)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is a whole number from 1")
    return value
