"""Faults on order: the n-th request of a kind from now times out, is cut off, or is answered 409, 429 or 500."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

KINDS = ("timeout", "drop", "409", "429", "500")


@dataclass
class Fault:
    """Strikes the requests `nth` to `nth + times - 1` to `method`, counted from now (1 is the next one).

    `when`: before (nothing is carried out) or after (it is, and the answer is lost or spoilt).
    `code` is what a 429 says: rate_limit or lock_timeout; a 409 says that a twin of the request is still under way.
    """

    method: str
    nth: int
    when: str
    how: str
    times: int = 1
    code: str = "rate_limit"
    seen: int = 0

    def count_request(self) -> bool:
        """Count one more request; true if it is one of those to be struck. Ask no more once it is `over`."""
        self.seen += 1
        return self.seen >= self.nth

    @property
    def is_used_up(self) -> bool:
        return self.seen >= self.nth + self.times - 1

    @property
    def name(self) -> str:
        return f"{self.how} {self.when}"


class Faults:
    """The faults still to come, for the endpoints named `known` ("POST /v1/payment_intents/:id/confirm")."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = frozenset(known)
        self._pending: list[Fault] = []

    def add(self, fields: dict[str, Any]) -> None:
        """Take an order as the control route gives it; raises ValueError with the reason."""
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
        """The fault for this request, if one was ordered; every request of the kind is counted."""
        struck = [fault for fault in self._pending if fault.method == method and fault.count_request()]
        self._pending = [fault for fault in self._pending if not fault.is_used_up]
        return struck[0] if struck else None


def _positive(wanted: dict[str, Any], name: str) -> int:
    value = wanted.get(name, 1)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is a whole number from 1")
    return value
