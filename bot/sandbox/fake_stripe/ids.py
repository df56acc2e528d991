"""Ids in Stripe's own dress, the same in every run, so that a failing story can be played again."""

from __future__ import annotations

import random
import string
from collections import Counter
from typing import Any

LETTERS = string.ascii_letters + string.digits


class Names:
    """A counter makes ids unique, a seeded generator makes them look like Stripe's.

    Each prefix has its own, so that the third intent is the same whether or not somebody polled in between.
    """

    def __init__(self, seed: int = 20261028) -> None:
        self._seed = seed
        self._made: Counter[str] = Counter()
        self._order = self._chance("order")

    def _chance(self, name: str) -> random.Random:
        return random.Random(f"{self._seed} {name}")  # noqa: S311 - repeatable on purpose, nothing is secret here

    def make(self, prefix: str, length: int = 24) -> str:
        """`prefix` and `length` letters and digits, the counter among them."""
        self._made[prefix] += 1
        count = f"{self._made[prefix]:06d}"
        letters = self._chance(f"{prefix} {count}").choices(LETTERS, k=length - len(count))
        return f"{prefix}{''.join(letters)}{count}"

    def shuffle(self, things: list[Any]) -> None:
        """Put `things` in another order, the same in every run."""
        self._order.shuffle(things)
