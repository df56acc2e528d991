"""What the application needs from Stripe: the gateway's methods, their values and their error."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from storage.models.balance import BalanceTransaction, Payout
from storage.models.dispute import Dispute, FraudWarning
from storage.models.refund import StripeRefund

MAX_CALL_DURATION = timedelta(minutes=5)
"""The longest time after which a request, also one of another process, can still reach Stripe, retries included."""


class IntentStatus(StrEnum):
    """Stripe's statuses of a PaymentIntent."""

    REQUIRES_PAYMENT_METHOD = "requires_payment_method"
    REQUIRES_CONFIRMATION = "requires_confirmation"
    REQUIRES_ACTION = "requires_action"
    PROCESSING = "processing"
    REQUIRES_CAPTURE = "requires_capture"
    SUCCEEDED = "succeeded"
    CANCELED = "canceled"


@dataclass(frozen=True)
class Intent:
    """A PaymentIntent as Stripe returned it. Amounts are minor units, `currency` is upper case.

    `server_time` is the `Date` of the response that carried it, so Stripe's clock. `succeeded_at` is when the money was
    received by that clock; None if it was not, or if the key may not read when. `charge_id` is `latest_charge`.
    `redirect_url` is `next_action.redirect_to_url.url`; `error_code` and `decline_code` come from
    `last_payment_error`.
    """

    id: str
    status: IntentStatus
    amount: int
    currency: str
    amount_received: int = 0
    livemode: bool = False
    metadata: dict[str, str] = field(default_factory=dict)
    redirect_url: str | None = None
    error_code: str | None = None
    decline_code: str | None = None
    cancellation_reason: str | None = None
    created_at: datetime | None = None
    charge_id: str | None = None
    manual_capture: bool = False
    server_time: datetime | None = field(default=None, compare=False)
    succeeded_at: datetime | None = None


class GatewayError(Exception):
    """Stripe returned an error or no response.

    `retryable`: the outcome is unknown, or the error is temporary; the same request may be sent again with its key.
    `code` is Stripe's (an open string) or one of ours: `connection`, `rate_limit`, `authentication`, `permission`,
    `idempotency`, `conflict`, `server`. `intent` is the intent's current state, where the error carried it.
    `replayed`: Stripe may answer this key with this error again (a stored 500), so retrieve instead of repeating.
    """

    def __init__(
        self,
        code: str,
        *,
        retryable: bool,
        intent: Intent | None = None,
        request_id: str | None = None,
        replayed: bool = False,
        message: str = "",
    ) -> None:
        super().__init__(f"Stripe: {code}" + (f" ({request_id})" if request_id else ""))
        self.code = code
        self.retryable = retryable
        self.intent = intent
        self.request_id = request_id
        self.replayed = replayed
        self.message = message


@dataclass(frozen=True)
class StripeEventRef:
    """An event of Stripe's, reduced to which object changed when."""

    id: str
    type: str
    intent_id: str | None
    payment_id: str | None
    livemode: bool
    created_at: datetime


class PaymentGateway(Protocol):
    """Stripe's API, as far as the application needs it. Every method that calls Stripe raises `GatewayError`.

    `params` are the frozen parameters of a request: JSON that a `…_params` method made once and that is stored before
    the request is sent. `key` is its idempotency key.
    """

    livemode: bool

    def create_params(self, request: IntentRequest) -> str:
        """The parameters of create-and-confirm."""

    def confirm_params(self, request: IntentRequest) -> str:
        """The parameters of a further confirm."""

    async def create(self, params: str, *, key: str) -> Intent:
        """Creates and confirms an intent in one call."""

    async def confirm(self, intent_id: str, params: str, *, key: str) -> Intent:
        """Starts another attempt of the same intent."""

    async def retrieve(self, intent_id: str) -> Intent:
        """The intent's current state."""

    async def cancel(self, intent_id: str, *, key: str) -> Intent:
        """Cancels the intent; if it is too late, raises `payment_intent_unexpected_state` with the intent."""

    async def capture(self, intent_id: str, *, key: str) -> Intent:
        """Captures the full amount; if it is too late, raises `payment_intent_unexpected_state` with the intent."""

    def refund_params(self, request: RefundRequest) -> str:
        """The parameters of a refund."""

    async def refund(self, params: str, *, key: str) -> StripeRefund:
        """Creates a refund and returns its current state, also when the key had been answered before."""

    async def list_refunds(self, intent_id: str) -> Sequence[StripeRefund]:
        """All refunds of an intent, also those made in the Dashboard, newest first."""

    async def list_disputes(self, intent_id: str) -> Sequence[Dispute]:
        """All disputes of an intent, newest first."""

    async def list_fraud_warnings(self, intent_id: str) -> Sequence[FraudWarning]:
        """The early fraud warnings about an intent."""

    def list_balance_transactions(
        self, *, source: str | None = None, payout: str | None = None, since: datetime | None = None
    ) -> AsyncGenerator[BalanceTransaction, None]:
        """The transactions about an object, or those that a payout paid out, or those from `since` on; newest first."""

    async def retrieve_payout(self, payout_id: str) -> Payout:
        """A payout's current state."""

    def list_payouts(self, since: datetime) -> AsyncGenerator[Payout, None]:
        """The payouts created from `since` on, newest first."""

    async def server_time(self) -> datetime:
        """Stripe's clock now (UTC), by a request of its own."""

    async def find_intent(self, payment_id: str, *, since: datetime, until: datetime) -> Intent | None:
        """The intent created in this time whose metadata names the payment; None if there is none.

        Lists intents. Stripe's search index lags, so it is not used.
        """

    def list_events(self, cursor: str | None, since: datetime) -> AsyncGenerator[tuple[StripeEventRef, str], None]:
        """The events after `cursor`, or without one from `since` on, oldest first, each with its JSON."""


@dataclass(frozen=True)
class IntentRequest:
    """What a PaymentIntent is created from. `amount` is in minor units, `currency` is upper case."""

    payment_id: str
    reference: str
    amount: int
    currency: str
    description: str
    return_url: str
    manual_capture: bool = False


@dataclass(frozen=True)
class RefundRequest:
    """What a refund is created from. `amount` is in minor units."""

    refund_id: str
    payment_id: str
    intent_id: str
    amount: int
