"""The transcript: all actions of users and all calls of the bot, in order."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from bot.sandbox.fake_telegram.api_error import Json
from bot.sandbox.shared.change_notifier import ChangeNotifier

LOST = "lost after"
"""Not an injected fault: the call was executed, and the client disconnected before it had read the response."""


@dataclass(frozen=True)
class TranscriptEntry:
    """`direction` "in": an action of a user (`method` is the kind of update); "out": a call of the bot, not getUpdates.

    `result` of a call is Telegram's `result`, or the whole response of an error (`ok` false); None if a fault prevented
    the execution. `fault` is the fault that hit the call, such as "drop after", or `LOST`.
    """

    at: datetime
    direction: str
    method: str
    params: Json
    result: Any
    fault: str = ""

    def as_json(self) -> Json:
        """The entry as the control route returns it."""
        entry: Json = {
            "at": self.at.isoformat(),
            "direction": self.direction,
            "method": self.method,
            "params": self.params,
            "result": self.result,
        }
        return entry | ({"fault": self.fault} if self.fault else {})


class Transcript:
    """The entries, with copies of their messages, so that later edits do not change them."""

    def __init__(self, changes: ChangeNotifier) -> None:
        self.entries: list[TranscriptEntry] = []
        self._changes = changes

    def add(self, at: datetime, direction: str, method: str, params: Json, result: Any, fault: str = "") -> int:
        """Add an entry and notify waiters; returns its number."""
        self.entries.append(TranscriptEntry(at, direction, method, deepcopy(params), deepcopy(result), fault))
        self._changes.notify()
        return len(self.entries) - 1

    def mark_lost(self, number: int) -> None:
        """Mark that the response was not read, unless the entry has an injected fault."""
        if not self.entries[number].fault:
            self.entries[number] = replace(self.entries[number], fault=LOST)
            self._changes.notify()
