"""Ids in Stripe's own dress, the same in every run, so that a failing story can be played again."""

from __future__ import annotations

import random
import string

LETTERS = string.ascii_letters + string.digits


class Names:
    """A counter makes ids unique, a seeded generator makes them look like Stripe's."""

    def __init__(self, seed: int = 20261028) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - repeatable on purpose, nothing is secret here
        self._count = 0

    def make(self, prefix: str, length: int = 24) -> str:
        """`prefix` and `length` letters and digits, the counter among them."""
        self._count += 1
        count = f"{self._count:06d}"
        return f"{prefix}{self.letters(length - len(count))}{count}"

    def letters(self, length: int) -> str:
        return "".join(self._chance.choices(LETTERS, k=length))

    def shuffle(self, things: list[object]) -> None:
        """Put `things` in another order, the same in every run."""
        self._chance.shuffle(things)
