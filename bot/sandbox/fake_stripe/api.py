"""Answers the API: key, idempotency, execution, record, in the order in which Stripe does them."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from bot.sandbox.fake_stripe import (
    account,
    charges,
    disputes,
    events,
    form_params,
    fraud_warnings,
    intents,
    objects,
    pagination,
    refunds,
    webhook_endpoints,
)
from bot.sandbox.fake_stripe.api_error import ApiError, Json
from bot.sandbox.fake_stripe.endpoint import Call, Endpoint
from bot.sandbox.fake_stripe.idempotency import Idempotency
from bot.sandbox.fake_stripe.response import ApiResponse, error_response, server_error, success
from bot.sandbox.fake_stripe.state import ACCOUNT, FakeStripeState, RequestCause
from bot.sandbox.fake_stripe.store import RequestRecord

ENDPOINTS: tuple[Endpoint, ...] = (
    *intents.ENDPOINTS,
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
    """One request as it came over HTTP; `headers` by lower-case name, `params` nested strings, `id` from the path."""

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
        """Carry the request out; `spoil` answers 500 in the place of what came out of it, and stores that."""
        self.state.timers.run_due()
        try:
            self._authenticate(request.headers)
            self._authorize(request.endpoint)
            return await self._execute_once(request, replace_with_500=replace_with_500)
        except ApiError as refusal:
            return error_response(refusal, request.record.request_id)

    def _authenticate(self, headers: dict[str, str]) -> None:
        given = _api_key(headers.get("authorization", ""))
        if not given:
            words = "You did not provide an API key. You need to provide your API key in the Authorization header,"
            raise ApiError(f"{words} using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').", status=401)
        if given != self.state.key:
            raise ApiError(f"Invalid API Key provided: {_mask(given)}", status=401)
        if headers.get("stripe-account", ACCOUNT) != ACCOUNT:
            words = f"The provided key does not have access to account '{headers['stripe-account']}'"
            raise ApiError(f"{words} (or that account does not exist).", status=403, code="account_invalid")
        if headers.get("stripe-version", objects.API_VERSION) != objects.API_VERSION:
            raise ApiError(f"This pretend Stripe knows the API version {objects.API_VERSION} only.")

    def _authorize(self, endpoint: Endpoint) -> None:
        """Refuse what a restricted key has no right to, in Stripe's words."""
        resource = endpoint.path.split("/")[2]
        rights = [f"{resource}.read"] + [f"{resource}.write"] * (endpoint.method != "GET")
        for right in rights:
            if right in self.state.options.missing_permissions:
                words = f"The provided key '{_mask(self.state.key)}' does not have the required permissions for this"
                needed = f"Having the 'rak_{right.replace('.', '_')}' permission would allow this request to continue."
                raise ApiError(f"{words} endpoint on account '{ACCOUNT}'. {needed}", status=403)

    async def _execute_once(self, request: ApiRequest, *, replace_with_500: bool) -> ApiResponse:
        """Once for each idempotency key; without a key, and for GET and DELETE, as often as asked."""
        key, record = request.record.idempotency_key, request.record
        if key is None:
            return await self._execute(request, replace_with_500=replace_with_500)
        stored = self.idempotency_keys.begin(key, record.path, record.params, record.request_id, self.state.now())
        if stored is not None:
            record.replayed = True
            return stored
        answer = None
        try:
            answer = await self._execute(request, replace_with_500=replace_with_500)
        except ApiError as refusal:
            if not refusal.stored:
                raise
            answer = server_error() if replace_with_500 else error_response(refusal, record.request_id)
        finally:
            if answer is None:
                self.idempotency_keys.forget(key)
            else:
                self.idempotency_keys.finish(key, answer)
        return answer

    async def _execute(self, request: ApiRequest, *, replace_with_500: bool) -> ApiResponse:
        if self.state.options.latency:
            await self.state.clock.sleep(self.state.options.latency)
            self.state.timers.run_due()
        params = request.endpoint.parse(request.record.params)
        cause = RequestCause(self.state.now(), request.record.request_id, request.record.idempotency_key)
        paths = params.get("expand", [])
        thing = request.endpoint.handler(Call(self.state, cause, request.id, params))
        return server_error() if replace_with_500 else success(pagination.expand(self.state, thing, paths))


def parse_params(pairs: list[tuple[str, str]], body: bytes, content_type: str) -> Json:
    """Query and form together; raises 400 for a body that is not a form, as Stripe does."""
    if body and content_type != "application/x-www-form-urlencoded":
        words = "Invalid request (check that your POST content type is application/x-www-form-urlencoded)."
        raise ApiError(f"{words} If you have questions, see https://docs.stripe.com/api.")
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
