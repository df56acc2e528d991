"""What the work in hand belongs to (a request, an update, a payment), so that every line of the log can name it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

Mark = str | int

_marks: ContextVar[Mapping[str, Mark]] = ContextVar("marks")


@contextmanager
def trace(**marks: Mark) -> Iterator[None]:
    """Give everything that is logged within these marks, on top of those around it; tasks begun within inherit them."""
    token = _marks.set({**current(), **marks})
    try:
        yield
    finally:
        _marks.reset(token)


def mark(**marks: Mark) -> None:
    """Give the rest of the work in hand these marks as well: what it belongs to is often learned on the way."""
    if known := current():
        _marks.set({**known, **marks})


def current() -> Mapping[str, Mark]:
    """The marks of the work in hand, outermost first."""
    return _marks.get({})
