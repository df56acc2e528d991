"""The HTTP side of the API: takes requests in, lets ordered faults strike, and writes Stripe's headers."""

from __future__ import annotations

import asyncio
from email.utils import format_datetime
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp.typedefs import Handler

from bot.sandbox.fake_stripe import objects
from bot.sandbox.fake_stripe.api import ENDPOINTS, Asked, Desk, parameters
from bot.sandbox.fake_stripe.api_error import Refusal
from bot.sandbox.fake_stripe.endpoint import Endpoint
from bot.sandbox.fake_stripe.faults import Fault, Faults
from bot.sandbox.fake_stripe.idempotency import in_use
from bot.sandbox.fake_stripe.ledger import Request
from bot.sandbox.fake_stripe.response import Answer, broken, limited, refused
from bot.sandbox.fake_stripe.state import World


class Counter:
    """Every route under /v1. `stopping` lets go of the answers that are held back."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.desk = Desk(world)
        self.faults = Faults(endpoint.name for endpoint in ENDPOINTS)
        self.stopping = asyncio.Event()

    def routes(self) -> list[web.RouteDef]:
        served = [
            web.route(endpoint.method, endpoint.path.replace(":id", "{id}"), self._serve(endpoint))
            for endpoint in ENDPOINTS
        ]
        return [*served, web.route("*", "/v1/{rest:.*}", self._unknown)]

    def _serve(self, endpoint: Endpoint) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            return await self._answer(endpoint, request)

        return handler

    async def _answer(self, endpoint: Endpoint, request: web.Request) -> web.StreamResponse:
        """A client that goes away does not undo what it asked for: the work goes on without it."""
        fault = self.faults.strike(endpoint.name)
        record = self._record(request)
        unreadable = await self._read(request, record)
        if fault is not None:
            record.fault = fault.name
        if fault is not None and fault.when == "before":
            return await self._strike(request, record, fault)
        if unreadable is not None:
            return self._write(record, unreadable)
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked = Asked(endpoint, record, headers, request.match_info.get("id", ""))
        spoil = fault is not None and fault.how == "500"
        answer = await asyncio.shield(self.world.errands.start(self.desk.answer(asked, spoil=spoil)))
        if fault is not None:
            return await self._strike(request, record, fault)
        return self._write(record, answer)

    async def _read(self, request: web.Request, record: Request) -> Answer | None:
        """Put the parameters into the record; the refusal, if they cannot be read."""
        body = await request.read()
        try:
            pairs = [*request.query.items(), *parse_qsl(body.decode(), keep_blank_values=True)]
            record.params = parameters(pairs, body, request.content_type)
        except UnicodeDecodeError:
            return refused(Refusal("Invalid UTF-8 in the request body"), record.request_id)
        except Refusal as refusal:
            return refused(refusal, record.request_id)
        return None

    def _record(self, request: web.Request) -> Request:
        key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
        request_id = self.world.names.make("req_", 14)
        record = Request(self.world.now(), request.method, request.path, {}, key or None, request_id)
        self.world.ledger.requests.append(record)
        self.world.changes.tell()
        return record

    async def _strike(self, request: web.Request, record: Request, fault: Fault) -> web.StreamResponse:
        match fault.how:
            case "409":
                return self._write(record, refused(in_use(record.idempotency_key or ""), record.request_id))
            case "429":
                return self._write(record, limited(fault.code))
            case "500":
                return self._write(record, broken())
            case "timeout":
                await self.stopping.wait()
        return cut(request)

    def _write(self, record: Request, answer: Answer) -> web.Response:
        record.status = answer.status
        self.world.changes.tell()
        headers = {
            "Date": format_datetime(self.world.now(), usegmt=True),
            "Request-Id": record.request_id,
            "Stripe-Version": objects.API_VERSION,
            **answer.headers,
        }
        if record.idempotency_key:
            headers["Idempotency-Key"] = record.idempotency_key
        return web.Response(status=answer.status, body=answer.body, headers=headers, content_type="application/json")

    async def _unknown(self, request: web.Request) -> web.Response:
        words = (
            f"Unrecognized request URL ({request.method}: {request.path}). Please see https://docs.stripe.com/ or we"
        )
        refusal = Refusal(f"{words} can help at https://support.stripe.com/.", status=404)
        record = self._record(request)
        return self._write(record, refused(refusal, record.request_id))


def cut(request: web.Request) -> web.Response:
    """Close the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)
