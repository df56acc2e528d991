"""The HTTP routes of the Bot API: checks the token, applies injected faults, records calls, writes responses."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from aiohttp import web

from bot.sandbox.fake_telegram import answer_methods, edit_methods, menu_methods, params, read_methods, send_methods
from bot.sandbox.fake_telegram.api_error import ApiError, Json, bad_request, too_many_requests
from bot.sandbox.fake_telegram.call import Call, Method
from bot.sandbox.fake_telegram.connection_tracking import track_response
from bot.sandbox.fake_telegram.faults import Fault, Faults
from bot.sandbox.fake_telegram.flood import FloodControl
from bot.sandbox.fake_telegram.params import Params
from bot.sandbox.fake_telegram.polling import Polling
from bot.sandbox.fake_telegram.state import FakeTelegramState
from bot.sandbox.fake_telegram.webhook import Webhook

_TOKEN = re.compile(r"[0-9]+:[A-Za-z0-9_-]+")
GET_UPDATES = "getUpdates"


class HttpApi:
    """All routes of the Bot API. `stopping` ends long polls, and responses that a timeout fault holds back."""

    def __init__(self, state: FakeTelegramState, token: str, webhook: Webhook, flood: FloodControl) -> None:
        self._state = state
        self._token = token
        self._flood = flood
        self.stopping = asyncio.Event()
        self.polling = Polling(webhook, self.stopping)
        methods = [send_methods, edit_methods, answer_methods, read_methods, menu_methods]
        self._methods: dict[str, Method] = dict(webhook.methods())
        for module in methods:
            self._methods |= module.METHODS
        self.faults = Faults([*self._methods, GET_UPDATES])
        self._names = {name.lower(): name for name in [*self._methods, GET_UPDATES]}

    def routes(self) -> list[web.RouteDef]:
        return [
            web.route("*", "/bot{token}/{method}", self._serve),
            web.get("/file/bot{token}/files/{file}", self._download),
            web.route("*", "/{rest:.*}", self._unknown_url),
        ]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        """Handle one call. A method runs without interruption, even if the client disconnects."""
        try:
            self._check_token(request)
            name = self._names.get(request.match_info["method"].lower())
            if name is None:
                raise ApiError(404, "Not Found: method not found")
            sent = await params.read(request)
        except ApiError as error:
            return _respond(error.body())
        fault = self.faults.next_fault(name)
        if fault is not None and fault.when == "before":
            self._record(request, name, sent, None, fault)
            return await self._apply_fault(request, fault)
        response = await self._execute(name, Call(self._state, sent))
        self._record(request, name, sent, response["result"] if response["ok"] else response, fault)
        return await self._apply_fault(request, fault) if fault is not None else _respond(response)

    def _check_token(self, request: web.Request) -> None:
        token = request.match_info["token"]
        if not _TOKEN.fullmatch(token):
            raise ApiError(404, "Not Found")
        if token != self._token:
            raise ApiError(401, "Unauthorized")

    async def _execute(self, name: str, call: Call) -> Json:
        try:
            if name == GET_UPDATES:
                return {"ok": True, "result": await self.polling.get_updates(call)}
            self._flood.check(name, call.params.number("chat_id"), self._state.now().timestamp())
            return {"ok": True, "result": self._methods[name](call)}
        except ApiError as error:
            return error.body()
        except UnicodeEncodeError:
            return bad_request("strings must be encoded in UTF-8").body()

    def _record(self, request: web.Request, name: str, sent: Params, result: Any, fault: Fault | None) -> None:
        """Record the call in the transcript; getUpdates is left out, because a polling bot calls it all the time."""
        number, transcript = None, self._state.transcript
        if name != GET_UPDATES:
            number = transcript.add(self._state.now(), "out", name, sent.to_json(), result, fault.name if fault else "")
        track_response(request, transcript, number)

    async def _apply_fault(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        match fault.how:
            case "429":
                return _respond(too_many_requests(fault.retry_after).body())
            case "500":
                return _respond(ApiError(500, "Internal Server Error").body())
            case "502":
                page = "<html><head><title>502 Bad Gateway</title></head></html>"
                return web.Response(status=502, text=page, content_type="text/html")
            case "timeout":
                await self.stopping.wait()
        return abort_connection(request)

    async def _unknown_url(self, _: web.Request) -> web.Response:
        return _respond(ApiError(404, "Not Found").body())

    async def _download(self, request: web.Request) -> web.Response:
        try:
            self._check_token(request)
        except ApiError as error:
            return _respond(error.body())
        file = self._state.files.get(request.match_info["file"])
        if file is None:
            return _respond(ApiError(404, "Not Found").body())
        return web.Response(body=file.content, content_type="application/octet-stream")


def _respond(body: Json) -> web.Response:
    wait = body.get("parameters", {}).get("retry_after")
    headers = {"Retry-After": str(wait)} if wait else {}
    return web.json_response(body, status=body.get("error_code", 200), headers=headers)


def abort_connection(request: web.Request) -> web.Response:
    """Close the connection without a response."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)
