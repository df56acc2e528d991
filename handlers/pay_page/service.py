"""The pay page: the payment's state as the customer sees it, and the next attempt when they ask for one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from handlers.clock import Clock
from handlers.payments.service import PaymentService
from handlers.runtime.concurrency import BackgroundTasks
from handlers.shops.receipts import missing_fields, with_seller
from handlers.sliding_window import RecentTimes
from handlers.stripe.event_parsing import CUSTOMER_RETURNED
from storage import movements, payment_queries, receipts, shops
from storage.database.database import Database
from storage.errors import (
    AlreadyPaid,
    AttemptStillActive,
    CancellationPending,
    PaymentClosed,
    PaymentIsAuthorized,
    StripeUnavailable,
)
from storage.job_queue import JobQueue
from storage.models.job import NewJob
from storage.models.movement import CreditNote
from storage.models.payment import (
    MAX_ATTEMPTS,
    Attempt,
    AttemptStatus,
    CancellationReason,
    Origin,
    Payment,
    PaymentStatus,
)
from storage.models.shop import Shop

RETURN_SECONDS = 10

AWAITED = timedelta(hours=1)
"""How long it is remembered that a customer returned from an attempt, which lives some minutes."""

CUSTOMER_WAIT_TIMEOUT = 4.0
"""Seconds that a customer waits for Stripe; after that the page says so, and the work goes on."""


class PageState(StrEnum):
    """The payment's state as its customer is told; programs read these values too."""

    READY = "ready"
    WAITING = "waiting"
    PROCESSING = "processing"
    PAID = "paid"
    RESERVED = "reserved"
    FAILED = "failed"
    EXPIRED = "expired"
    ENDED = "ended"
    CANCELED = "canceled"
    REFUNDED = "refunded"
    PARTLY_REFUNDED = "partly_refunded"


class PageAction(StrEnum):
    """What the customer can do on the page now: start an attempt, or open the running one again."""

    PAY = "pay"
    OPEN = "open"


@dataclass(frozen=True)
class PayPage:
    """A payment as its page shows it. `until` is aware UTC, `test` means that no real money moves.

    `changes_at` is when time alone may change the page.
    """

    payment: Payment
    shop: Shop
    state: PageState
    until: datetime | None
    test: bool
    action: PageAction | None = None
    changes_at: datetime | None = None


def page_state(payment: Payment, now: datetime) -> tuple[PageState, datetime | None]:
    """The page's state, and until when: it can be paid, or an attempt has to be waited for.

    Only Stripe closes a payment: one whose time is over stays *waiting*, or what its attempt was, until Stripe
    canceled it.
    """
    match payment.status:
        case PaymentStatus.SUCCEEDED:
            return _received(payment), None
        case PaymentStatus.AUTHORIZED:
            return PageState.RESERVED, None
        case PaymentStatus.PROCESSING:
            return PageState.PROCESSING, None
        case PaymentStatus.CANCELED:
            ended = payment.cancellation_reason is CancellationReason.EXPIRED
            return (PageState.ENDED if ended else PageState.CANCELED), None
        case PaymentStatus.CREATED | PaymentStatus.OPEN:
            payable = payment.cancel_requested is None and now < payment.expires_at
            return _while_open(payment.attempt, payment.expires_at if payable else None, now)


def _received(payment: Payment) -> PageState:
    if payment.amount_refunded <= 0:
        return PageState.PAID
    return PageState.REFUNDED if payment.amount_refunded >= payment.amount_received else PageState.PARTLY_REFUNDED


def _while_open(attempt: Attempt, payable_until: datetime | None, now: datetime) -> tuple[PageState, datetime | None]:
    """The state of an open payment. A usable link made in the chat is *ready*, and so is one that expired unseen.

    A link that the customer opened, or that is too old, is waited for until it expires; after that the payment can be
    started again while the request is open.
    """
    again = payable_until if attempt.number < MAX_ATTEMPTS else None
    match attempt.status:
        case AttemptStatus.FAILED:
            return PageState.FAILED, again
        case AttemptStatus.EXPIRED if again and not attempt.seen_by_customer:
            return PageState.READY, again
        case AttemptStatus.EXPIRED:
            return PageState.EXPIRED, again
        case AttemptStatus.ACTIVE if payable_until and not attempt.opened_by_customer and attempt.has_usable_link(now):
            return PageState.READY, payable_until
        case AttemptStatus.ACTIVE if attempt.expires_at and now < attempt.expires_at:
            return PageState.WAITING, attempt.expires_at
        case _:
            return PageState.WAITING, None


def page_action(payment: Payment, state: PageState, until: datetime | None, now: datetime) -> PageAction | None:
    """What the customer can do in this state."""
    if state in {PageState.READY, PageState.FAILED, PageState.EXPIRED} and until:
        return PageAction.PAY
    opened = state is PageState.WAITING and until and payment.cancel_requested is None
    return PageAction.OPEN if opened and payment.attempt.has_usable_link(now) else None


class PayPageService:
    """Finds the payment behind a page, records that its customer returned, and starts attempts."""

    def __init__(
        self,
        db: Database,
        inbox: JobQueue,
        payments: PaymentService,
        background_tasks: BackgroundTasks,
        clock: Clock,
        *,
        patience: float = CUSTOMER_WAIT_TIMEOUT,
    ) -> None:
        self._db = db
        self._inbox = inbox
        self._payments = payments
        self._background_tasks = background_tasks
        self._clock = clock
        self._patience = patience
        self._returned = RecentTimes(timedelta(seconds=RETURN_SECONDS))
        self._awaited = RecentTimes(AWAITED)

    async def find(self, token: str) -> PayPage | None:
        """The page behind the token, or None."""
        payment = await self._db.read(payment_queries.by_token, token)
        shop = await self._db.read(shops.get_shop, payment.shop_id) if payment else None
        if payment is None or shop is None:
            return None
        if payment.succeeded_at is not None:
            shop = await self._db.read(receipts.shop_on_receipt, payment.id, shop)
            if missing_fields(shop):
                shop = with_seller(shop, await self._db.read(shops.list_sellers, shop.id), payment.succeeded_at)
        now = self._clock.now()
        state, until = page_state(payment, now)
        turns = [at for at in (payment.attempt.link_usable_until, payment.attempt.expires_at, payment.expires_at) if at]
        open_still = state in {PageState.READY, PageState.WAITING}
        if open_still and (until_seen := _ends(self._awaited.get(_attempt_of(payment)), now)):
            state, until = PageState.WAITING, None  # the call to Stripe runs; a moment later the page knows more
            turns.append(until_seen)
        return PayPage(
            payment,
            shop,
            state,
            until,
            test=not payment.livemode,
            action=page_action(payment, state, until, now),
            changes_at=min((at for at in turns if at > now), default=None) if payment.is_payable else None,
        )

    async def customer_returned(self, page: PayPage) -> None:
        """Have the payment retrieved from Stripe, at most once per `RETURN_SECONDS`.

        The page waits for it once per attempt: a client that returns again and again must not keep others from paying.
        """
        payment, now = page.payment, self._clock.now()
        if payment.is_terminal or payment.intent_id is None or _ends(self._returned.get(payment.id), now):
            return
        self._returned.set(payment.id, now, now=now)
        if self._awaited.get(_attempt_of(payment)) is None:
            self._awaited.set(_attempt_of(payment), now, now=now)
        key = f"{CUSTOMER_RETURNED}:{payment.id}:{int(now.timestamp())}"
        await self._inbox.enqueue(NewJob(key, payment.intent_id, CUSTOMER_RETURNED, payment.id.encode()), now=now)

    async def credit_notes(self, page: PayPage) -> Sequence[CreditNote]:
        """The credit notes of the payment. A receipt or a credit note is read with them: their seller is final now."""
        frozen = await self._db.read(receipts.shop_on_receipt, page.payment.id, page.shop)
        if frozen != page.shop:
            await self._db.write(receipts.freeze_seller, page.payment.id, page.shop)
        return await self._db.read(movements.credit_notes, page.payment.id)

    async def pay(self, page: PayPage) -> str | None:
        """The wallet's link, after a retrieve and by another attempt if there is none; None: see the page.

        Raises:
            StripeUnavailable: Stripe does not answer in time. What was started goes on by itself.
        """
        answers: list[str | StripeUnavailable | None] = []

        async def renew() -> None:
            try:
                payment = await self._payments.renew_link(page.payment.id, user_id=0, origin=Origin.PAGE)
                answers.append(wallet_url(payment, self._clock.now()))
            except StripeUnavailable as unavailable:
                answers.append(unavailable)
            except (AlreadyPaid, PaymentIsAuthorized, CancellationPending, PaymentClosed, AttemptStillActive):
                answers.append(None)

        await self._background_tasks.run_with_timeout(self._patience, renew())
        answer = answers[0] if answers else StripeUnavailable()
        if isinstance(answer, StripeUnavailable):
            raise answer
        return answer


def _attempt_of(payment: Payment) -> str:
    return f"{payment.id}:{payment.attempt.number}"


def _ends(came_back: datetime | None, now: datetime) -> datetime | None:
    """When `RETURN_SECONDS` since the customer's return are over; None if they are."""
    until = came_back and came_back + timedelta(seconds=RETURN_SECONDS)
    return until if until and now < until else None


def wallet_url(payment: Payment, now: datetime) -> str | None:
    """The link that opens the wallet, once an attempt was requested; None if there is none.

    Raises:
        StripeUnavailable: the attempt is requested, and Stripe has not answered yet.
    """
    if payment.attempt.status is AttemptStatus.REQUESTED:
        raise StripeUnavailable
    return payment.attempt.redirect_url if payment.attempt.has_usable_link(now) else None
