"""What the use cases need from outside: Stripe, Telegram and the time, said in our own words."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from storage.models.dispute import Dispute, FraudWarning
from storage.models.refund import StripeRefund

OnApiCall = Callable[[str, str, float, int], None]
"""Told of a call to a vendor: whom, what for, how many seconds it took, and the HTTP status, or 0 without an answer."""

MAX_CALL_DURATION = timedelta(minutes=5)
"""A request that another process sent at the last moment is answered by then, all its tries taken together."""


def nobody(vendor: str, call: str, seconds: float, status: int) -> None:
    """Nobody counts calls."""


class IntentStatus(StrEnum):
    """Stripe's own words for where a PaymentIntent stands."""

    REQUIRES_PAYMENT_METHOD = "requires_payment_method"
    REQUIRES_CONFIRMATION = "requires_confirmation"
    REQUIRES_ACTION = "requires_action"
    PROCESSING = "processing"
    REQUIRES_CAPTURE = "requires_capture"
    SUCCEEDED = "succeeded"
    CANCELED = "canceled"


@dataclass(frozen=True)
class Intent:
    """What Stripe says of one PaymentIntent. Amounts are minor units, `currency` is upper case.

    `link` is `next_action.redirect_to_url.url`, `error_code`/`decline_code` come from `last_payment_error`,
    `cancellation_reason` is Stripe's.
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


class GatewayError(Exception):
    """Stripe refused or did not answer.

    `retryable`: the outcome is unknown or the refusal passes; the same request may be sent again with its key.
    `code` is Stripe's (an open string) or ours: `connection`, `rate_limit`, `authentication`, `permission`,
    `idempotency`, `conflict`, `server`. `intent` is the intent as it is, where the error carried it.
    `stored`: Stripe may keep answering this to the same key (a stored 500), so look instead of sending it again.
    """

    def __init__(
        self,
        code: str,
        *,
        retryable: bool,
        intent: Intent | None = None,
        request_id: str | None = None,
        stored: bool = False,
        message: str = "",
    ) -> None:
        super().__init__(f"Stripe: {code}" + (f" ({request_id})" if request_id else ""))
        self.code = code
        self.retryable = retryable
        self.intent = intent
        self.request_id = request_id
        self.replayed = stored
        self.message = message


@dataclass(frozen=True)
class StripeEventRef:
    """One of Stripe's events, as a pointer: which object changed."""

    id: str
    type: str
    intent_id: str | None
    payment_id: str | None
    livemode: bool
    created_at: datetime


class PaymentGateway(Protocol):
    """Stripe, as far as the use cases need it. Every method raises `GatewayError`.

    `params` is the frozen form of the request (JSON, made once by `create_params`/`confirm_params` and stored
    before it is sent), `key` its idempotency key.
    """

    livemode: bool

    def create_params(self, request: IntentRequest) -> str:
        """The exact parameters of create-and-confirm, as JSON to be stored and replayed."""

    def confirm_params(self, request: IntentRequest) -> str:
        """The exact parameters of a further confirm."""

    async def create(self, params: str, *, key: str) -> Intent:
        """Create and confirm in one call."""

    async def confirm(self, intent_id: str, params: str, *, key: str) -> Intent:
        """Begin another attempt of the same intent."""

    async def retrieve(self, intent_id: str) -> Intent:
        """What Stripe says now."""

    async def cancel(self, intent_id: str, *, key: str) -> Intent:
        """End the intent; raises `payment_intent_unexpected_state` with the intent when it is too late."""

    async def capture(self, intent_id: str, *, key: str) -> Intent:
        """Take all that is reserved; raises `payment_intent_unexpected_state` with the intent when it is too late."""

    def refund_params(self, request: RefundRequest) -> str:
        """The exact parameters of a refund, as JSON to be stored and replayed."""

    async def refund(self, params: str, *, key: str) -> StripeRefund:
        """Give money back; the answer is what is true now, also where an earlier try was answered unheard."""

    async def list_refunds(self, intent_id: str) -> Sequence[StripeRefund]:
        """All refunds of an intent, whoever made them, newest first."""

    async def list_disputes(self, intent_id: str) -> Sequence[Dispute]:
        """All disputes of an intent, newest first."""

    async def list_fraud_warnings(self, intent_id: str) -> Sequence[FraudWarning]:
        """The early fraud warnings about an intent."""

    async def find_intent(self, payment_id: str, *, since: datetime, until: datetime) -> Intent | None:
        """The intent made between those times that names our payment, by list and metadata; never by search."""

    def list_events(self, cursor: str | None, since: datetime) -> AsyncGenerator[tuple[StripeEventRef, str], None]:
        """Stripe's events after `cursor` or from `since` on, oldest first: each as a pointer and as JSON."""


@dataclass(frozen=True)
class IntentRequest:
    """What a PaymentIntent is made from; `amount` in minor units, `currency` upper case."""

    payment_id: str
    ref: str
    amount: int
    currency: str
    text: str
    return_url: str
    manual_capture: bool = False


@dataclass(frozen=True)
class RefundRequest:
    """What a refund is made from; `amount` in minor units."""

    refund_id: str
    payment_id: str
    intent_id: str
    amount: int
