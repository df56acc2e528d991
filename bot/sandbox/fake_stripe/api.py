"""Handles API requests in Stripe's order: authentication, idempotency, validation, execution."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from bot.sandbox.fake_stripe import (
    account,
    balance_transactions,
    charges,
    disputes,
    events,
    form_params,
    fraud_warnings,
    intents,
    objects,
    pagination,
    payment_methods,
    payouts,
    refunds,
    search,
    webhook_endpoints,
)
from bot.sandbox.fake_stripe.api_error import ApiError, Json
from bot.sandbox.fake_stripe.endpoint import Call, Endpoint
from bot.sandbox.fake_stripe.idempotency import Idempotency
from bot.sandbox.fake_stripe.response import ApiResponse, error_response, server_error, success
from bot.sandbox.fake_stripe.state import ACCOUNT, FakeStripeState, RequestCause
from bot.sandbox.fake_stripe.store import RequestRecord

ENDPOINTS: tuple[Endpoint, ...] = (
    *search.ENDPOINTS,
    *intents.ENDPOINTS,
    *payment_methods.ENDPOINTS,
    *balance_transactions.ENDPOINTS,
    *payouts.ENDPOINTS,
    *charges.ENDPOINTS,
    *refunds.ENDPOINTS,
    *disputes.ENDPOINTS,
    *fraud_warnings.ENDPOINTS,
    *events.ENDPOINTS,
    *webhook_endpoints.ENDPOINTS,
    *account.ENDPOINTS,
)


@dataclass(frozen=True)
class ApiRequest:
    """One HTTP request. `headers` are by lower-case name; `id` is from the path; the parameters are in `record`."""

    endpoint: Endpoint
    record: RequestRecord
    headers: dict[str, str]
    id: str


class ApiDispatcher:
    """The API of one account."""

    def __init__(self, state: FakeStripeState) -> None:
        self.state = state
        self.idempotency_keys = Idempotency()

    async def dispatch(self, request: ApiRequest, *, replace_with_500: bool = False) -> ApiResponse:
        """Execute the request. With `replace_with_500` the response is a 500, which is stored under the key too."""
        self.state.timers.run_due()
        try:
            self._authenticate(request.headers)
            self._authorize(request.endpoint)
            return await self._execute_once(request, replace_with_500=replace_with_500)
        except ApiError as error:
            return error_response(error, request.record.request_id)

    def _authenticate(self, headers: dict[str, str]) -> None:
        key = _api_key(headers.get("authorization", ""))
        if not key:
            message = "You did not provide an API key. You need to provide your API key in the Authorization header,"
            raise ApiError(f"{message} using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').", status=401)
        if key != self.state.key:
            raise ApiError(f"Invalid API Key provided: {_mask(key)}", status=401)
        if headers.get("stripe-account", ACCOUNT) != ACCOUNT:
            message = f"The provided key does not have access to account '{headers['stripe-account']}'"
            raise ApiError(f"{message} (or that account does not exist).", status=403, code="account_invalid")
        if headers.get("stripe-version", objects.API_VERSION) != objects.API_VERSION:
            raise ApiError(f"This fake Stripe supports only the API version {objects.API_VERSION}.")

    def _authorize(self, endpoint: Endpoint) -> None:
        """Raise Stripe's 403 if the restricted key lacks the permission."""
        resource = endpoint.path.split("/")[2]
        permissions = [f"{resource}.read"] + [f"{resource}.write"] * (endpoint.method != "GET")
        for permission in permissions:
            if permission in self.state.options.missing_permissions:
                message = f"The provided key '{_mask(self.state.key)}' does not have the required permissions for this"
                hint = (
                    f"Having the 'rak_{permission.replace('.', '_')}' permission would allow this request to continue."
                )
                raise ApiError(f"{message} endpoint on account '{ACCOUNT}'. {hint}", status=403)

    async def _execute_once(self, request: ApiRequest, *, replace_with_500: bool) -> ApiResponse:
        """Execute once per idempotency key and replay the stored response; without a key, execute every time."""
        key, record = request.record.idempotency_key, request.record
        if key is None:
            return await self._execute(request, replace_with_500=replace_with_500)
        stored = self.idempotency_keys.begin(key, record.path, record.params, record.request_id, self.state.now())
        if stored is not None:
            record.replayed = True
            return stored
        response = None
        try:
            response = await self._execute(request, replace_with_500=replace_with_500)
        except ApiError as error:
            if not error.stored:
                raise
            response = server_error() if replace_with_500 else error_response(error, record.request_id)
        finally:
            if response is None:
                self.idempotency_keys.forget(key)
            else:
                self.idempotency_keys.finish(key, response)
        return response

    async def _execute(self, request: ApiRequest, *, replace_with_500: bool) -> ApiResponse:
        if self.state.options.latency:
            await self.state.clock.sleep(self.state.options.latency)
            self.state.timers.run_due()
        params = request.endpoint.parse(request.record.params)
        cause = RequestCause(self.state.now(), request.record.request_id, request.record.idempotency_key)
        paths = params.get("expand", [])
        item = request.endpoint.handler(Call(self.state, cause, request.id, params))
        return server_error() if replace_with_500 else success(pagination.expand(self.state, item, paths))


def parse_params(pairs: list[tuple[str, str]], body: bytes, content_type: str) -> Json:
    """The parameters of query and form; raises Stripe's 400 for a body of another type."""
    if body and content_type != "application/x-www-form-urlencoded":
        message = "Invalid request (check that your POST content type is application/x-www-form-urlencoded)."
        raise ApiError(f"{message} If you have questions, see https://docs.stripe.com/api.")
    return form_params.decode(pairs)


def _api_key(authorization: str) -> str:
    """The secret key of a Bearer or Basic header."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def _mask(key: str) -> str:
    return f"{key[:8]}{'*' * max(0, len(key) - 12)}{key[-4:]}" if len(key) > 16 else "*" * len(key)
