"""A Stripe with scripted responses, for responses that the fake Stripe never gives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bot.stripe.gateway import StripeGateway
from handlers.stripe.gateway import GatewayError, IntentRequest

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
KEY = "sk_test_CanaryKey1234567890"
REQUEST = IntentRequest("pay_1", "K7F3", 14950, "DKK", "Coffee & cake ☕", "https://pay.example.dk/p/TOKEN")
REPLAYED = {"Idempotent-Replayed": "true"}


@dataclass
class Answer:
    """A scripted response; `cut` breaks the connection within the body, `silent` before it."""

    body: object = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    silent: bool = False


@dataclass
class Asked:
    """A received request."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True, strict_parsing=True))


class ScriptedStripe:
    """Gives the scripted responses in order, the last one repeatedly, and records the requests."""

    def __init__(self) -> None:
        self.base = ""
        self.script: list[Answer] = []
        self.asked: list[Asked] = []
        self.heard = asyncio.Event()
        self.hold = asyncio.Event()
        self.hold.set()

    def will(self, *answers: Answer) -> None:
        self.script = list(answers)

    @property
    def calls(self) -> list[str]:
        return [f"{asked.method} {asked.path}" for asked in self.asked]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = Asked(request.method, request.path, dict(request.query), request.headers, await request.read())
        self.asked.append(asked)
        self.heard.set()
        await self.hold.wait()
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        assert request.transport is not None
        if answer.silent:
            request.transport.abort()
            return web.Response()
        body = (answer.body if isinstance(answer.body, str) else json.dumps(answer.body)).encode()
        if not answer.cut:
            return web.Response(body=body, status=answer.status, headers={"Request-Id": "req_1", **answer.headers})
        response = web.StreamResponse(status=answer.status, headers={"Content-Length": str(len(body))})
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        request.transport.abort()
        return response


@asynccontextmanager
async def scripted_stripe() -> AsyncIterator[ScriptedStripe]:
    """A server that listens at its `base` until the block ends."""
    stripe = ScriptedStripe()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", stripe.answer)
    async with TestServer(app) as server:
        stripe.base = str(server.make_url("")).rstrip("/")
        yield stripe


def an_intent(status: str = "requires_action", **more: object) -> dict[str, Any]:
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "amount": 14950,
        "amount_received": 0,
        "currency": "dkk",
        "status": status,
        "livemode": False,
        "created": int(NOON.timestamp()),
        "client_secret": "pi_1_secret_Canary",
        "metadata": {"kvit_payment": "pay_1", "kvit_ref": "K7F3"},
        "payment_method_types": ["card", "mobilepay"],
        "next_action": {"type": "redirect_to_url", "redirect_to_url": {"url": "https://pm.example/1"}},
        **more,
    }


def an_error(kind: str = "invalid_request_error", code: str | None = None, **more: object) -> dict[str, Any]:
    return {"error": {"type": kind, "message": "Stripe says no", **({"code": code} if code else {}), **more}}


async def failure_of(gateway: StripeGateway, key: str = "create:pay_1:1") -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await gateway.create(gateway.create_params(REQUEST), key=key)
    return caught.value
