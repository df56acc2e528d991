"""A Telegram with scripted responses: broken ones that the fake Telegram never gives."""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import Any, ClassVar, Self

from aiohttp import web

TOKEN = "4242:AA-secret_part"


class Stand:
    """Gives the scripted responses in order, over real HTTP on a free port."""

    SILENCE: ClassVar[str] = "(no answer)"
    RESET: ClassVar[str] = "(the connection breaks)"
    NOISE: ClassVar[str] = "(what is not HTTP)"

    def __init__(self) -> None:
        self.base = ""
        self.paths: list[str] = []
        self.forms: list[dict[str, Any]] = []
        self.asked = asyncio.Event()
        self._answers: list[tuple[str, int, dict[str, str]]] = []
        self._stop = asyncio.Event()
        self._runner: web.AppRunner | None = None

    def say(self, answer: object, status: int = 200, **headers: str) -> None:
        """Adds a response: a text as it is, anything else as JSON."""
        text = answer if isinstance(answer, str) else json.dumps(answer)
        self._answers.append((text, status, headers))

    async def requests(self, number: int) -> None:
        """Returns once so many requests were received in all."""
        async with asyncio.timeout(10):
            while len(self.paths) < number:
                self.asked.clear()
                await self.asked.wait()

    def refuse(self, status: int, description: str, **parameters: int) -> None:
        """Adds an error response of the Bot API."""
        answer: dict[str, object] = {"ok": False, "error_code": status, "description": description}
        if parameters:
            answer["parameters"] = parameters
        self.say(answer, status)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.base = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path)
        form = await request.post()
        self.forms.append({name: _whole(value) for name, value in form.items()})
        self.asked.set()
        text, status, headers = self._answers.pop(0)
        assert request.transport is not None
        if text == self.SILENCE:
            await self._stop.wait()
        elif text == self.NOISE:
            request.transport.write(b"220 smtp.example.dk ESMTP\r\n\r\n")
            request.transport.close()
        elif text == self.RESET:
            request.transport.abort()
        return web.Response(text=text, status=status, headers=headers)


def _whole(field: str | bytes | bytearray | web.FileField) -> object:
    return (field.filename, field.content_type, field.file.read()) if isinstance(field, web.FileField) else field
