"""The payment gateway: Stripe's API as intents, refunds, disputes and events; every failure is a `GatewayError`."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import stripe

from bot.api_calls import OnApiCall
from bot.stripe import errors, serialization
from bot.stripe.http_client import StripeHttpClient, track_attempts
from bot.stripe.serialization import Account
from handlers.stripe.gateway import (
    GatewayError,
    Intent,
    IntentRequest,
    IntentStatus,
    RefundRequest,
    StripeEventRef,
)
from storage.models.balance import BalanceTransaction, Payout
from storage.models.dispute import Dispute, FraudWarning
from storage.models.refund import RefundStatus, StripeRefund

log = logging.getLogger(__name__)

MAX_CLOCK_SKEW = timedelta(days=1)
"""How far this machine's clock may be or have been off for a lost intent to be found."""

MAX_REFUND_CHANGES = 1000
"""Events that are read for the time at which a refund failed."""
SUCCEEDED = "payment_intent.succeeded"
MAX_EVENTS_SEARCHED = 1000
"""Events that are read for the time of one payment."""

RECENT = timedelta(minutes=10)
"""If Stripe does not give the time of success of an intent at most this old, the time of the response is used."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

T = TypeVar("T")


class StripeGateway:
    """Stripe's API with one key. One per event loop: its connections belong to the loop of the first call.

    A call makes at most three requests of `timeout` seconds each, with pauses of at most 1.5 seconds in all and the
    same idempotency key. The caller keeps the key for a later call and does not repeat this one in a loop.
    """

    def __init__(
        self, api_key: str, *, api_base: str | None = None, timeout: float = 20, on_call: OnApiCall | None = None
    ) -> None:
        self.livemode = api_key.partition("_")[2].startswith("live_")
        stripe.enable_telemetry = False  # it writes a file into the home directory and reports latencies to Stripe
        stripe.log = None  # or the library prints requests and responses, client secrets included
        logging.getLogger("stripe").setLevel(logging.WARNING)  # below, it logs URLs and whole bodies
        self._http = StripeHttpClient(timeout=timeout, on_call=on_call)
        self._client = stripe.StripeClient(
            api_key,
            http_client=self._http,
            max_network_retries=0,
            base_addresses={"api": api_base.rstrip("/")} if api_base else {},
        )
        self._intents = self._client.v1.payment_intents

    async def close(self) -> None:
        """Closes the connections; every later call fails with `connection`."""
        await self._http.close_async()

    def create_params(self, request: IntentRequest) -> str:
        """The exact parameters of create-and-confirm, as JSON to be stored and sent again."""
        return serialization.create_params(request)

    def confirm_params(self, request: IntentRequest) -> str:
        """The exact parameters of a further confirm."""
        return serialization.confirm_params(request)

    async def create(self, params: str, *, key: str) -> Intent:
        """Creates and confirms an intent in one call."""
        return await self._write(self._intents.create_async(json.loads(params), {"idempotency_key": key}))

    async def confirm(self, intent_id: str, params: str, *, key: str) -> Intent:
        """Starts another attempt of the same intent."""
        call = self._intents.confirm_async(intent_id, json.loads(params), {"idempotency_key": key})
        return await self._write(call, intent_id)

    async def cancel(self, intent_id: str, *, key: str) -> Intent:
        """Cancels the intent; raises `payment_intent_unexpected_state` with the intent when it is too late."""
        return await self._write(self._intents.cancel_async(intent_id, {}, {"idempotency_key": key}), intent_id)

    async def retrieve(self, intent_id: str) -> Intent:
        """The current state of an intent."""
        statuses = track_attempts()
        try:
            response: Any = await self._intents.retrieve_async(intent_id)
            intent = _dated(serialization.parse_intent(response.to_dict()), response.last_response.headers)
        except stripe.StripeError as error:
            raise _to_gateway_error(error, statuses) from _cause(error)
        except errors.PARSE_ERRORS as error:
            raise errors.invalid_response(error) from None
        return await self._with_success_time(intent)

    async def capture(self, intent_id: str, *, key: str) -> Intent:
        """Captures the whole authorized amount; MobilePay has no partial capture."""
        return await self._write(self._intents.capture_async(intent_id, {}, {"idempotency_key": key}), intent_id)

    def refund_params(self, request: RefundRequest) -> str:
        """The exact parameters of a refund, as JSON to be stored and sent again."""
        return serialization.refund_params(request)

    async def refund(self, params: str, *, key: str) -> StripeRefund:
        """Creates a refund. After a response that may be replayed it is retrieved, for its status may have changed."""
        statuses = track_attempts()
        refunds = self._client.v1.refunds
        try:
            response: Any = await refunds.create_async(json.loads(params), {"idempotency_key": key})
            refund = serialization.parse_refund(response.to_dict())
        except stripe.StripeError as error:
            raise _to_gateway_error(error, statuses) from _cause(error)
        except errors.PARSE_ERRORS as error:
            raise errors.invalid_response(error) from None
        if not errors.may_be_replayed(response.last_response.headers, statuses):
            return refund
        return await self._read(refunds.retrieve_async(refund.stripe_id), serialization.parse_refund)

    async def list_refunds(self, intent_id: str) -> Sequence[StripeRefund]:
        """All refunds of an intent, those of the Dashboard included, newest first."""
        found = await self._list(self._client.v1.refunds.list_async, intent_id, serialization.parse_refund)
        return [await self._with_failure_time(refund) for refund in found]

    async def _with_failure_time(self, refund: StripeRefund) -> StripeRefund:
        """The refund with the time at which it failed or was canceled, if it was.

        A Refund does not have it: it is that of the event, which Stripe lists for 30 days, if the key may read events.

        Raises:
            GatewayError: Stripe does not answer.
        """
        if refund.status not in {RefundStatus.FAILED, RefundStatus.CANCELED} or refund.created_at is None:
            return refund
        window = {"created": {"gte": _unix_time(refund.created_at)}, "limit": 100}
        params: Any = {"types": ["refund.failed", "refund.updated"], **window}
        at, read = None, 0
        try:
            pages = self._pages(self._client.v1.events.list_async(params), serialization.parse_refund_change)
            async with aclosing(pages) as changes:
                async for change in changes:
                    if (change.refund_id, change.status) == (refund.stripe_id, refund.status):
                        at = change.at  # the first of them is the last one listed
                    read += 1
                    if read == MAX_REFUND_CHANGES:
                        break
        except GatewayError as error:
            if error.retryable:
                raise
            log.warning("Stripe does not tell when %s failed (%s): %s", refund.stripe_id, error.code, error.message)
        return replace(refund, failed_at=at)

    async def list_disputes(self, intent_id: str) -> Sequence[Dispute]:
        """All disputes of an intent, newest first."""
        return await self._list(self._client.v1.disputes.list_async, intent_id, serialization.parse_dispute)

    async def list_fraud_warnings(self, intent_id: str) -> Sequence[FraudWarning]:
        """The early fraud warnings about an intent."""
        return await self._list(
            self._client.v1.radar.early_fraud_warnings.list_async, intent_id, serialization.parse_fraud_warning
        )

    async def list_balance_transactions(
        self, *, source: str | None = None, payout: str | None = None, since: datetime | None = None
    ) -> AsyncGenerator[BalanceTransaction, None]:
        """The transactions about an object, or those that a payout paid out, or those from `since` on; newest first.

        Stripe can list the transactions of automatic payouts only.
        """
        created = None if since is None else {"gte": _unix_time(since)}
        filters = {"source": source, "payout": payout, "created": created}
        params: Any = {"limit": 100, **{name: value for name, value in filters.items() if value is not None}}
        call = self._client.v1.balance_transactions.list_async(params)
        async with aclosing(self._pages(call, serialization.parse_balance_transaction)) as found:
            async for each in found:
                yield each

    async def retrieve_payout(self, payout_id: str) -> Payout:
        """A payout's current state."""
        return await self._read(self._client.v1.payouts.retrieve_async(payout_id), serialization.parse_payout)

    async def list_payouts(self, since: datetime) -> AsyncGenerator[Payout, None]:
        """The payouts created from `since` on, newest first."""
        params: Any = {"created": {"gte": _unix_time(since)}, "limit": 100}
        call = self._client.v1.payouts.list_async(params)
        async with aclosing(self._pages(call, serialization.parse_payout)) as found:
            async for each in found:
                yield each

    async def server_time(self) -> datetime:
        """Stripe's clock now, from the `Date` of a response, whatever it answers."""
        statuses = track_attempts()
        try:
            response: Any = await self._client.v1.events.list_async({"limit": 1})
            headers: Mapping[str, str] = response.last_response.headers
        except stripe.StripeError as error:
            if error.http_status is None:
                raise _to_gateway_error(error, statuses) from _cause(error)
            headers = error.headers or {}
        except errors.PARSE_ERRORS as error:
            raise errors.invalid_response(error) from None
        date = server_time(headers)
        if date is None:
            raise GatewayError("server", retryable=True, message="a response without a date")
        return date

    async def find_intent(self, payment_id: str, *, since: datetime, until: datetime) -> Intent | None:
        """The intent whose metadata names the payment, created between those times or up to a day beside them.

        By list, which is consistent; Stripe's search may lag an hour behind.
        """
        window = {"gte": _unix_time(since - MAX_CLOCK_SKEW), "lte": _unix_time(until + MAX_CLOCK_SKEW)}
        params: Any = {"created": window, "limit": 100}
        async with aclosing(self._pages(self._intents.list_async(params), dict)) as intents:
            async for intent in intents:
                if (intent.get("metadata") or {}).get("kvit_payment") == payment_id:
                    return await self._with_success_time(_parse_intent(intent))
        return None

    async def list_events(
        self, cursor: str | None, since: datetime
    ) -> AsyncGenerator[tuple[StripeEventRef, str], None]:
        """Stripe's events of `EVENT_TYPES`, oldest first: each as a reference and as JSON without client secrets.

        Those after the event `cursor`; without a cursor, or with one that Stripe no longer has (after 30 days), those
        from `since` on. Without a cursor all of them are read before the first is yielded, as Stripe lists the newest
        first.
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
        """The account of the key; raises `permission` where a restricted key may not read it."""
        return await self._read(self._client.v1.accounts.retrieve_current_async(), serialization.parse_account)

    async def _write(self, call: Awaitable[Any], intent_id: str | None = None) -> Intent:
        """Runs a call that changes an intent, and returns the intent's current state.

        The state is that of the response, or of a retrieve where the response may be replayed.
        """
        statuses = track_attempts()
        try:
            response = await call
        except stripe.StripeError as error:
            failure, cause = _to_gateway_error(error, statuses), _cause(error)
            is_old = errors.may_be_replayed(error.headers or {}, statuses)
        except errors.PARSE_ERRORS as error:  # the library itself raises these for some bodies
            raise errors.invalid_response(error) from None
        else:
            intent = _parse_intent(response.to_dict() if isinstance(response, stripe.PaymentIntent) else {})
            intent = _dated(intent, response.last_response.headers)
            if not errors.may_be_replayed(response.last_response.headers, statuses):
                return await self._with_success_time(intent)
            return await self._retrieve_after_replay(intent.id)
        if failure.intent is not None:
            is_old = is_old or (
                failure.intent.status is IntentStatus.SUCCEEDED and failure.intent.charge_id is not None
            )
            failure.intent = await self._try_retrieve(failure.intent.id) if is_old else failure.intent
        elif failure.code == errors.UNEXPECTED_STATE and intent_id is not None:
            failure.intent = await self._try_retrieve(intent_id)
        raise failure from cause

    async def _with_success_time(self, intent: Intent) -> Intent:
        """The intent with the time at which its money was received, if it was.

        That is `created` of the charge, or of the event where a charge was captured later, as a charge does not say
        when. A restricted key may lack the right to read either.

        Raises:
            GatewayError: Stripe does not answer, and its time now may be far from that of the payment.
        """
        if intent.status is not IntentStatus.SUCCEEDED or intent.charge_id is None:
            return intent
        try:
            return replace(intent, succeeded_at=await self._charged_at(intent) or await self._event_at(intent))
        except GatewayError as error:
            if error.retryable and not _is_recent(intent):
                raise
            log.warning("Stripe does not tell when %s succeeded (%s): %s", intent.id, error.code, error.message)
            return intent

    async def _charged_at(self, intent: Intent) -> datetime | None:
        if intent.manual_capture:
            return None
        try:
            call = self._client.v1.charges.retrieve_async(intent.charge_id or "")
            return await self._read(call, serialization.parse_created)
        except GatewayError as error:
            log.warning("the charge of %s cannot be read (%s): %s", intent.id, error.code, error.message)
            return None

    async def _event_at(self, intent: Intent) -> datetime | None:
        """When the event that the intent succeeded was created; it is among the newest, which Stripe lists first."""
        params: Any = {"type": SUCCEEDED, "created": {"gte": _unix_time(intent.created_at or EPOCH)}, "limit": 100}
        read = 0
        async with aclosing(self._pages(self._client.v1.events.list_async(params), serialization.parse_event)) as found:
            async for event in found:
                if event.intent_id == intent.id:
                    return event.created_at
                read += 1
                if read == MAX_EVENTS_SEARCHED:
                    break
        return None

    async def _retrieve_after_replay(self, intent_id: str) -> Intent:
        """Retrieves an intent that Stripe has changed. A failure is retryable, whatever it is: the change was made."""
        try:
            return await self.retrieve(intent_id)
        except GatewayError as error:
            message = f"changed, but not retrieved: {error.message}"
            raise GatewayError(error.code, retryable=True, request_id=error.request_id, message=message) from error

    async def _try_retrieve(self, intent_id: str) -> Intent | None:
        """The current state of an intent after an error; None if it cannot be had: the first error is reported."""
        try:
            return await self.retrieve(intent_id)
        except GatewayError as error:
            log.warning("cannot retrieve %s after an error: %s", intent_id, error.code)
            return None

    async def _read(self, call: Awaitable[Any], parse: Callable[[dict[str, Any]], T]) -> T:
        """Runs a call whose response needs no second look, and parses it."""
        statuses = track_attempts()
        try:
            return parse((await call).to_dict())
        except stripe.StripeError as error:
            raise _to_gateway_error(error, statuses) from _cause(error)
        except errors.PARSE_ERRORS as error:
            raise errors.invalid_response(error) from None

    async def _pages(self, call: Awaitable[Any], parse: Callable[[dict[str, Any]], T]) -> AsyncGenerator[T, None]:
        """Runs a list call and those for the further pages, and parses each item."""
        statuses = track_attempts()
        try:
            async for item in (await call).auto_paging_iter():
                yield parse(item.to_dict())
        except stripe.StripeError as error:
            raise _to_gateway_error(error, statuses) from _cause(error)
        except errors.PARSE_ERRORS as error:
            raise errors.invalid_response(error) from None

    async def _list(
        self, list_async: Callable[[Any], Awaitable[Any]], intent_id: str, parse: Callable[[dict[str, Any]], T]
    ) -> Sequence[T]:
        """All objects of one kind that belong to an intent."""
        call = list_async({"payment_intent": intent_id, "limit": 100})
        async with aclosing(self._pages(call, parse)) as items:
            return [item async for item in items]

    def _events(self, filters: dict[str, Any]) -> AsyncGenerator[tuple[StripeEventRef, str], None]:
        params: Any = {"types": list(serialization.EVENT_TYPES), "limit": 100, **filters}
        return self._pages(self._client.v1.events.list_async(params), _parse_event)


def _to_gateway_error(error: stripe.StripeError, statuses: Sequence[int]) -> GatewayError:
    if isinstance(error, stripe.APIConnectionError) or error.http_status is None:
        return errors.connection_error(error.__cause__ or error, statuses)
    return errors.api_error(error.http_status, error.json_body, error.headers or {}, statuses)


def _cause(error: stripe.StripeError) -> stripe.StripeError | None:
    """What may stay attached to the `GatewayError`: no error with a response, whose text and args hold whole bodies."""
    return error if isinstance(error, stripe.APIConnectionError) else None


def _parse_intent(body: dict[str, Any]) -> Intent:
    try:
        return serialization.parse_intent(body)
    except errors.PARSE_ERRORS as error:
        raise errors.invalid_response(error) from None


def _parse_event(body: dict[str, Any]) -> tuple[StripeEventRef, str]:
    return serialization.parse_event(body), json.dumps(serialization.strip_client_secrets(body))


def server_time(headers: Mapping[str, str]) -> datetime | None:
    """Stripe's time from the `Date` header of a response; None without a valid one."""
    try:
        date = parsedate_to_datetime(headers.get("Date", ""))
    except ValueError:
        return None
    return date.astimezone(UTC) if date.tzinfo else None


def _is_recent(intent: Intent) -> bool:
    """Whether the intent was created just before the response that carried it, by Stripe's clock."""
    if intent.server_time is None or intent.created_at is None:
        return False
    return intent.server_time - intent.created_at <= RECENT


def _dated(intent: Intent, headers: Mapping[str, str]) -> Intent:
    return replace(intent, server_time=server_time(headers))


def _unix_time(at: datetime) -> int:
    return int(at.timestamp())
