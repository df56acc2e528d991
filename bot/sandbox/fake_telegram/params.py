"""Parses the parameters of a call: query, form, multipart or JSON; nested values as JSON strings."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from email.message import Message
from typing import Any

from aiohttp import web

from bot.sandbox.fake_telegram.api_error import Json, bad_request

_WHOLE = re.compile(r"-?[0-9]{1,18}")
_NESTED = {
    "allowed_updates",
    "caption_entities",
    "commands",
    "entities",
    "link_preview_options",
    "media",
    "menu_button",
    "reaction",
    "reply_markup",
    "reply_parameters",
    "results",
    "scope",
}
_NUMBERS = {
    "cache_time",
    "chat_id",
    "limit",
    "max_connections",
    "message_id",
    "message_thread_id",
    "offset",
    "reply_to_message_id",
    "timeout",
    "user_id",
}
_FLAGS = {
    "allow_sending_without_reply",
    "disable_notification",
    "disable_web_page_preview",
    "drop_pending_updates",
    "is_big",
    "is_personal",
    "protect_content",
    "show_alert",
}
_SECRET = {"secret_token"}
_VALUE = r'=(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^;\r\n]*))'
_NAME = re.compile(rf"(?im)^content-disposition:[^\r\n]*?;\s*name{_VALUE}")
_FILE_NAME = re.compile(rf"(?im)^content-disposition:[^\r\n]*?;\s*filename{_VALUE}")
_KIND = re.compile(r"(?im)^content-type:\s*([^;\r\n]+)")


@dataclass(frozen=True)
class Upload:
    """One file of a multipart call."""

    name: str
    content: bytes = field(repr=False)
    kind: str


@dataclass(frozen=True)
class Params:
    """The sent parameters, with getters that convert as the Bot API does. `files` are by the name of their part."""

    sent: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Upload] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """As text; empty if missing."""
        value = self.sent.get(name)
        return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)

    def number(self, name: str, default: int = 0) -> int:
        """As an integer; another value counts as missing, as on Telegram's server."""
        value = self.text(name).strip()
        return int(value) if _WHOLE.fullmatch(value) else default

    def flag(self, name: str) -> bool:
        """True for true, yes and 1."""
        return self.text(name).strip().lower() in ("true", "yes", "1")

    def nested(self, name: str, label: str) -> Any:
        """The parsed JSON, or None if missing; raises ApiError with `label` for invalid JSON."""
        value = self.sent.get(name)
        if not isinstance(value, str):
            return value
        if value == "":
            return None
        try:
            return json.loads(value)
        except ValueError:
            raise bad_request(f"can't parse {label} JSON object") from None

    def to_json(self) -> Json:
        """All parameters for the transcript: numbers and nested objects parsed, files by name, secrets replaced."""
        shown = {name: _to_json(name, value) for name, value in self.sent.items()}
        files = {name: {"file": file.name, "bytes": len(file.content)} for name, file in self.files.items()}
        return shown | files


def _to_json(name: str, value: Any) -> Any:
    if name in _SECRET:
        return "…"
    if not isinstance(value, str):
        return value
    if name in _NUMBERS and _WHOLE.fullmatch(value):
        return int(value)
    if name in _FLAGS:
        return value.lower() in ("true", "yes", "1")
    if name in _NESTED:
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


async def read(request: web.Request) -> Params:
    """The parameters of a request; raises ApiError for an invalid body."""
    sent: dict[str, Any] = dict(request.query)
    files: dict[str, Upload] = {}
    if request.content_type == "application/json":
        sent |= await _json(request)
    elif request.content_type == "multipart/form-data":
        await _multipart(request, sent, files)
    else:
        sent |= {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
    return Params(sent, files)


async def _multipart(request: web.Request, sent: dict[str, Any], files: dict[str, Upload]) -> None:
    """Parsed here: aiohttp refuses names without quotes that contain spaces, which Telegram takes."""
    boundary = Message()
    boundary["Content-Type"] = request.headers.get("Content-Type", "")
    mark = boundary.get_boundary()
    sections = (b"\r\n" + await request.read()).split(b"\r\n--" + mark.encode()) if mark else []
    if len(sections) < 2 or not sections[-1].startswith(b"--"):
        raise bad_request("can't parse the multipart body")
    for section in sections[1:-1]:
        head, separator, content = section.partition(b"\r\n\r\n")
        shown = head.decode("utf-8", "replace")
        name, file = _NAME.search(shown), _FILE_NAME.search(shown)
        if not separator or name is None:
            raise bad_request("can't parse the multipart body")
        if file is None:
            sent[_unquoted(name)] = content.decode("utf-8", "surrogateescape")
        else:
            kind = _KIND.search(shown)
            files[_unquoted(name)] = Upload(_unquoted(file), content, kind[1] if kind else "application/octet-stream")


def _unquoted(found: re.Match[str]) -> str:
    return found["quoted"].replace('\\"', '"') if found["quoted"] is not None else found["bare"].strip()


async def _json(request: web.Request) -> dict[str, Any]:
    body = await request.read()
    if not body:
        return {}
    try:
        found = json.loads(body)
    except ValueError:
        raise bad_request("can't parse JSON object") from None
    if not isinstance(found, dict):
        raise bad_request("object expected as parameters")
    return found
