"""Telegram's rate limits, kept on our side: overall, per chat, and per group."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from handlers.sliding_window import SlidingWindow

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


class _ChatBucket:
    """A token bucket: a burst, then a steady rate. `_full_at` is when the whole burst is available again."""

    __slots__ = ("_burst", "_full_at", "_interval", "group")

    def __init__(self, per_second: float, burst: int, group: SlidingWindow | None) -> None:
        # Whole microseconds: a caller that waits as long as `acquire` returned must not be early by a rounding error.
        self._interval = timedelta(microseconds=math.ceil(1_000_000 / per_second))
        self._burst = (burst - 1) * self._interval
        self._full_at = EPOCH
        self.group = group

    def wait(self, now: datetime, spare: int) -> timedelta:
        group = self.group.wait(now, spare=spare) if self.group else timedelta(0)
        return max(self._full_at - self._burst - now, group, timedelta(0))

    def add(self, now: datetime) -> None:
        self._full_at = max(self._full_at, now) + self._interval
        if self.group:
            self.group.add(now)

    def is_idle(self, now: datetime) -> bool:
        return self._full_at <= now and (self.group is None or self.group.is_idle(now))


class TelegramRateLimiter:
    """Returns how long to wait before the next message to a chat. Counts in this process only.

    The default limits are Telegram's advice: 30 messages a second overall, one a second in a chat with short bursts
    allowed, 20 a minute in a group (https://core.telegram.org/bots/faq). Edits count like messages, answers to callback
    queries do not count.
    """

    def __init__(
        self, overall: int = 30, chat_per_second: float = 1.0, chat_burst: int = 3, group_per_minute: int = 20
    ) -> None:
        """`overall` is per second.

        Raises:
            ValueError: a limit is not positive.
        """
        if min(overall, chat_per_second, chat_burst, group_per_minute) <= 0:
            raise ValueError("rate limits must be positive")
        self._overall = overall
        self._chat_per_second = chat_per_second
        self._chat_burst = chat_burst
        self._group_per_minute = group_per_minute
        self._all = SlidingWindow(overall, SECOND)
        self._chats: dict[int, _ChatBucket] = {}
        self._last = self._pruned_at = EPOCH

    def __len__(self) -> int:
        """How many chats are counted. Idle ones are dropped about once a minute."""
        return len(self._chats)

    def acquire(self, chat_id: int, now: datetime, *, spare: int = 0) -> float:
        """Counts a message and returns 0.0 if it may be sent now; otherwise the seconds until it may be.

        A message that can wait leaves `spare` of a group's messages a minute to others. `now` is aware UTC. If the
        clock was set back by more than a minute, all counts start again.
        """
        now = self._monotonic(now)
        chat = self._chats.get(chat_id) or self._new_chat(chat_id)
        if wait := max(self._all.wait(now), chat.wait(now, spare)):
            return wait.total_seconds()
        self._all.add(now)
        chat.add(now)
        self._chats[chat_id] = chat
        return 0.0

    def _monotonic(self, now: datetime) -> datetime:
        """The latest time seen, so that small steps back do not count. Drops idle chats once a minute."""
        if now < self._last - MINUTE:
            self._reset(now)
        self._last = max(self._last, now)
        if self._last - self._pruned_at >= MINUTE:
            self._pruned_at = self._last
            self._chats = {chat_id: chat for chat_id, chat in self._chats.items() if not chat.is_idle(self._last)}
        return self._last

    def _reset(self, now: datetime) -> None:
        self._all = SlidingWindow(self._overall, SECOND)
        self._chats = {}
        self._last = self._pruned_at = now

    def _new_chat(self, chat_id: int) -> _ChatBucket:
        # Groups, supergroups and channels have negative ids, users positive ones.
        group = SlidingWindow(self._group_per_minute, MINUTE) if chat_id < 0 else None
        return _ChatBucket(self._chat_per_second, self._chat_burst, group)
