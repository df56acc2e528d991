"""The job that stores an update of Telegram's: its key and its ordering key."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

from storage.models.hashing import sha256_hex
from storage.models.job import NewJob

log = logging.getLogger(__name__)

_KIND = re.compile(r"[a-z_]{1,64}")

_IDENTITY = (
    ("id",),
    ("date",),
    ("message_id",),
    ("chat", "id"),
    ("from", "id"),
    ("message", "message_id"),
    ("message", "chat", "id"),
    ("inline_message_id",),
    ("result_id",),
)
"""The fields that identify the content of an update: the same in every delivery of it, others in any other update."""


def update_job(update: Any, *, bot_id: int, raw: bytes | None = None) -> NewJob | None:
    """The job for an update that came by polling or webhook; None, with a log line, for one without an `update_id`.

    The key makes an update that comes twice one job. It is made of the `update_id` and of what identifies the content:
    after a week without updates Telegram continues at a random `update_id`, which may have been used before
    (core.telegram.org/bots/api#update). The kind is Telegram's name for what the update contains. `raw` is its JSON as
    it came, where there is one.
    """
    number = update_id(update)
    if number is None:
        log.error("an update without a whole number as update_id was ignored")
        return None
    name = next((name for name in update if name != "update_id"), "")
    kind = name if _KIND.fullmatch(name) else "unknown"
    payload = json.dumps(update, separators=(",", ":")).encode() if raw is None else raw
    content = update.get(kind)
    return NewJob(f"{bot_id}:{_identity(kind, content)}:{number}", ordering_key(kind, content), kind, payload)


def update_id(update: Any) -> int | None:
    """The `update_id`, if there is one."""
    return _int(update.get("update_id")) if isinstance(update, dict) else None


def ordering_key(kind: str, content: Any) -> str:
    """Updates with the same key are handled in order: those of a chat; button presses under an inline message of a
    user; inline queries of a user, apart from both."""
    user = _find(content, "from", "id")
    if kind in {"inline_query", "chosen_inline_result"}:
        return f"inline:{user}"
    candidates = (_find(content, "chat", "id"), _find(content, "message", "chat", "id"), user)
    return str(next((candidate for candidate in candidates if candidate is not None), kind))


def _identity(kind: str, content: Any) -> str:
    found = [_value(content, *path) for path in _IDENTITY]
    plain = [value if isinstance(value, int | str) else None for value in found]
    return sha256_hex(json.dumps([kind, *plain]))[:16]


def _find(content: Any, *path: str) -> int | None:
    return _int(_value(content, *path))


def _value(content: Any, *path: str) -> Any:
    for name in path:
        content = content.get(name) if isinstance(content, dict) else None
    return content


def _int(value: Any) -> int | None:
    return value if type(value) is int else None
