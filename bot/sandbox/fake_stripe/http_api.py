"""The HTTP routes of the API: records requests, applies injected faults, writes Stripe's headers."""

from __future__ import annotations

import asyncio
from email.utils import format_datetime
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp.typedefs import Handler

from bot.sandbox.fake_stripe import objects
from bot.sandbox.fake_stripe.api import ENDPOINTS, ApiDispatcher, ApiRequest, parse_params
from bot.sandbox.fake_stripe.api_error import ApiError
from bot.sandbox.fake_stripe.endpoint import Endpoint
from bot.sandbox.fake_stripe.faults import Fault, Faults
from bot.sandbox.fake_stripe.idempotency import key_in_use
from bot.sandbox.fake_stripe.response import ApiResponse, error_response, server_error, too_many_requests
from bot.sandbox.fake_stripe.state import FakeStripeState
from bot.sandbox.fake_stripe.store import RequestRecord


class HttpApi:
    """All routes under /v1. `stopping` ends the responses that a timeout fault holds back."""

    def __init__(self, state: FakeStripeState) -> None:
        self.state = state
        self.dispatcher = ApiDispatcher(state)
        self.faults = Faults(endpoint.name for endpoint in ENDPOINTS)
        self.stopping = asyncio.Event()

    def routes(self) -> list[web.RouteDef]:
        api_routes = [
            web.route(endpoint.method, endpoint.path.replace(":id", "{id}"), self._serve(endpoint))
            for endpoint in ENDPOINTS
        ]
        return [*api_routes, web.route("*", "/{rest:.*}", self._unknown_url)]

    def _serve(self, endpoint: Endpoint) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            return await self._handle(endpoint, request)

        return handler

    async def _handle(self, endpoint: Endpoint, request: web.Request) -> web.StreamResponse:
        """Handle one request; it is executed to the end even if the client disconnects."""
        fault = self.faults.next_fault(endpoint.name)
        record = self._record(request)
        error_result = await self._read_params(request, record)
        if fault is not None:
            record.fault = fault.name
        if fault is not None and fault.when == "before":
            return await self._apply_fault(request, record, fault)
        if error_result is not None:
            return self._respond(record, error_result)
        headers = {name.lower(): value for name, value in request.headers.items()}
        api_request = ApiRequest(endpoint, record, headers, request.match_info.get("id", ""))
        replace_with_500 = fault is not None and fault.how == "500"
        response = await asyncio.shield(
            self.state.background_tasks.start(self.dispatcher.dispatch(api_request, replace_with_500=replace_with_500))
        )
        if fault is not None:
            return await self._apply_fault(request, record, fault)
        return self._respond(record, response)

    async def _read_params(self, request: web.Request, record: RequestRecord) -> ApiResponse | None:
        """Put the parameters into the record; returns the error response if they cannot be parsed."""
        body = await request.read()
        try:
            pairs = [*request.query.items(), *parse_qsl(body.decode(), keep_blank_values=True)]
            record.params = parse_params(pairs, body, request.content_type)
        except UnicodeDecodeError:
            return error_response(ApiError("Invalid UTF-8 in the request body"), record.request_id)
        except ApiError as error:
            return error_response(error, record.request_id)
        return None

    def record_refused(self, request: web.Request) -> None:
        """Record a request that gets no response, because Stripe is down."""
        refused = RequestRecord(self.state.now(), request.method, request.path, {}, None, "", fault="no response")
        self.state.store.refused.append(refused)
        self.state.changes.notify()

    def _record(self, request: web.Request) -> RequestRecord:
        key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
        request_id = self.state.ids.make("req_", 14)
        record = RequestRecord(self.state.now(), request.method, request.path, {}, key or None, request_id)
        self.state.store.requests.append(record)
        self.state.changes.notify()
        return record

    async def _apply_fault(self, request: web.Request, record: RequestRecord, fault: Fault) -> web.StreamResponse:
        match fault.how:
            case "409":
                return self._respond(
                    record, error_response(key_in_use(record.idempotency_key or ""), record.request_id)
                )
            case "429":
                return self._respond(record, too_many_requests(fault.code))
            case "500":
                return self._respond(record, server_error())
            case "timeout":
                await self.stopping.wait()
        return abort_connection(request)

    def _respond(self, record: RequestRecord, response: ApiResponse) -> web.Response:
        record.status = response.status
        self.state.changes.notify()
        headers = {
            "Date": format_datetime(self.state.now(), usegmt=True),
            "Request-Id": record.request_id,
            "Stripe-Version": objects.API_VERSION,
            **response.headers,
        }
        if record.idempotency_key:
            headers["Idempotency-Key"] = record.idempotency_key
        return web.Response(
            status=response.status, body=response.body, headers=headers, content_type="application/json"
        )

    async def _unknown_url(self, request: web.Request) -> web.Response:
        message = (
            f"Unrecognized request URL ({request.method}: {request.path}). Please see https://docs.stripe.com/ or we"
        )
        error = ApiError(f"{message} can help at https://support.stripe.com/.", status=404)
        record = self._record(request)
        return self._respond(record, error_response(error, record.request_id))


def abort_connection(request: web.Request) -> web.Response:
    """Close the connection without a response."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)
