"""Faults on order: the n-th request of a kind from now times out, is cut off, or is answered 409, 429 or 500."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

HOWS = ("timeout", "drop", "409", "429", "500")


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

    def strikes(self) -> bool:
        """Count one more request; true if it is one of those to be struck. Ask no more once it is `over`."""
        self.seen += 1
        return self.seen >= self.nth

    @property
    def over(self) -> bool:
        return self.seen >= self.nth + self.times - 1

    @property
    def name(self) -> str:
        return f"{self.how} {self.when}"


class Faults:
    """The faults still to come, for the endpoints named `known` ("POST /v1/payment_intents/:id/confirm")."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = frozenset(known)
        self._coming: list[Fault] = []

    def order(self, wanted: dict[str, Any]) -> None:
        """Take an order as the control route gives it; raises ValueError with the reason."""
        unknown = wanted.keys() - {"method", "nth", "when", "how", "times", "code"}
        if unknown:
            raise ValueError(f"unknown field: {min(unknown)}")
        fault = Fault(
            str(wanted.get("method")),
            _positive(wanted, "nth"),
            str(wanted.get("when", "before")),
            str(wanted.get("how")),
            _positive(wanted, "times"),
            str(wanted.get("code", "rate_limit")),
        )
        if fault.method not in self._known:
            raise ValueError(f"no such method: {fault.method}")
        if fault.when not in ("before", "after") or fault.how not in HOWS:
            raise ValueError("when is before or after, how is timeout, drop, 409, 429 or 500")
        if fault.code not in ("rate_limit", "lock_timeout"):
            raise ValueError("code is rate_limit or lock_timeout")
        self._coming.append(fault)

    def strike(self, method: str) -> Fault | None:
        """The fault for this request, if one was ordered; every request of the kind is counted."""
        struck = [fault for fault in self._coming if fault.method == method and fault.strikes()]
        self._coming = [fault for fault in self._coming if not fault.over]
        return struck[0] if struck else None


def _positive(wanted: dict[str, Any], name: str) -> int:
    value = wanted.get(name, 1)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is a whole number from 1")
    return value
