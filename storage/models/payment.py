"""Payments, their statuses and transitions, and their attempts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from storage.models.money import Money


class PaymentStatus(StrEnum):
    """The status of a payment; docs/architecture.md maps Stripe's statuses to these."""

    CREATED = "created"
    OPEN = "open"
    PROCESSING = "processing"
    AUTHORIZED = "authorized"
    SUCCEEDED = "succeeded"
    CANCELED = "canceled"


TRANSITIONS: dict[PaymentStatus, frozenset[PaymentStatus]] = {
    PaymentStatus.CREATED: frozenset(
        {
            PaymentStatus.OPEN,
            PaymentStatus.PROCESSING,
            PaymentStatus.AUTHORIZED,
            PaymentStatus.SUCCEEDED,
            PaymentStatus.CANCELED,
        }
    ),
    PaymentStatus.OPEN: frozenset(
        {PaymentStatus.PROCESSING, PaymentStatus.AUTHORIZED, PaymentStatus.SUCCEEDED, PaymentStatus.CANCELED}
    ),
    PaymentStatus.PROCESSING: frozenset(
        {PaymentStatus.OPEN, PaymentStatus.AUTHORIZED, PaymentStatus.SUCCEEDED, PaymentStatus.CANCELED}
    ),
    PaymentStatus.AUTHORIZED: frozenset({PaymentStatus.SUCCEEDED, PaymentStatus.CANCELED}),
    PaymentStatus.SUCCEEDED: frozenset(),
    PaymentStatus.CANCELED: frozenset(),
}
TERMINAL_STATUSES = frozenset(status for status, targets in TRANSITIONS.items() if not targets)


class CancellationReason(StrEnum):
    """Why a payment was canceled. Stored when the cancellation is requested, effective once Stripe has canceled."""

    REQUESTED = "requested"
    EXPIRED = "expired"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    RELEASED = "released"
    HOLD_EXPIRED = "hold_expired"
    BY_STRIPE = "by_stripe"
    REJECTED = "rejected"
    SETTLED = "settled"


class AttemptStatus(StrEnum):
    """The status of one confirm. `requested`: the request is stored, and Stripe's response is not known yet."""

    REQUESTED = "requested"
    ACTIVE = "active"
    FAILED = "failed"
    EXPIRED = "expired"
    SUCCEEDED = "succeeded"
    CANCELED = "canceled"


class Origin(StrEnum):
    """Where an attempt was started: by a person of the shop, or by the customer on the pay page."""

    CHAT = "chat"
    PAGE = "page"


MAX_ATTEMPTS = 8


@dataclass(frozen=True)
class Attempt:
    """One confirm of the payment's intent. Times are aware UTC.

    `trigger_key` identifies the button press that started it, if one did: the same key starts no second attempt.
    `started_at` is the time of the confirm, `expires_at` the end of Stripe's `redirect_url`. `opened_at` is when a
    customer first opened it on the pay page, `returned_at` when one first came back from it.
    """

    number: int
    status: AttemptStatus
    origin: Origin
    requested_at: datetime
    started_at: datetime | None = None
    expires_at: datetime | None = None
    redirect_url: str | None = None
    failure_code: str | None = None
    trigger_key: str | None = None
    opened_at: datetime | None = None
    returned_at: datetime | None = None

    @property
    def seen_by_customer(self) -> bool:
        """Whether a customer began it, opened it on the page, or came back from it. A direct link tells nothing."""
        return self.opened_by_customer or self.returned_at is not None

    @property
    def opened_by_customer(self) -> bool:
        """Whether a customer began or opened it on the page."""
        return self.origin is Origin.PAGE or self.opened_at is not None

    @property
    def is_finished(self) -> bool:
        """Whether Stripe reported its end."""
        return self.status not in {AttemptStatus.REQUESTED, AttemptStatus.ACTIVE}

    @property
    def link_usable_until(self) -> datetime | None:
        """The end of the first four fifths of the link's lifetime. Later it may expire while being opened."""
        if self.started_at is None or self.expires_at is None:
            return None
        return self.started_at + (self.expires_at - self.started_at) * 4 / 5

    def has_usable_link(self, now: datetime) -> bool:
        """Whether the redirect URL may be given to a customer now."""
        until = self.link_usable_until
        return (
            self.status is AttemptStatus.ACTIVE and self.redirect_url is not None and until is not None and now < until
        )


@dataclass(frozen=True)
class ChatTarget:
    """Where a message stands or is to be sent: a chat, and its topic in a forum.

    An inline message is identified by its `inline_message_id` alone; `chat_id` is then the private chat of the user who
    sent it.
    """

    chat_id: int
    thread_id: int | None = None
    inline_message_id: str | None = None


@dataclass(frozen=True)
class SentCommand:
    """The command that requests a payment: who sent it where and when (Telegram's clock, UTC).

    `request_key` is unique to the message, `hash` is the same for the same words about the same amount.
    """

    chat: ChatTarget
    user_id: int
    request_key: str
    sent_at: datetime
    hash: str


@dataclass(frozen=True)
class Payment:
    """A payment request and its state. Amounts are minor units of `amount.currency`; times are aware UTC.

    `id` is ours, and `metadata[kvit_payment]` at Stripe. `reference` is the short reference within the shop,
    `page_token` the secret part of the pay page's URL, `request_key` the key under which there is only one payment.
    `version` rises with every change. `amount_refund_pending` is reserved for refunds that have not ended.

    `capture_requested_by` and `cancel_requested_by` are the users whose capture or cancel is pending, `request_sent_at`
    is when it was last sent to Stripe. `synced_at` is when the retrieve that changed the payment last was started.
    `requested_at` is when the command was sent, by Telegram's clock, and `command_hash` tells it from other commands;
    both are None for an inline result, which has no date.
    `charge_id` is the successful charge, None until then. `succeeded_at` and `authorized_at` are Stripe's times.
    `receipt_number` counts the shop's received payments without gaps, those of test mode by themselves. `note` is the
    shop's own text, `settled_as` how the shop was paid otherwise.
    """

    id: str
    shop_id: int
    reference: str
    page_token: str
    chat: ChatTarget
    request_key: str
    created_by: int
    amount: Money
    description: str
    status: PaymentStatus
    attempt: Attempt
    created_at: datetime
    expires_at: datetime
    requested_at: datetime | None = None
    command_hash: str | None = None
    version: int = 1
    manual_capture: bool = False
    create_key_version: int = 1
    intent_id: str | None = None
    charge_id: str | None = None
    livemode: bool = False
    amount_received: int = 0
    cancel_requested: CancellationReason | None = None
    cancel_key_version: int = 0
    cancellation_reason: CancellationReason | None = None
    last_error: str | None = None
    error_count: int = 0
    next_check_at: datetime | None = None
    succeeded_at: datetime | None = None
    closed_at: datetime | None = None
    synced_at: datetime | None = None
    authorized_at: datetime | None = None
    capture_before: datetime | None = None
    capture_requested_by: int | None = None
    capture_key_version: int = 1
    cancel_requested_by: int | None = None
    request_sent_at: datetime | None = None
    reminders_sent: int = 0
    amount_refunded: int = 0
    amount_refund_pending: int = 0
    dispute_status: str | None = None
    receipt_number: int | None = None
    note: str = ""
    settled_as: str = ""

    @property
    def is_terminal(self) -> bool:
        """Whether the status is final."""
        return self.status in TERMINAL_STATUSES

    @property
    def awaits_stripe(self) -> bool:
        """Whether a request to Stripe is pending."""
        return not self.is_terminal and (
            self.status is PaymentStatus.CREATED
            or self.attempt.status is AttemptStatus.REQUESTED
            or self.cancel_requested is not None
            or self.capture_requested_by is not None
        )

    @property
    def refundable(self) -> int:
        """What can still be refunded."""
        return max(0, self.amount_received - self.amount_refunded - self.amount_refund_pending)

    def matches_intent(self, intent_id: str | None) -> bool:
        """Whether the intent is this payment's, or may become it because the payment has none yet."""
        return self.intent_id in (None, intent_id)

    @property
    def is_payable(self) -> bool:
        """Whether the customer can still pay, as far as Kvit knows."""
        return self.status in {PaymentStatus.CREATED, PaymentStatus.OPEN}


def attempt_expires_at(started_at: datetime, seconds: int) -> datetime:
    """When an attempt started at `started_at` expires; Stripe gives MobilePay attempts five minutes."""
    return started_at + timedelta(seconds=seconds)
