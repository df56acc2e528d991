"""A sample of a long matrix for `make test`; `make test-all` runs all of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import pytest

T = TypeVar("T")


def sampled(cases: Mapping[str, T], *, every: int) -> list[pytest.ParameterSet]:
    """The cases as parameters under their names; all but the first of each `every` are marked long."""
    return [
        pytest.param(case, id=name, marks=[pytest.mark.long] if number % every else [])
        for number, (name, case) in enumerate(cases.items())
    ]
