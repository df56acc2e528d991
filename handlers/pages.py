"""What a pay page shows: one word for where the payment stands, and until when that holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from handlers.ports import Clock
from storage.directory import Directory
from storage.mailbox import Draft, Mailbox
from storage.payment import Attempt, AttemptOutcome, CancelReason, Origin, Payment, PaymentStatus
from storage.people import Shop
from storage.queries import Queries

RETURNED = "returned"
"""The kind of mail that says that a customer came back from the wallet: its body is our payment's id."""

RETURN_SECONDS = 10
MOST_RETURNS = 10_000


class PageState(StrEnum):
    """Where a payment stands, as its customer is told; programs read these words too."""

    READY = "ready"
    WAITING = "waiting"
    PROCESSING = "processing"
    PAID = "paid"
    RESERVED = "reserved"
    FAILED = "failed"
    EXPIRED = "expired"
    ENDED = "ended"
    CANCELED = "canceled"


@dataclass(frozen=True)
class Page:
    """A payment as its page shows it. `until` is aware UTC, `test` says that no real money moves."""

    payment: Payment
    shop: Shop
    state: PageState
    until: datetime | None
    test: bool


def page_state(payment: Payment, now: datetime) -> tuple[PageState, datetime | None]:
    """The page's word for the payment, and until when: it can be paid, or an attempt has to be waited for.

    Only Stripe ends a payment: one whose time is over stays *waiting* or what its attempt was until Stripe canceled.
    """
    match payment.status:
        case PaymentStatus.SUCCEEDED:
            return PageState.PAID, None
        case PaymentStatus.AUTHORIZED:
            return PageState.RESERVED, None
        case PaymentStatus.PROCESSING:
            return PageState.PROCESSING, None
        case PaymentStatus.CANCELED:
            ended = payment.canceled_because is CancelReason.ENDED
            return (PageState.ENDED if ended else PageState.CANCELED), None
        case PaymentStatus.CREATED | PaymentStatus.OPEN:
            payable = payment.cancel_asked is None and now < payment.expires_at
            return _while_open(payment.attempt, payment.expires_at if payable else None, now)


def _while_open(attempt: Attempt, payable_until: datetime | None, now: datetime) -> tuple[PageState, datetime | None]:
    """A link that the chat gave and that is fresh is *ready*; one that the customer opened, or a stale one, is waited
    for until it dies; the rest is over, and can be begun anew while the request can be paid.
    """
    match attempt.outcome:
        case AttemptOutcome.FAILED:
            return PageState.FAILED, payable_until
        case AttemptOutcome.LAPSED:
            return PageState.EXPIRED, payable_until
        case AttemptOutcome.LIVE if payable_until and attempt.origin is Origin.CHAT and attempt.is_fresh(now):
            return PageState.READY, payable_until
        case AttemptOutcome.LIVE if attempt.ends_at and now < attempt.ends_at:
            return PageState.WAITING, attempt.ends_at
        case _:
            return PageState.WAITING, None


class PageDesk:
    """Finds the payment behind a page, and passes on that its customer came back."""

    def __init__(self, queries: Queries, directory: Directory, inbox: Mailbox, clock: Clock) -> None:
        self._queries = queries
        self._directory = directory
        self._inbox = inbox
        self._clock = clock
        self._returned: dict[str, datetime] = {}

    async def find(self, token: str) -> Page | None:
        """The page behind the token, or None."""
        payment = await self._queries.by_token(token)
        shop = await self._directory.shop(payment.shop_id) if payment else None
        if payment is None or shop is None:
            return None
        state, until = page_state(payment, self._clock.now())
        if state is PageState.READY and self._came_back(payment.id):
            state, until = PageState.WAITING, None  # Stripe is being asked; a moment later the page knows more
        return Page(payment, shop, state, until, test=not payment.livemode)

    async def returned(self, page: Page) -> None:
        """Have the belt look at Stripe, at most once per payment in `RETURN_SECONDS`."""
        payment, now = page.payment, self._clock.now()
        if payment.is_final or payment.intent_id is None or self._came_back(payment.id):
            return
        if len(self._returned) >= MOST_RETURNS:
            self._returned.clear()
        self._returned[payment.id] = now
        key = f"{RETURNED}:{payment.id}:{int(now.timestamp())}"
        await self._inbox.put(Draft(key, payment.intent_id, RETURNED, payment.id.encode()), now=now)

    def _came_back(self, payment_id: str) -> bool:
        """Whether the customer came back a moment ago."""
        last = self._returned.get(payment_id)
        return last is not None and (self._clock.now() - last).total_seconds() < RETURN_SECONDS
