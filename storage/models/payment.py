"""What a payment is: its states, its attempts and the ways between them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from storage.models.money import Money


class PaymentStatus(StrEnum):
    """Where a payment stands; Stripe's words are in `docs/architecture.md` beside ours."""

    CREATED = "created"
    OPEN = "open"
    PROCESSING = "processing"
    AUTHORIZED = "authorized"
    SUCCEEDED = "succeeded"
    CANCELED = "canceled"


S = PaymentStatus
TRANSITIONS: dict[PaymentStatus, frozenset[PaymentStatus]] = {
    S.CREATED: frozenset({S.OPEN, S.PROCESSING, S.AUTHORIZED, S.SUCCEEDED, S.CANCELED}),
    S.OPEN: frozenset({S.PROCESSING, S.AUTHORIZED, S.SUCCEEDED, S.CANCELED}),
    S.PROCESSING: frozenset({S.OPEN, S.AUTHORIZED, S.SUCCEEDED, S.CANCELED}),
    S.AUTHORIZED: frozenset({S.SUCCEEDED, S.CANCELED}),
    S.SUCCEEDED: frozenset(),
    S.CANCELED: frozenset(),
}
TERMINAL_STATUSES = frozenset(status for status, ways in TRANSITIONS.items() if not ways)


class CancellationReason(StrEnum):
    """Why no money came: written when it is asked for, true once Stripe has canceled."""

    REQUESTED = "requested"
    EXPIRED = "expired"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    RELEASED = "released"
    HOLD_EXPIRED = "hold_expired"
    BY_STRIPE = "by_stripe"
    REJECTED = "rejected"


class AttemptStatus(StrEnum):
    """How one confirm went: `asked` means the request is stored and Stripe's answer is not known."""

    REQUESTED = "requested"
    ACTIVE = "active"
    FAILED = "failed"
    EXPIRED = "expired"
    SUCCEEDED = "succeeded"
    CANCELED = "canceled"


class Origin(StrEnum):
    """Who began an attempt: only one begun in the chat is told there when it lapses."""

    CHAT = "chat"
    PAGE = "page"


MAX_ATTEMPTS = 8


@dataclass(frozen=True)
class Attempt:
    """One confirm of the payment's intent.

    `cause` is the tap that began it, if one did. `link` is Stripe's redirect URL, `started_at` the time of the confirm,
    `ends_at` when the link dies (both UTC).
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

    @property
    def is_finished(self) -> bool:
        """Whether Stripe said that nothing more can come of it by itself."""
        return self.status not in {AttemptStatus.REQUESTED, AttemptStatus.ACTIVE}

    @property
    def link_usable_until(self) -> datetime | None:
        """Until when the link may be handed out: the first four fifths of its life."""
        if self.started_at is None or self.expires_at is None:
            return None
        return self.started_at + (self.expires_at - self.started_at) * 4 / 5

    def has_usable_link(self, now: datetime) -> bool:
        """Whether the link can be given to a customer now."""
        until = self.link_usable_until
        return (
            self.status is AttemptStatus.ACTIVE and self.redirect_url is not None and until is not None and now < until
        )


@dataclass(frozen=True)
class ChatTarget:
    """Where a card stands or is to be posted: a chat, and the topic of a forum if it has one.

    A card that was put into any chat by inline mode is known by `inline_id` alone; `chat_id` is then the private chat
    of whoever chose it.
    """

    chat_id: int
    thread_id: int | None = None
    inline_message_id: str | None = None


@dataclass(frozen=True)
class Payment:
    """One request for money and all that is known of it.

    `id` is ours (and `metadata[kvit_payment]` at Stripe), `ref` the short reference within the shop, `token` the
    secret part of the page's address. `version` rises with every change. `refunded` is what went back, `refunding`
    what is on its way back or kept for it, in minor units. `capture_by` and `cancel_by` are who wants a hold taken
    or the request ended, `wish_sent_at` when Stripe was asked for that last. `receipt_number` counts, without a
    gap, what the shop was paid. `looked_at` is when the look at Stripe began that changed it last. All times are
    aware UTC.
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
    version: int = 1
    manual_capture: bool = False
    create_key_version: int = 1
    intent_id: str | None = None
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

    @property
    def is_terminal(self) -> bool:
        """Whether the state has no way out."""
        return self.status in TERMINAL_STATUSES

    @property
    def awaits_stripe(self) -> bool:
        """Whether something was asked of Stripe and the answer is not known."""
        if self.is_terminal:
            return False
        asked = self.cancel_requested is not None or self.attempt.status is AttemptStatus.REQUESTED
        asked = asked or self.capture_requested_by is not None
        return asked or self.status is PaymentStatus.CREATED

    @property
    def refundable(self) -> int:
        """What can still go back, in minor units."""
        return max(0, self.amount_received - self.amount_refunded - self.amount_refund_pending)

    def matches_intent(self, intent_id: str | None) -> bool:
        """Whether that intent can be this payment's one."""
        return self.intent_id in (None, intent_id)

    @property
    def is_payable(self) -> bool:
        """Whether a customer's money can still come, as far as we know."""
        return self.status in {PaymentStatus.CREATED, PaymentStatus.OPEN}


def attempt_expires_at(started_at: datetime, seconds: int) -> datetime:
    """When an attempt begun at `started_at` dies; Stripe gives MobilePay five minutes."""
    return started_at + timedelta(seconds=seconds)
