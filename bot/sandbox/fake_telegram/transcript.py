"""All that was said between people and the bot, in order."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from bot.sandbox.fake_telegram.api_error import Json
from bot.sandbox.shared.change_notifier import ChangeNotifier

LOST = "lost after"
"""No fault on order: it was carried out, and whoever asked went away before he had read the answer."""


@dataclass(frozen=True)
class TranscriptEntry:
    """`direction` "in": what people did (`method` is the kind of update); "out": a call of the bot, getUpdates apart.

    `result` of a call is Telegram's `result`, or the whole answer (`ok` false) of a refusal; None if a fault kept it
    from being carried out. `fault` names the fault that struck, such as "drop after", or is `LOST`.
    """

    at: datetime
    direction: str
    method: str
    params: Json
    result: Any
    fault: str = ""

    def as_json(self) -> Json:
        """As the control route shows it."""
        entry: Json = {
            "at": self.at.isoformat(),
            "direction": self.direction,
            "method": self.method,
            "params": self.params,
            "result": self.result,
        }
        return entry | ({"fault": self.fault} if self.fault else {})


class Transcript:
    """Keeps the entries as they were, whatever becomes of the messages in them."""

    def __init__(self, changes: ChangeNotifier) -> None:
        self.entries: list[TranscriptEntry] = []
        self._changes = changes

    def add(self, at: datetime, direction: str, method: str, params: Json, result: Any, fault: str = "") -> int:
        """Write down what happened and tell everybody who waits; returns the number of the entry."""
        self.entries.append(TranscriptEntry(at, direction, method, deepcopy(params), deepcopy(result), fault))
        self._changes.notify()
        return len(self.entries) - 1

    def mark_lost(self, number: int) -> None:
        """Of this entry the answer was not read; a fault on order says so already."""
        if not self.entries[number].fault:
            self.entries[number] = replace(self.entries[number], fault=LOST)
            self._changes.notify()
