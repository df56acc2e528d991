"""Answers the API: key, idempotency, execution, record, in the order in which Stripe does them."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from bot.sandbox.fake_stripe import (
    account,
    charges,
    disputes,
    endpoints,
    events,
    form_params,
    fraud_warnings,
    intents,
    objects,
    pagination,
    refunds,
)
from bot.sandbox.fake_stripe.api_error import Json, Refusal
from bot.sandbox.fake_stripe.endpoint import Call, Endpoint
from bot.sandbox.fake_stripe.idempotency import Idempotency
from bot.sandbox.fake_stripe.ledger import Request
from bot.sandbox.fake_stripe.response import Answer, broken, ok, refused
from bot.sandbox.fake_stripe.state import ACCOUNT, Cause, World

ENDPOINTS: tuple[Endpoint, ...] = (
    *intents.ENDPOINTS,
    *charges.ENDPOINTS,
    *refunds.ENDPOINTS,
    *disputes.ENDPOINTS,
    *fraud_warnings.ENDPOINTS,
    *events.ENDPOINTS,
    *endpoints.ENDPOINTS,
    *account.ENDPOINTS,
)


@dataclass(frozen=True)
class Asked:
    """One request as it came over HTTP; `headers` by lower-case name, `params` nested strings, `id` from the path."""

    endpoint: Endpoint
    record: Request
    headers: dict[str, str]
    id: str


class Desk:
    """The API of one account."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.keys = Idempotency()

    async def answer(self, asked: Asked, *, spoil: bool = False) -> Answer:
        """Carry the request out; `spoil` answers 500 in the place of what came out of it, and stores that."""
        self.world.alarms.ring()
        try:
            self._authenticate(asked.headers)
            self._authorize(asked.endpoint)
            return await self._keyed(asked, spoil=spoil)
        except Refusal as refusal:
            return refused(refusal, asked.record.request_id)

    def _authenticate(self, headers: dict[str, str]) -> None:
        given = _key(headers.get("authorization", ""))
        if not given:
            words = "You did not provide an API key. You need to provide your API key in the Authorization header,"
            raise Refusal(f"{words} using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').", status=401)
        if given != self.world.key:
            raise Refusal(f"Invalid API Key provided: {_masked(given)}", status=401)
        if headers.get("stripe-account", ACCOUNT) != ACCOUNT:
            words = f"The provided key does not have access to account '{headers['stripe-account']}'"
            raise Refusal(f"{words} (or that account does not exist).", status=403, code="account_invalid")
        if headers.get("stripe-version", objects.API_VERSION) != objects.API_VERSION:
            raise Refusal(f"This pretend Stripe knows the API version {objects.API_VERSION} only.")

    def _authorize(self, endpoint: Endpoint) -> None:
        """Refuse what a restricted key has no right to, in Stripe's words."""
        resource = endpoint.path.split("/")[2]
        rights = [f"{resource}.read"] + [f"{resource}.write"] * (endpoint.method != "GET")
        for right in rights:
            if right in self.world.switches.lacking:
                words = f"The provided key '{_masked(self.world.key)}' does not have the required permissions for this"
                needed = f"Having the 'rak_{right.replace('.', '_')}' permission would allow this request to continue."
                raise Refusal(f"{words} endpoint on account '{ACCOUNT}'. {needed}", status=403)

    async def _keyed(self, asked: Asked, *, spoil: bool) -> Answer:
        """Once for each idempotency key; without a key, and for GET and DELETE, as often as asked."""
        key, record = asked.record.idempotency_key, asked.record
        if key is None:
            return await self._execute(asked, spoil=spoil)
        stored = self.keys.begin(key, record.path, record.params, record.request_id, self.world.now())
        if stored is not None:
            record.replayed = True
            return stored
        answer = None
        try:
            answer = await self._execute(asked, spoil=spoil)
        except Refusal as refusal:
            if not refusal.stored:
                raise
            answer = broken() if spoil else refused(refusal, record.request_id)
        finally:
            if answer is None:
                self.keys.forget(key)
            else:
                self.keys.finish(key, answer)
        return answer

    async def _execute(self, asked: Asked, *, spoil: bool) -> Answer:
        if self.world.switches.latency:
            await self.world.clock.sleep(self.world.switches.latency)
            self.world.alarms.ring()
        params = asked.endpoint.read(asked.record.params)
        cause = Cause(self.world.now(), asked.record.request_id, asked.record.idempotency_key)
        paths = params.get("expand", [])
        thing = asked.endpoint.act(Call(self.world, cause, asked.id, params))
        return broken() if spoil else ok(pagination.expanded(self.world, thing, paths))


def parameters(pairs: list[tuple[str, str]], body: bytes, content_type: str) -> Json:
    """Query and form together; raises 400 for a body that is not a form, as Stripe does."""
    if body and content_type != "application/x-www-form-urlencoded":
        words = "Invalid request (check that your POST content type is application/x-www-form-urlencoded)."
        raise Refusal(f"{words} If you have questions, see https://docs.stripe.com/api.")
    return form_params.decode(pairs)


def _key(authorization: str) -> str:
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


def _masked(key: str) -> str:
    return f"{key[:8]}{'*' * max(0, len(key) - 12)}{key[-4:]}" if len(key) > 16 else "*" * len(key)
