"""Ids that look like Stripe's and are the same in every run, so that a failing test can be repeated."""

from __future__ import annotations

import random
import string
from collections import Counter
from typing import Any

ALPHABET = string.ascii_letters + string.digits


class IdGenerator:
    """A counter makes ids unique, a seeded generator makes them look like Stripe's.

    Each prefix has its own counter, so that the ids of intents do not depend on the number of requests.
    """

    def __init__(self, seed: int = 20261028) -> None:
        self._seed = seed
        self._counts: Counter[str] = Counter()
        self._shuffler = self._random("order")

    def _random(self, name: str) -> random.Random:
        return random.Random(f"{self._seed} {name}")  # noqa: S311 - repeatable on purpose, nothing is secret here

    def make(self, prefix: str, length: int = 24) -> str:
        """`prefix` and `length` letters and digits, the counter among them."""
        self._counts[prefix] += 1
        count = f"{self._counts[prefix]:06d}"
        characters = self._random(f"{prefix} {count}").choices(ALPHABET, k=length - len(count))
        return f"{prefix}{''.join(characters)}{count}"

    def shuffle(self, items: list[Any]) -> None:
        """Shuffle `items` in place, the same way in every run."""
        self._shuffler.shuffle(items)
