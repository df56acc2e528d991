"""Writes down what strangers can cause as often as they like: once a minute, with how often it was."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

SECONDS = 60.0
MOST = 1000
"""Different things that are remembered to have been said."""


class ThrottledLogger:
    """Keeps the log from being filled by others; in real seconds, for the disk knows no other."""

    def __init__(self, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._said: dict[str, float] = {}
        self._unsaid: Counter[str] = Counter()

    def warning(self, log: logging.Logger, sentence: str, what: str) -> None:
        """Warn with the sentence, which has one hole for `what`; a few different ones are told apart."""
        last, now = self._said.get(what), self._clock()
        if last is not None and now - last < self._seconds:
            self._unsaid[what] += 1
            return
        if len(self._said) >= MOST:
            self._said.clear()
            self._unsaid.clear()
        self._said[what] = now
        if more := self._unsaid.pop(what, 0):
            log.warning(f"{sentence}, and %s times more since it was last said", what, more)
        else:
            log.warning(sentence, what)
