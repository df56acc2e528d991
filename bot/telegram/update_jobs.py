"""How one raw update of Telegram is kept: its key, and the lane in which it keeps its order."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

from storage.models.job import NewJob

log = logging.getLogger(__name__)

_KIND = re.compile(r"[a-z_]{1,64}")


def update_job(update: Any, *, bot_id: int, raw: bytes | None = None) -> NewJob | None:
    """The mail that keeps an update, for both ways in; None (and a line in the log) if it has no whole `update_id`.

    The key is that of the update, so that one which comes twice is kept once; the kind is Telegram's name for what
    it brings. `raw` are its bytes where we have them, otherwise it is written as ASCII JSON.
    """
    number = update_id(update)
    if number is None:
        log.error("An update without a whole number as update_id was passed over.")
        return None
    name = next((name for name in update if name != "update_id"), "")
    kind = name if _KIND.fullmatch(name) else "unknown"
    body = json.dumps(update, separators=(",", ":")).encode() if raw is None else raw
    return NewJob(f"{bot_id}:{number}", ordering_key(kind, update.get(kind)), kind, body)


def update_id(update: Any) -> int | None:
    """Its `update_id`, if it is an object that has one."""
    return _whole(update.get("update_id")) if isinstance(update, dict) else None


def ordering_key(kind: str, content: Any) -> str:
    """What keeps its order: a chat; for a tap on an inline card the person; inline queries apart from both."""
    person = _find(content, "from", "id")
    if kind in {"inline_query", "chosen_inline_result"}:
        return f"inline:{person}"
    places = (_find(content, "chat", "id"), _find(content, "message", "chat", "id"), person)
    return str(next((place for place in places if place is not None), kind))


def _find(content: Any, *path: str) -> int | None:
    for name in path:
        content = content.get(name) if isinstance(content, dict) else None
    return _whole(content)


def _whole(value: Any) -> int | None:
    return value if type(value) is int else None
