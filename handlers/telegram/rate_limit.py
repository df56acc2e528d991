"""Telegram's limits, kept before Telegram has to insist on them: overall, per chat, and per group."""

from __future__ import annotations

import math
from collections import deque
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000
"""Whole microseconds, so that whoever waits as long as told finds a place, and not a rounding error."""

MINUTE = 60 * SECOND


class _SlidingWindow:
    """At most `limit` in any stretch of `length` microseconds."""

    __slots__ = ("_length", "_limit", "_taken")

    def __init__(self, limit: int, length: int) -> None:
        self._limit = limit
        self._length = length
        self._taken: deque[int] = deque()

    def wait(self, now: int) -> int:
        while self._taken and self._taken[0] + self._length <= now:
            self._taken.popleft()
        return 0 if len(self._taken) < self._limit else self._taken[0] + self._length - now

    def take(self, now: int) -> None:
        self._taken.append(now)

    def is_idle(self, now: int) -> bool:
        return self.wait(now) == 0 and not self._taken


class _ChatBucket:
    """A few at once, then at a steady rate; `_full_at` is when the whole burst is there again."""

    __slots__ = ("_full_at", "_interval", "_slack", "group")

    def __init__(self, per_second: float, burst: int, group: _SlidingWindow | None) -> None:
        self._interval = math.ceil(SECOND / per_second)
        self._slack = (burst - 1) * self._interval
        self._full_at = 0
        self.group = group

    def wait(self, now: int) -> int:
        group = self.group.wait(now) if self.group else 0
        return max(self._full_at - self._slack - now, group, 0)

    def take(self, now: int) -> None:
        self._full_at = max(self._full_at, now) + self._interval
        if self.group:
            self.group.take(now)

    def is_idle(self, now: int) -> bool:
        return self._full_at <= now and (self.group is None or self.group.is_idle(now))


class TelegramRateLimiter:
    """How long to wait before the next message to a chat, counted in this process only.

    The numbers are Telegram's own advice: 30 a second overall, one a second in a chat with short bursts allowed, 20 a
    minute in a group (https://core.telegram.org/bots/faq). Edits count like messages, answers to taps do not count.
    """

    def __init__(
        self, overall: int = 30, chat_per_second: float = 1.0, chat_burst: int = 3, group_per_minute: int = 20
    ) -> None:
        """Every number must be positive, otherwise ValueError."""
        if min(overall, chat_per_second, chat_burst, group_per_minute) <= 0:
            raise ValueError("a limit below one message would stop the post")
        self._overall = overall
        self._chat_per_second = chat_per_second
        self._chat_burst = chat_burst
        self._group_per_minute = group_per_minute
        self._all = _SlidingWindow(overall, SECOND)
        self._chats: dict[int, _ChatBucket] = {}
        self._last = self._swept = 0

    def __len__(self) -> int:
        """How many chats are remembered; idle ones are forgotten about once a minute."""
        return len(self._chats)

    def acquire(self, chat_id: int, now: datetime) -> float:
        """0.0 and a place is taken, or the seconds until there would be one and nothing is taken.

        `now` is aware UTC. A clock that was set back by more than a minute makes it start anew.
        """
        at = self._steady((now - EPOCH) // timedelta(microseconds=1))
        chat = self._chats.get(chat_id) or self._new_chat(chat_id)
        if wait := max(self._all.wait(at), chat.wait(at)):
            return wait / SECOND
        self._all.take(at)
        chat.take(at)
        self._chats[chat_id] = chat
        return 0.0

    def _steady(self, at: int) -> int:
        """Time without small steps back; once a minute the idle chats go."""
        if at < self._last - MINUTE:
            self._forget_all(at)
        self._last = max(self._last, at)
        if self._last - self._swept >= MINUTE:
            self._swept = self._last
            self._chats = {chat_id: chat for chat_id, chat in self._chats.items() if not chat.is_idle(self._last)}
        return self._last

    def _forget_all(self, at: int) -> None:
        self._all = _SlidingWindow(self._overall, SECOND)
        self._chats = {}
        self._last = self._swept = at

    def _new_chat(self, chat_id: int) -> _ChatBucket:
        # Groups, supergroups and channels have negative ids, people positive ones.
        group = _SlidingWindow(self._group_per_minute, MINUTE) if chat_id < 0 else None
        return _ChatBucket(self._chat_per_second, self._chat_burst, group)
