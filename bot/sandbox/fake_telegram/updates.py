"""The queue of what the bot has yet to hear: each update until it is confirmed, or for as long as Telegram keeps it."""

from __future__ import annotations

import random
from collections import deque
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.sandbox.fake_telegram.api_error import Json
from bot.sandbox.shared.change_notifier import Changes
from bot.sandbox.shared.fake_clock import TurnedClock

DAY = 24 * 3600
KEPT_SECONDS = {"callback_query": 150, "inline_query": 30, "chosen_inline_result": 600}
"""How long Telegram keeps an update; the others a day (Bot API server, Client.cpp, add_update)."""

UNASKED = ("chat_member", "message_reaction", "message_reaction_count")
"""What a bot gets only if it names it in `allowed_updates`."""

WEEK = timedelta(days=7)
FUTURE = 10
"""An offset that is further ahead than this confirms nothing (TDLib, TQueue)."""


@dataclass(frozen=True)
class Update:
    """`lane` is what keeps its order in a webhook: a chat, or for taps and inline queries a person."""

    id: int
    kind: str
    content: Json
    lane: str
    expires: datetime

    @property
    def body(self) -> Json:
        """What the bot gets."""
        return {"update_id": self.id, self.kind: self.content}


class Updates:
    """Numbers go up by one; after a week without any they go on from somewhere else, as Telegram's do."""

    def __init__(self, clock: TurnedClock, first: int = 482_113_907) -> None:
        self.changes = Changes()
        self.allowed: list[str] = []
        self._clock = clock
        self._next = first
        self._last = clock.now()
        self._chance = random.Random(first)  # noqa: S311 - the same numbers in every run
        self._pending: dict[int, Update] = {}
        self._again: deque[Update] = deque()
        self._known: dict[int, Update] = {}

    def add(self, kind: str, content: Json, ordering_key: str) -> int | None:
        """Put one at the end and return its number; None if the bot does not want this kind."""
        if not self._wanted(kind):
            return None
        now = self._clock.now()
        if now - self._last >= WEEK:
            self._next = self._chance.randrange(10**8, 9 * 10**8)
        expires = now + timedelta(seconds=KEPT_SECONDS.get(kind, DAY))
        update = Update(self._next, kind, deepcopy(content), ordering_key, expires)
        self._pending[update.id] = self._known[update.id] = update
        self._next, self._last = self._next + 1, now
        self.changes.tell()
        return update.id

    def pending(self) -> list[Update]:
        """What waits, oldest first; what is past its time is gone."""
        now = self._clock.now()
        self._pending = {number: update for number, update in self._pending.items() if update.expires > now}
        return [*self._again, *self._pending.values()]

    def fetch(self, offset: int, limit: int) -> list[Json]:
        """Confirm everything before `offset` and return what comes then; a negative one keeps only the last ones."""
        self.pending()  # what is past its time is not counted
        numbers = list(self._pending)
        if offset < 0:
            self._confirm(set(numbers[:offset]))
        elif offset <= self._next + FUTURE:
            self._confirm({number for number in numbers if number < offset})
        if self._again:
            return [self._again.popleft().body]
        return [update.body for update in list(self._pending.values())[:limit]]

    def settle(self, update: Update) -> None:
        """The webhook has taken this one, or will never."""
        if update in self._again:
            self._again.remove(update)
        else:
            self._pending.pop(update.id, None)

    def waits(self, update: Update) -> bool:
        """Whether it is still to be delivered."""
        return update.id in self._pending or update in self._again

    def clear(self) -> None:
        """Forget what waits (`drop_pending_updates`)."""
        self._pending.clear()
        self._again.clear()

    def repeat(self, number: int, timing: int) -> None:
        """Bring an update again so many times, one at a time; raises LookupError for an unknown number."""
        if number not in self._known:
            raise LookupError("no such update")
        self._again.extend([self._known[number]] * timing)
        self.changes.tell()

    def _confirm(self, numbers: set[int]) -> None:
        for number in numbers:
            del self._pending[number]

    def _wanted(self, kind: str) -> bool:
        return kind in self.allowed if self.allowed else kind not in UNASKED
