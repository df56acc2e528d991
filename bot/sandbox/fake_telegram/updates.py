"""The queue of updates for the bot. An update stays until it is confirmed or expires."""

from __future__ import annotations

import random
from collections import deque
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.sandbox.fake_telegram.api_error import Json
from bot.sandbox.shared.change_notifier import ChangeNotifier
from bot.sandbox.shared.fake_clock import FakeClock

DAY = 24 * 3600
TTL_SECONDS = {"callback_query": 150, "inline_query": 30, "chosen_inline_result": 600}
"""Seconds for which Telegram keeps an update; other kinds are kept a day (Bot API server, Client.cpp, add_update)."""

OPT_IN_KINDS = ("chat_member", "message_reaction", "message_reaction_count")
"""Kinds of updates that a bot gets only if `allowed_updates` has them."""

WEEK = timedelta(days=7)
MAX_OFFSET_AHEAD = 10
"""An offset further ahead of the next id confirms nothing (TDLib, TQueue)."""


@dataclass(frozen=True)
class Update:
    """Webhook deliveries with the same `ordering_key` keep their order: one key per chat, for queries one per user."""

    id: int
    kind: str
    content: Json
    ordering_key: str
    expires_at: datetime

    @property
    def body(self) -> Json:
        """The Update object of the Bot API."""
        return {"update_id": self.id, self.kind: self.content}


class UpdateQueue:
    """Update ids increase by one; after a week without updates they continue at a random id, as Telegram's do.

    `restart_at` is the id after the next such week, so that ids come again.
    """

    def __init__(self, clock: FakeClock, first: int = 482_113_907) -> None:
        self.changes = ChangeNotifier()
        self.allowed: list[str] = []
        self._clock = clock
        self.restart_at: int | None = None
        self._next_id = first
        self._last_added_at = clock.now()
        self._random = random.Random(first)  # noqa: S311 - the same numbers in every run
        self._pending: dict[int, Update] = {}
        self._redeliveries: deque[Update] = deque()
        self._known: dict[int, Update] = {}

    def add(self, kind: str, content: Json, ordering_key: str) -> int | None:
        """Add an update; returns its id, or None if the bot does not get this kind."""
        if not self._is_allowed(kind):
            return None
        now = self._clock.now()
        if now - self._last_added_at >= WEEK:
            self._next_id = self.restart_at or self._random.randrange(10**8, 9 * 10**8)
        expires = now + timedelta(seconds=TTL_SECONDS.get(kind, DAY))
        update = Update(self._next_id, kind, deepcopy(content), ordering_key, expires)
        self._pending[update.id] = self._known[update.id] = update
        self._next_id, self._last_added_at = self._next_id + 1, now
        self.changes.notify()
        return update.id

    def pending(self) -> list[Update]:
        """The pending updates, oldest first; expired ones are dropped."""
        now = self._clock.now()
        self._pending = {number: update for number, update in self._pending.items() if update.expires_at > now}
        return [*self._redeliveries, *self._pending.values()]

    def fetch(self, offset: int, limit: int) -> list[Json]:
        """Confirm the updates before `offset` and return the next ones; a negative offset keeps only the last ones."""
        self.pending()  # drops expired updates, which must not count for a negative offset
        numbers = list(self._pending)
        if offset < 0:
            self._confirm(set(numbers[:offset]))
        elif offset <= self._next_id + MAX_OFFSET_AHEAD:
            self._confirm({number for number in numbers if number < offset})
        if self._redeliveries:
            return [self._redeliveries.popleft().body]
        return [update.body for update in list(self._pending.values())[:limit]]

    def remove(self, update: Update) -> None:
        """Remove an update that the webhook has accepted, or that has expired."""
        if update in self._redeliveries:
            self._redeliveries.remove(update)
        else:
            self._pending.pop(update.id, None)

    def is_pending(self, update: Update) -> bool:
        """Whether the update is not delivered yet."""
        return update.id in self._pending or update in self._redeliveries

    def clear(self) -> None:
        """Drop all pending updates (`drop_pending_updates`)."""
        self._pending.clear()
        self._redeliveries.clear()

    def redeliver(self, number: int, times: int) -> None:
        """Deliver an update `times` times more, one at a time; raises LookupError for an unknown id."""
        if number not in self._known:
            raise LookupError("no such update")
        self._redeliveries.extend([self._known[number]] * times)
        self.changes.notify()

    def _confirm(self, numbers: set[int]) -> None:
        for number in numbers:
            del self._pending[number]

    def _is_allowed(self, kind: str) -> bool:
        return kind in self.allowed if self.allowed else kind not in OPT_IN_KINDS
