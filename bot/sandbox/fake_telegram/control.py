"""The control routes: the hand that writes and taps for people, turns the clock and breaks things."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import fields
from typing import Any

from aiohttp import web

from bot.sandbox.fake_telegram.api_error import Json
from bot.sandbox.fake_telegram.faults import Faults
from bot.sandbox.fake_telegram.inline import Inline
from bot.sandbox.fake_telegram.membership import Membership
from bot.sandbox.fake_telegram.state import World
from bot.sandbox.fake_telegram.users import People, Words

Act = Callable[[Json], Any]
WORDS = {field.name for field in fields(Words)}


class Control:
    """JSON in, JSON out; 404 for unknown ids, 400 for what cannot be understood or done."""

    def __init__(self, world: World, people: People, faults: Faults) -> None:
        self._world = world
        self._people = people
        self._members = Membership(world, people)
        self._inline = Inline(world)
        self._faults = faults

    def routes(self) -> list[web.RouteDef]:
        posts: dict[str, Act] = {
            "messages": self._messages,
            "taps": self._taps,
            "clock": self._clock,
            "faults": self._order,
            "delete": lambda body: self._people.delete(_whole(body, "chat_id"), _whole(body, "message_id")),
            "block": lambda body: self._members.block(_whole(body, "user_id"), _flag(body, "blocked", True)),
            "kick": lambda body: self._members.kick(_whole(body, "chat_id"), _maybe(body, "from_id")),
            "add": lambda body: self._members.add(_whole(body, "chat_id"), _whole(body, "from_id")),
            "migrate": lambda body: self._members.migrate(_whole(body, "chat_id")),
            "topics": lambda body: self._members.close_topic(
                _whole(body, "chat_id"), _whole(body, "message_thread_id"), _flag(body, "closed", True)
            ),
            "inline": lambda body: self._inline.ask(_whole(body, "from_id"), _text(body, "query")),
            "choose": lambda body: self._inline.choose(_text(body, "inline_query_id"), _text(body, "result_id")),
            "redeliver": self._redeliver,
            "down": self._down,
        }
        return [
            *(web.post(f"/_control/{name}", _route(act)) for name, act in posts.items()),
            web.get("/_control/transcript", self._transcript),
            web.get("/_control/chats", self._chats),
            web.get("/_control/chats/{id}", self._chat),
            web.get("/_control/files/{id}", self._file),
        ]

    def _messages(self, body: Json) -> Json:
        if unknown := body.keys() - WORDS:
            raise ValueError(f"unknown field: {min(unknown)}")
        numbers = {name: _whole(body, name) for name in ("chat_id", "from_id")}
        for name in ("language_code", "first_name", "chat_type"):
            if body.get(name) is not None:
                _text(body, name)
        _flag(body, "is_bot", False)
        if not _text(body, "text"):
            raise ValueError("text is a string of at least one character")
        optional = ("reply_to_message_id", "edit_message_id", "message_thread_id", "sender_chat")
        return self._people.say(Words(**(body | numbers | {name: _maybe(body, name) for name in optional})))

    def _taps(self, body: Json) -> Json:
        from_id, data = _whole(body, "from_id"), _text(body, "data")
        if body.get("inline_message_id") is not None:
            return self._people.tap_inline(_text(body, "inline_message_id"), from_id, data)
        return self._people.tap(_whole(body, "message_id"), from_id, data, _maybe(body, "chat_id"))

    def _clock(self, body: Json) -> Json:
        seconds = body.get("advance")
        if not isinstance(seconds, int | float) or isinstance(seconds, bool):
            raise ValueError("advance is a number of seconds")
        self._world.clock.advance(seconds)
        self._world.changes.tell()
        return {"now": self._world.now().isoformat()}

    def _order(self, body: Json) -> Json:
        self._faults.order(body)
        return {"ordered": True}

    def _redeliver(self, body: Json) -> Json:
        times = _whole(body, "times") if "times" in body else 1
        self._world.updates.repeat(_whole(body, "update_id"), times)
        return {"redelivering": times}

    def _down(self, body: Json) -> Json:
        self._world.down = _flag(body, "down", True)
        self._world.updates.changes.tell()
        self._world.changes.tell()
        return {"down": self._world.down}

    async def _transcript(self, _: web.Request) -> web.Response:
        return web.json_response([entry.as_json() for entry in self._world.transcript.entries])

    async def _chats(self, _: web.Request) -> web.Response:
        return web.json_response([chat.info for chat in self._world.chats.values()])

    async def _chat(self, request: web.Request) -> web.Response:
        """A chat as it stands: its messages in order, the bot's reactions by message id."""
        try:
            chat = self._people.chat(int(request.match_info["id"]))
        except (LookupError, ValueError):
            return refused(404, "no such chat")
        shown = {"chat": chat.info, "messages": list(chat.messages.values()), "reactions": chat.reactions}
        return web.json_response(shown)

    async def _file(self, request: web.Request) -> web.Response:
        file = self._world.files.get(request.match_info["id"])
        if file is None:
            return refused(404, "no such file")
        return web.Response(body=file.content, content_type=file.kind)


def _whole(body: Json, name: str) -> int:
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} is a whole number")
    return value


def _maybe(body: Json, name: str) -> int | None:
    return None if body.get(name) is None else _whole(body, name)


def _text(body: Json, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is a string")
    return value


def _flag(body: Json, name: str, otherwise: bool) -> bool:
    value = body.get(name, otherwise)
    if not isinstance(value, bool):
        raise ValueError(f"{name} is true or false")
    return value


def _route(act: Act) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            body = json.loads(await request.read() or b"{}")
            if not isinstance(body, dict):
                raise ValueError("the body is a JSON object")
            return web.json_response(act(body))
        except LookupError as error:
            return refused(404, str(error.args[0]))
        except (ValueError, OverflowError) as error:
            return refused(400, str(error))

    return handler


def refused(status: int, words: str) -> web.Response:
    return web.json_response({"error": words}, status=status)
