"""Telegram's flood control: too many messages or edits get a 429 with the seconds to wait."""

from __future__ import annotations

import math
from collections import deque

from bot.sandbox.fake_telegram.api_error import too_many_requests

LIMITED_PREFIXES = ("send", "edit")
OVERALL, OVERALL_SECONDS = 30, 0.9
GROUP, GROUP_SECONDS = 20, 58.0
BURST = 5
"""Telegram documents one message per second in a chat, and lets short bursts pass."""


class FloodControl:
    """30 per second overall, 20 per minute in a group, in a private chat 1 per second after a burst.

    The windows are slightly shorter than documented, because calls that were sent in time can arrive close together.
    """

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self._overall: deque[float] = deque()
        self._groups: dict[int, deque[float]] = {}
        self._full_at: dict[int, float] = {}

    def check(self, method: str, chat_id: int, now: float) -> None:
        """Count a call at `now` (seconds); raises a 429 for one too many, which is not counted."""
        if not self.enabled or not method.startswith(LIMITED_PREFIXES) or method == "sendChatAction":
            return
        wait = _wait_seconds(self._overall, OVERALL, OVERALL_SECONDS, now)
        group = self._groups.setdefault(chat_id, deque()) if chat_id < 0 else deque()
        wait = max(wait, _wait_seconds(group, GROUP, GROUP_SECONDS, now))
        if chat_id > 0:
            wait = max(wait, self._full_at.get(chat_id, now) - (BURST - 1) - now)
        if wait > 0:
            raise too_many_requests(max(1, math.ceil(wait)))
        self._overall.append(now)
        group.append(now)
        self._full_at[chat_id] = max(self._full_at.get(chat_id, now), now) + 1


def _wait_seconds(taken: deque[float], limit: int, seconds: float, now: float) -> float:
    """Seconds until the window has capacity for one more call."""
    while taken and taken[0] + seconds <= now:
        taken.popleft()
    return 0 if len(taken) < limit else taken[0] + seconds - now
