"""The one door to Stripe: calls become intents and events, and whatever goes wrong becomes a `GatewayError`."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Any, TypeVar

import aiohttp
import stripe
from stripe import _util

from bot.api_calls import OnApiCall
from bot.stripe import errors
from bot.stripe import serialization as words
from bot.stripe.http_client import StripeHttpClient, track_attempts
from bot.stripe.serialization import Account
from handlers.stripe.gateway import (
    GatewayError,
    Intent,
    IntentRequest,
    RefundRequest,
    StripeEventRef,
)
from storage.models.dispute import Dispute, FraudWarning
from storage.models.refund import StripeRefund

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 5.0
MAX_RETRIES = 2
MAX_CLOCK_SKEW = timedelta(days=1)
"""How wrong our clock may be, or have been, for an intent of ours to be found all the same."""

T = TypeVar("T")


class StripeGateway:
    """Stripe for one key. One per event loop: its connections belong to the loop of the first call.

    A call takes at most three tries of `timeout` seconds each and at most 1.5 seconds of pauses between them, all
    with the same idempotency key; whoever calls keeps the key for a later call and does not loop around this one.
    """

    def __init__(
        self, api_key: str, *, api_base: str | None = None, timeout: float = 20, on_call: OnApiCall | None = None
    ) -> None:
        self.livemode = api_key.partition("_")[2].startswith("live_")
        stripe.enable_telemetry = False  # it writes into the home directory and reports what runs here
        _keep_the_sdk_quiet()
        self._wire = StripeHttpClient(timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_TIMEOUT))
        self._wire.on_call = on_call
        self._client = stripe.StripeClient(
            api_key,
            http_client=self._wire,
            max_network_retries=MAX_RETRIES,
            base_addresses={"api": api_base.rstrip("/")} if api_base else {},
        )
        self._intents = self._client.v1.payment_intents

    async def close(self) -> None:
        """Close the connections; every later call fails with `connection`."""
        await self._wire.close_async()  # type: ignore[no-untyped-call]  # the SDK's own gap

    def create_params(self, request: IntentRequest) -> str:
        """The exact parameters of create-and-confirm, as JSON to be stored and replayed."""
        return words.create_params(request)

    def confirm_params(self, request: IntentRequest) -> str:
        """The exact parameters of a further confirm."""
        return words.confirm_params(request)

    async def create(self, params: str, *, key: str) -> Intent:
        """Create and confirm in one call."""
        return await self._write(self._intents.create_async(json.loads(params), {"idempotency_key": key}))

    async def confirm(self, intent_id: str, params: str, *, key: str) -> Intent:
        """Begin another attempt of the same intent."""
        call = self._intents.confirm_async(intent_id, json.loads(params), {"idempotency_key": key})
        return await self._write(call, intent_id)

    async def cancel(self, intent_id: str, *, key: str) -> Intent:
        """End the intent; raises `payment_intent_unexpected_state` with the intent when it is too late."""
        return await self._write(self._intents.cancel_async(intent_id, {}, {"idempotency_key": key}), intent_id)

    async def retrieve(self, intent_id: str) -> Intent:
        """What Stripe says now."""
        return await self._read(self._intents.retrieve_async(intent_id), words.parse_intent)

    async def capture(self, intent_id: str, *, key: str) -> Intent:
        """Take the whole of what is reserved; MobilePay takes no part of it."""
        return await self._write(self._intents.capture_async(intent_id, {}, {"idempotency_key": key}), intent_id)

    def refund_params(self, request: RefundRequest) -> str:
        """The exact parameters of a refund, as JSON to be stored and replayed."""
        return words.refund_params(request)

    async def refund(self, params: str, *, key: str) -> StripeRefund:
        """Give money back; after an old answer the refund is looked at, for it may have gone on since."""
        tries = track_attempts()
        refunds = self._client.v1.refunds
        try:
            answer: Any = await refunds.create_async(json.loads(params), {"idempotency_key": key})
            report = words.parse_refund(answer.to_dict())
        except stripe.StripeError as error:
            raise _to_gateway_error(error, tries) from _cause(error)
        except errors.PARSE_ERRORS as error:
            raise errors.invalid_response(error) from None
        if not errors.may_be_replayed(answer.last_response.headers, tries):
            return report
        return await self._read(refunds.retrieve_async(report.stripe_id), words.parse_refund)

    async def list_refunds(self, intent_id: str) -> Sequence[StripeRefund]:
        """All refunds of an intent, whoever made them, newest first."""
        return await self._all(self._client.v1.refunds.list_async, intent_id, words.parse_refund)

    async def list_disputes(self, intent_id: str) -> Sequence[Dispute]:
        """All disputes of an intent, newest first."""
        return await self._all(self._client.v1.disputes.list_async, intent_id, words.parse_dispute)

    async def list_fraud_warnings(self, intent_id: str) -> Sequence[FraudWarning]:
        """The early fraud warnings about an intent."""
        return await self._all(
            self._client.v1.radar.early_fraud_warnings.list_async, intent_id, words.parse_fraud_warning
        )

    async def find_intent(self, payment_id: str, *, since: datetime, until: datetime) -> Intent | None:
        """The intent that names our payment, created between those times or up to a day beside them.

        By list, which is consistent; Stripe's search may lag an hour behind.
        """
        window = {"gte": _unix_time(since - MAX_CLOCK_SKEW), "lte": _unix_time(until + MAX_CLOCK_SKEW)}
        params: Any = {"created": window, "limit": 100}
        async with aclosing(self._pages(self._intents.list_async(params), dict)) as intents:
            async for said in intents:
                if (said.get("metadata") or {}).get("kvit_payment") == payment_id:
                    return _parse_intent(said)
        return None

    async def list_events(
        self, cursor: str | None, since: datetime
    ) -> AsyncGenerator[tuple[StripeEventRef, str], None]:
        """Stripe's events of `EVENT_TYPES`, oldest first: each as a pointer and as JSON without client secrets.

        After the event `cursor`; where there is none, or Stripe has forgotten it (30 days), from `since` on.
        Without a cursor all of them are read before the first is given, as Stripe lists from the newest.
        """
        if cursor is not None:
            try:
                async with aclosing(self._events({"ending_before": cursor})) as newer:
                    async for event in newer:
                        yield event
            except GatewayError as error:
                if error.code != "resource_missing":
                    raise
            else:
                return
        for event in reversed([event async for event in self._events({"created": {"gte": _unix_time(since)}})]):
            yield event

    async def account(self) -> Account:
        """Whose key it is and whether MobilePay is active; a restricted key may lack the right (`permission`)."""
        return await self._read(self._client.v1.accounts.retrieve_current_async(), words.parse_account)

    async def _write(self, call: Awaitable[Any], intent_id: str | None = None) -> Intent:
        """Send what changes an intent and answer with what is true now: a first answer, or a look after an old one."""
        tries = track_attempts()
        try:
            answer = await call
        except stripe.StripeError as error:
            failure, cause = _to_gateway_error(error, tries), _cause(error)
            old = errors.may_be_replayed(error.headers or {}, tries)
        except errors.PARSE_ERRORS as error:  # the SDK itself stumbles over some bodies
            raise errors.invalid_response(error) from None
        else:
            intent = _parse_intent(answer.to_dict() if isinstance(answer, stripe.PaymentIntent) else {})
            return (
                await self._retrieve_after_replay(intent.id)
                if errors.may_be_replayed(answer.last_response.headers, tries)
                else intent
            )
        if failure.intent is not None:
            failure.intent = await self._try_retrieve(failure.intent.id) if old else failure.intent
        elif failure.code == errors.UNEXPECTED_STATE and intent_id is not None:
            failure.intent = await self._try_retrieve(intent_id)
        raise failure from cause

    async def _retrieve_after_replay(self, intent_id: str) -> Intent:
        """Look at an intent that Stripe has changed for us; that the look failed does not undo the change."""
        try:
            return await self.retrieve(intent_id)
        except GatewayError as error:
            message = f"changed, but not seen: {error.message}"
            raise GatewayError(error.code, retryable=True, request_id=error.request_id, message=message) from error

    async def _try_retrieve(self, intent_id: str) -> Intent | None:
        """The intent behind a refusal as it is now, or None: the refusal is what must be told."""
        try:
            return await self.retrieve(intent_id)
        except GatewayError as error:
            log.warning("could not look at %s after a refusal: %s", intent_id, error.code)
            return None

    async def _read(self, call: Awaitable[Any], read: Callable[[dict[str, Any]], T]) -> T:
        """Send what changes nothing."""
        tries = track_attempts()
        try:
            return read((await call).to_dict())
        except stripe.StripeError as error:
            raise _to_gateway_error(error, tries) from _cause(error)
        except errors.PARSE_ERRORS as error:
            raise errors.invalid_response(error) from None

    async def _pages(self, call: Awaitable[Any], read: Callable[[dict[str, Any]], T]) -> AsyncGenerator[T, None]:
        """Send a question that has many answers, page after page."""
        tries = track_attempts()
        try:
            async for item in (await call).auto_paging_iter():
                yield read(item.to_dict())
        except stripe.StripeError as error:
            raise _to_gateway_error(error, tries) from _cause(error)
        except errors.PARSE_ERRORS as error:
            raise errors.invalid_response(error) from None

    async def _all(
        self, listed: Callable[[Any], Awaitable[Any]], intent_id: str, read: Callable[[dict[str, Any]], T]
    ) -> Sequence[T]:
        """Everything of one kind that hangs on an intent."""
        async with aclosing(self._pages(listed({"payment_intent": intent_id, "limit": 100}), read)) as found:
            return [each async for each in found]

    def _events(self, where: dict[str, Any]) -> AsyncGenerator[tuple[StripeEventRef, str], None]:
        params: Any = {"types": list(words.EVENT_TYPES), "limit": 100, **where}
        return self._pages(self._client.v1.events.list_async(params), _parse_event)


def _keep_the_sdk_quiet() -> None:
    """At INFO the SDK logs addresses, at DEBUG whole bodies with client secrets, and STRIPE_LOG prints them."""
    logging.getLogger("stripe").setLevel(logging.WARNING)
    stripe.log = None
    _util.STRIPE_LOG = None


def _to_gateway_error(error: stripe.StripeError, tries: Sequence[int]) -> GatewayError:
    if isinstance(error, stripe.APIConnectionError) or error.http_status is None:
        return errors.connection_error(error.__cause__ or error, tries)
    return errors.api_error(error.http_status, error.json_body, error.headers or {}, tries)


def _cause(error: stripe.StripeError) -> stripe.StripeError | None:
    """What may stay attached to our error: not an answered one, its text and args hold whole bodies."""
    return error if isinstance(error, stripe.APIConnectionError) else None


def _parse_intent(said: dict[str, Any]) -> Intent:
    try:
        return words.parse_intent(said)
    except errors.PARSE_ERRORS as error:
        raise errors.invalid_response(error) from None


def _parse_event(said: dict[str, Any]) -> tuple[StripeEventRef, str]:
    return words.parse_event(said), json.dumps(words.strip_client_secrets(said))


def _unix_time(at: datetime) -> int:
    return int(at.timestamp())
