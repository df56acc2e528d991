"""The queue of what the bot has yet to hear: each update until it is confirmed, or for as long as Telegram keeps it."""

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
"""How long Telegram keeps an update; the others a day (Bot API server, Client.cpp, add_update)."""

OPT_IN_KINDS = ("chat_member", "message_reaction", "message_reaction_count")
"""What a bot gets only if it names it in `allowed_updates`."""

WEEK = timedelta(days=7)
MAX_OFFSET_AHEAD = 10
"""An offset that is further ahead than this confirms nothing (TDLib, TQueue)."""


@dataclass(frozen=True)
class Update:
    """`lane` is what keeps its order in a webhook: a chat, or for taps and inline queries a person."""

    id: int
    kind: str
    content: Json
    ordering_key: str
    expires_at: datetime

    @property
    def body(self) -> Json:
        """What the bot gets."""
        return {"update_id": self.id, self.kind: self.content}


class UpdateQueue:
    """Numbers go up by one; after a week without any they go on from somewhere else, as Telegram's do."""

    def __init__(self, clock: FakeClock, first: int = 482_113_907) -> None:
        self.changes = ChangeNotifier()
        self.allowed: list[str] = []
        self._clock = clock
        self._next_id = first
        self._last_added_at = clock.now()
        self._random = random.Random(first)  # noqa: S311 - the same numbers in every run
        self._pending: dict[int, Update] = {}
        self._redeliveries: deque[Update] = deque()
        self._known: dict[int, Update] = {}

    def add(self, kind: str, content: Json, ordering_key: str) -> int | None:
        """Put one at the end and return its number; None if the bot does not want this kind."""
        if not self._is_allowed(kind):
            return None
        now = self._clock.now()
        if now - self._last_added_at >= WEEK:
            self._next_id = self._random.randrange(10**8, 9 * 10**8)
        expires = now + timedelta(seconds=TTL_SECONDS.get(kind, DAY))
        update = Update(self._next_id, kind, deepcopy(content), ordering_key, expires)
        self._pending[update.id] = self._known[update.id] = update
        self._next_id, self._last_added_at = self._next_id + 1, now
        self.changes.notify()
        return update.id

    def pending(self) -> list[Update]:
        """What waits, oldest first; what is past its time is gone."""
        now = self._clock.now()
        self._pending = {number: update for number, update in self._pending.items() if update.expires_at > now}
        return [*self._redeliveries, *self._pending.values()]

    def fetch(self, offset: int, limit: int) -> list[Json]:
        """Confirm everything before `offset` and return what comes then; a negative one keeps only the last ones."""
        self.pending()  # what is past its time is not counted
        numbers = list(self._pending)
        if offset < 0:
            self._confirm(set(numbers[:offset]))
        elif offset <= self._next_id + MAX_OFFSET_AHEAD:
            self._confirm({number for number in numbers if number < offset})
        if self._redeliveries:
            return [self._redeliveries.popleft().body]
        return [update.body for update in list(self._pending.values())[:limit]]

    def remove(self, update: Update) -> None:
        """The webhook has taken this one, or will never."""
        if update in self._redeliveries:
            self._redeliveries.remove(update)
        else:
            self._pending.pop(update.id, None)

    def is_pending(self, update: Update) -> bool:
        """Whether it is still to be delivered."""
        return update.id in self._pending or update in self._redeliveries

    def clear(self) -> None:
        """Forget what waits (`drop_pending_updates`)."""
        self._pending.clear()
        self._redeliveries.clear()

    def redeliver(self, number: int, times: int) -> None:
        """Bring an update again so many times, one at a time; raises LookupError for an unknown number."""
        if number not in self._known:
            raise LookupError("no such update")
        self._redeliveries.extend([self._known[number]] * times)
        self.changes.notify()

    def _confirm(self, numbers: set[int]) -> None:
        for number in numbers:
            del self._pending[number]

    def _is_allowed(self, kind: str) -> bool:
        return kind in self.allowed if self.allowed else kind not in OPT_IN_KINDS
