"""Use cases of payments: request, renew the link, cancel, capture, release. Each is stored first, then carried out."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from handlers.amounts.parser import RequestedAmount
from handlers.clock import Clock
from handlers.payments import holds, state_machine
from handlers.payments.sync import PaymentSync
from handlers.runtime.concurrency import USER_WAIT_TIMEOUT, BackgroundTasks
from handlers.stripe.gateway import IntentRequest, PaymentGateway
from storage import payment_queries
from storage.database.database import Database
from storage.errors import (
    AlreadyPaid,
    AttemptStillActive,
    CancellationPending,
    HoldAlreadyDecided,
    NoHold,
    PaymentClosed,
    PaymentIsAuthorized,
    StripeUnavailable,
)
from storage.models.payment import (
    Attempt,
    AttemptStatus,
    CancellationReason,
    ChatTarget,
    Origin,
    Payment,
    PaymentStatus,
    SentCommand,
)
from storage.models.shop import Shop
from storage.payments import PaymentRepository, new_page_token

SAME_COMMAND_WITHIN = timedelta(seconds=5)
"""Two equal commands of one person that were sent at most this long apart may be one command sent twice."""


@dataclass(frozen=True)
class PaymentDefaults:
    """Defaults of this installation: how many hours a request can be paid, and where its customer returns to."""

    request_hours: float
    return_url: Callable[[str], str]


class PaymentService:
    """Stores what people request of payments and has `PaymentSync` carry it out; it never calls Stripe itself."""

    def __init__(
        self,
        db: Database,
        payments: PaymentRepository,
        sync: PaymentSync,
        gateway: PaymentGateway,
        clock: Clock,
        defaults: PaymentDefaults,
        background_tasks: BackgroundTasks,
        *,
        patience: float = USER_WAIT_TIMEOUT,
    ) -> None:
        self._db = db
        self._payments = payments
        self._sync = sync
        self._gateway = gateway
        self._clock = clock
        self._defaults = defaults
        self._background_tasks = background_tasks
        self._patience = patience

    async def request(
        self,
        shop: Shop,
        chat: ChatTarget,
        user_id: int,
        asked: RequestedAmount,
        *,
        source: str,
        manual: bool = False,
        command: SentCommand | None = None,
    ) -> Payment:
        """Request a payment. `command` is None for an inline result.

        The same `source` (request key) returns the same payment. The payment message shows the rest.
        """
        new = self._new(shop, chat, user_id, asked, source, manual, command)
        payment = await self._db.write(self._payments.create, new, params=self._params)
        if payment.status is PaymentStatus.CREATED:
            await self._advance_briefly(payment, f"user:{user_id}")
        return await self._sync.get(payment.id)

    async def find_same(self, command: SentCommand) -> Payment | None:
        """The payment that the same command made a moment ago, if this one may be the same command sent twice."""
        if await self._db.read(payment_queries.by_request_key, command.request_key) is not None:
            return None
        return await self._db.read(payment_queries.by_same_command, command, within=SAME_COMMAND_WITHIN)

    async def renew_link(
        self, payment_id: str, *, user_id: int, origin: Origin = Origin.CHAT, cause: str | None = None
    ) -> Payment:
        """Make sure that the payment has a usable link, by one more attempt of the same intent where Stripe needs one.

        The same `cause` (a button press) starts one attempt at most.

        Raises:
            StripeUnavailable: no attempt was started.
            AttemptStillActive: the earlier attempt has not ended at Stripe.
            AlreadyPaid, PaymentIsAuthorized, CancellationPending, PaymentClosed: the payment cannot be paid any more.
        """
        payment, seen = await self._sync_briefly(payment_id)
        if payment.status is PaymentStatus.AUTHORIZED:
            raise PaymentIsAuthorized(ref=payment.reference)
        if payment.status is PaymentStatus.SUCCEEDED:
            raise AlreadyPaid
        now = self._clock.now()
        if payment.cancel_requested and not payment.is_terminal:
            raise CancellationPending(ref=payment.reference)
        if payment.is_terminal or now >= payment.expires_at:
            raise PaymentClosed
        if not seen:
            raise StripeUnavailable
        if payment.attempt.has_usable_link(now):
            if origin is Origin.PAGE:
                return await self._sync.mark_opened(payment)
            await self._db.write(self._payments.request_redraw, payment.id, now=now)  # the merchant sees the link there
            return payment
        if payment.attempt.status is AttemptStatus.ACTIVE or payment.status is PaymentStatus.PROCESSING:
            raise AttemptStillActive
        if cause is not None and await self._sync.was_cause(cause):
            return payment
        return await self._begin_attempt(payment, user_id, origin, cause)

    async def cancel(self, payment_id: str, *, user_id: int) -> Payment:
        """Cancel the request at Stripe. While Stripe does not answer it stays requested, as the payment message shows.

        Raises:
            AlreadyPaid: the customer paid first.
            PaymentClosed: it was closed before.
            PaymentIsAuthorized: the customer has reserved the money.
        """
        before = await self._sync.get(payment_id)
        if before.manual_capture and before.is_payable and before.intent_id:  # a hold may exist unseen
            before, _ = await self._sync_briefly(payment_id)
        _refuse_ended(before)
        if before.status is PaymentStatus.AUTHORIZED:
            raise PaymentIsAuthorized(ref=before.reference)
        payment = await self._request_cancel(payment_id, user_id, CancellationReason.REQUESTED)
        if payment.status is PaymentStatus.SUCCEEDED:
            raise AlreadyPaid
        if payment.status is PaymentStatus.AUTHORIZED:
            raise PaymentIsAuthorized(ref=payment.reference)
        return payment

    async def release(self, payment_id: str, *, user_id: int) -> Payment:
        """Release reserved money; the customer is not charged.

        Raises:
            NoHold: nothing is reserved.
            HoldAlreadyDecided: a capture is under way.
            AlreadyPaid, PaymentClosed: it is too late.
        """
        before = await self._sync.get(payment_id)
        if before.cancellation_reason is CancellationReason.RELEASED and before.cancel_requested_by == user_id:
            return before  # answered before a crash; the answer is given again
        _refuse_ended(before)
        if before.status is not PaymentStatus.AUTHORIZED:
            raise NoHold(ref=before.reference)
        payment = await self._request_cancel(payment_id, user_id, CancellationReason.RELEASED)
        if payment.status is PaymentStatus.SUCCEEDED:
            raise AlreadyPaid
        if payment.capture_requested_by is not None:
            raise HoldAlreadyDecided(ref=payment.reference)
        return payment

    async def capture(self, payment_id: str, *, user_id: int) -> Payment:
        """Capture all of the reserved money.

        While Stripe does not answer it stays requested, as the payment message shows.

        Raises:
            NoHold: nothing is reserved.
            HoldAlreadyDecided: a release is under way.
            AlreadyPaid, PaymentClosed: it is too late.
        """
        before = await self._sync.get(payment_id)
        if before.status is PaymentStatus.SUCCEEDED and before.capture_requested_by == user_id:
            return before
        _refuse_ended(before)
        if before.status is not PaymentStatus.AUTHORIZED:
            raise NoHold(ref=before.reference)
        wanted, actor = partial(holds.request_capture, by=user_id), f"user:{user_id}"
        payment = await self._sync.update(payment_id, wanted, actor, "capture_requested")
        if payment.capture_requested_by is None and payment.cancel_requested is not None:
            raise HoldAlreadyDecided(ref=payment.reference)
        return await self._advance_and_reload(payment, actor)

    async def settle(self, payment_id: str, how: str, *, user_id: int) -> Payment:
        """End the request because the shop was paid otherwise: it is settled once Stripe has canceled it.

        Raises:
            AlreadyPaid: the customer paid first.
            PaymentClosed: it was closed before.
            PaymentIsAuthorized: the customer has reserved the money.
            CancellationPending: another cancellation is under way.
        """
        before = await self._sync.get(payment_id)
        if before.cancellation_reason is CancellationReason.SETTLED and before.cancel_requested_by == user_id:
            return before  # answered before a crash; the answer is given again
        if before.manual_capture and before.is_payable and before.intent_id:  # a hold may exist unseen
            before, _ = await self._sync_briefly(payment_id)
        _refuse_ended(before)
        wanted, actor = partial(state_machine.request_settlement, how=how, by=user_id), f"user:{user_id}"
        payment = await self._sync.update(payment_id, wanted, actor, "settle_requested")
        if payment.status is not PaymentStatus.AUTHORIZED and payment.cancel_requested is CancellationReason.SETTLED:
            payment = await self._advance_and_reload(payment, actor)
        if payment.status is PaymentStatus.SUCCEEDED:
            raise AlreadyPaid
        if payment.status is PaymentStatus.AUTHORIZED:
            raise PaymentIsAuthorized(ref=payment.reference)
        if payment.cancel_requested is not CancellationReason.SETTLED:
            raise CancellationPending(ref=payment.reference)
        return payment

    async def set_note(self, payment_id: str, note: str, *, user_id: int) -> Payment:
        """Replace the shop's note on a payment; an empty one removes it."""
        return await self._sync.update(
            payment_id, lambda payment: replace(payment, note=note), f"user:{user_id}", "note_changed"
        )

    def _new(
        self,
        shop: Shop,
        chat: ChatTarget,
        user_id: int,
        asked: RequestedAmount,
        source: str,
        manual: bool,
        command: SentCommand | None,
    ) -> Payment:
        """The new payment, before Stripe knows it; the repository assigns its reference."""
        now = self._clock.now()
        return Payment(
            id=secrets.token_urlsafe(12),
            shop_id=shop.id,
            reference="",
            page_token=new_page_token(),
            chat=chat,
            request_key=source,
            created_by=user_id,
            amount=asked.money,
            description=asked.description,
            status=PaymentStatus.CREATED,
            attempt=Attempt(1, AttemptStatus.REQUESTED, Origin.CHAT, requested_at=now),
            created_at=now,
            requested_at=None if command is None else command.sent_at,
            command_hash=None if command is None else command.hash,
            expires_at=now + timedelta(hours=shop.request_hours or self._defaults.request_hours),
            manual_capture=manual,
            livemode=self._gateway.livemode,
        )

    def _params(self, payment: Payment) -> str:
        """The frozen parameters of the call that creates and confirms the intent."""
        return self._gateway.create_params(self._intent_request(payment))

    def _intent_request(self, payment: Payment) -> IntentRequest:
        return IntentRequest(
            payment.id,
            payment.reference,
            payment.amount.minor,
            payment.amount.currency,
            payment.description,
            self._defaults.return_url(payment.page_token),
            payment.manual_capture,
        )

    async def _begin_attempt(self, payment: Payment, user_id: int, origin: Origin, cause: str | None) -> Payment:
        """Store the next attempt with its parameters, then run it; of two at the same time one is stored."""
        now, params = self._clock.now(), self._gateway.confirm_params(self._intent_request(payment))
        decide = partial(state_machine.start_attempt, origin=origin, now=now, cause=cause)
        actor = f"user:{user_id}" if user_id else "customer"
        payment = await self._sync.update(payment.id, decide, actor, "attempt_requested", params=params)
        if payment.attempt.is_finished:
            raise PaymentClosed  # the last attempt is used; the reconciler cancels it
        await self._advance_briefly(payment, actor)
        return await self._sync.get(payment.id)

    async def _request_cancel(self, payment_id: str, user_id: int, reason: CancellationReason) -> Payment:
        wanted, actor = partial(state_machine.request_cancel, reason=reason, by=user_id), f"user:{user_id}"
        payment = await self._sync.update(payment_id, wanted, actor, "cancel_requested")
        return await self._advance_and_reload(payment, actor)

    async def _advance_and_reload(self, payment: Payment, actor: str) -> Payment:
        """The payment after its pending step, as far as Stripe answers within the wait."""
        if payment.is_terminal:
            return payment
        await self._advance_briefly(payment, actor)
        return await self._sync.get(payment.id)

    async def _advance_briefly(self, payment: Payment, actor: str) -> None:
        """Advance the payment, but wait for a limited time: after it the work goes on in the background."""
        if await self._background_tasks.run_with_timeout(self._patience, self._sync.advance(payment.id, actor=actor)):
            return
        slow = partial(state_machine.mark_waiting, code="slow")
        await self._sync.update(payment.id, slow, "kvit", "stripe_slow")

    async def _sync_briefly(self, payment_id: str) -> tuple[Payment, bool]:
        """Retrieve the payment from Stripe within the wait; what takes longer counts as not retrieved."""
        seen: list[bool] = []

        async def look() -> None:
            seen.append((await self._sync.sync(payment_id, actor="kvit"))[1])

        await self._background_tasks.run_with_timeout(self._patience, look())
        return await self._sync.get(payment_id), any(seen)


def _refuse_ended(payment: Payment) -> None:
    if payment.is_terminal:
        raise AlreadyPaid if payment.status is PaymentStatus.SUCCEEDED else PaymentClosed
