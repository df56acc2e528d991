"""Control routes: actions of users, the clock, faults, and reading chats and the transcript."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import fields
from typing import Any

from aiohttp import web

from bot.sandbox.fake_telegram.api_error import Json
from bot.sandbox.fake_telegram.faults import Faults
from bot.sandbox.fake_telegram.inline import InlineMode
from bot.sandbox.fake_telegram.membership import Membership
from bot.sandbox.fake_telegram.state import FakeTelegramState
from bot.sandbox.fake_telegram.users import FakeUsers, UserMessage

ControlHandler = Callable[[Json], Any]
MESSAGE_FIELDS = {field.name for field in fields(UserMessage)}


class Control:
    """JSON in, JSON out; 404 for an unknown id, 400 for an invalid or impossible request."""

    def __init__(self, state: FakeTelegramState, users: FakeUsers, faults: Faults) -> None:
        self._state = state
        self._users = users
        self._membership = Membership(state, users)
        self._inline = InlineMode(state)
        self._faults = faults

    def routes(self) -> list[web.RouteDef]:
        handlers: dict[str, ControlHandler] = {
            "messages": self._send_message,
            "taps": self._press_button,
            "clock": self._advance_clock,
            "faults": self._add_fault,
            "delete": lambda body: self._users.delete_message(_integer(body, "chat_id"), _integer(body, "message_id")),
            "block": lambda body: self._membership.block(_integer(body, "user_id"), _flag(body, "blocked", True)),
            "kick": lambda body: self._membership.kick(_integer(body, "chat_id"), _optional_integer(body, "from_id")),
            "mute": lambda body: self._membership.mute(
                _integer(body, "chat_id"), _integer(body, "from_id"), _flag(body, "muted", True)
            ),
            "add": lambda body: self._membership.add(_integer(body, "chat_id"), _integer(body, "from_id")),
            "migrate": lambda body: self._membership.migrate(_integer(body, "chat_id")),
            "topics": lambda body: self._membership.close_topic(
                _integer(body, "chat_id"), _integer(body, "message_thread_id"), _flag(body, "closed", True)
            ),
            "inline": lambda body: self._inline.send_query(_integer(body, "from_id"), _text(body, "query")),
            "choose": lambda body: self._inline.choose_result(_text(body, "inline_query_id"), _text(body, "result_id")),
            "redeliver": self._redeliver,
            "down": self._set_down,
        }
        return [
            *(web.post(f"/_control/{name}", _route(handler)) for name, handler in handlers.items()),
            web.get("/_control/transcript", self._transcript),
            web.get("/_control/chats", self._chats),
            web.get("/_control/chats/{id}", self._chat),
            web.get("/_control/files/{id}", self._file),
        ]

    def _send_message(self, body: Json) -> Json:
        if unknown := body.keys() - MESSAGE_FIELDS:
            raise ValueError(f"unknown field: {min(unknown)}")
        numbers = {name: _integer(body, name) for name in ("chat_id", "from_id")}
        for name in ("language_code", "first_name", "chat_type"):
            if body.get(name) is not None:
                _text(body, name)
        _flag(body, "is_bot", False)
        if not _text(body, "text"):
            raise ValueError("text is a string of at least one character")
        optional = ("reply_to_message_id", "edit_message_id", "message_thread_id", "sender_chat")
        return self._users.send(
            UserMessage(**(body | numbers | {name: _optional_integer(body, name) for name in optional}))
        )

    def _press_button(self, body: Json) -> Json:
        from_id, data = _integer(body, "from_id"), _text(body, "data")
        if body.get("inline_message_id") is not None:
            return self._users.press_inline_button(_text(body, "inline_message_id"), from_id, data)
        return self._users.press_button(_integer(body, "message_id"), from_id, data, _optional_integer(body, "chat_id"))

    def _advance_clock(self, body: Json) -> Json:
        seconds = body.get("advance")
        if not isinstance(seconds, int | float) or isinstance(seconds, bool):
            raise ValueError("advance is a number of seconds")
        self._state.clock.advance(seconds)
        self._state.changes.notify()
        return {"now": self._state.now().isoformat()}

    def _add_fault(self, body: Json) -> Json:
        self._faults.add(body)
        return {"added": True}

    def _redeliver(self, body: Json) -> Json:
        times = _integer(body, "times") if "times" in body else 1
        self._state.updates.redeliver(_integer(body, "update_id"), times)
        return {"redelivering": times}

    def _set_down(self, body: Json) -> Json:
        self._state.down = _flag(body, "down", True)
        self._state.updates.changes.notify()
        self._state.changes.notify()
        return {"down": self._state.down}

    async def _transcript(self, _: web.Request) -> web.Response:
        return web.json_response([entry.as_json() for entry in self._state.transcript.entries])

    async def _chats(self, _: web.Request) -> web.Response:
        return web.json_response([chat.info for chat in self._state.chats.values()])

    async def _chat(self, request: web.Request) -> web.Response:
        """A chat with its current messages in order, and the bot's reactions by message id."""
        try:
            chat = self._users.chat(int(request.match_info["id"]))
        except (LookupError, ValueError):
            return error_response(404, "no such chat")
        shown = {"chat": chat.info, "messages": list(chat.messages.values()), "reactions": chat.reactions}
        return web.json_response(shown)

    async def _file(self, request: web.Request) -> web.Response:
        file = self._state.files.get(request.match_info["id"])
        if file is None:
            return error_response(404, "no such file")
        return web.Response(body=file.content, content_type=file.kind)


def _integer(body: Json, name: str) -> int:
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} is an integer")
    return value


def _optional_integer(body: Json, name: str) -> int | None:
    return None if body.get(name) is None else _integer(body, name)


def _text(body: Json, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is a string")
    return value


def _flag(body: Json, name: str, default: bool) -> bool:
    value = body.get(name, default)
    if not isinstance(value, bool):
        raise ValueError(f"{name} is true or false")
    return value


def _route(handler: ControlHandler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def route(request: web.Request) -> web.StreamResponse:
        try:
            body = json.loads(await request.read() or b"{}")
            if not isinstance(body, dict):
                raise ValueError("the body is a JSON object")
            return web.json_response(handler(body))
        except LookupError as error:
            return error_response(404, str(error.args[0]))
        except (ValueError, OverflowError) as error:
            return error_response(400, str(error))

    return route


def error_response(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)
