"""Delays between attempts."""

from __future__ import annotations


def backoff(
    failures: int, *, first: float, longest: float, factor: float = 2.0, jitter: float = 0.0, chance: float = 0.0
) -> float:
    """Seconds to wait before the next attempt, after `failures` failures before the one just seen.

    The delay starts at `first` seconds and is multiplied by `factor` for each earlier failure, up to `longest`.
    `jitter` is the part of it that is random: 0 none, 0.5 half ("equal jitter"), 1 all ("full jitter"). `chance` is the
    random number, from 0 up to 1.
    """
    exponent = min(failures, 64)  # a float overflows after some 1000 failures
    delay = min(longest, first * factor**exponent)
    return delay * ((1.0 - jitter) + jitter * chance)
