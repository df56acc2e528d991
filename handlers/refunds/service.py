"""The desk of refunds: a wish is written down, approved by those who may, and only then asked of Stripe."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from handlers.clock import Clock
from handlers.refunds import state_machine
from handlers.refunds.sync import RefundSync
from handlers.runtime.concurrency import USER_WAIT_TIMEOUT, BackgroundTasks
from handlers.stripe.gateway import GatewayError, PaymentGateway, RefundRequest
from storage.database.database import Database
from storage.errors import RefundAlreadyRequested, WrongStripeMode
from storage.models.money import Money
from storage.models.payment import ChatTarget, Payment
from storage.models.refund import APPROVAL_TTL, DRAFT_TTL, Refund, RefundStatus
from storage.models.shop import Shop
from storage.refunds import RefundRepository


@dataclass(frozen=True)
class RefundRequestInput:
    """What a person typed: `amount` is None for everything that is left; `source` makes the same message one wish."""

    place: ChatTarget
    user_id: int
    source: str
    amount: Money | None = None
    reason: str = ""


class RefundService:
    """What people want of refunds. Nothing here talks to Stripe: `RefundAttendant` does, for the sweep as well."""

    def __init__(
        self,
        db: Database,
        refunds: RefundRepository,
        sync: RefundSync,
        gateway: PaymentGateway,
        clock: Clock,
        background_tasks: BackgroundTasks,
        *,
        approval_above: int | None,
        patience: float = USER_WAIT_TIMEOUT,
    ) -> None:
        """More than `approval_above` of one payment, in minor units of its currency, takes two people."""
        self._db = db
        self._refunds = refunds
        self._sync = sync
        self._gateway = gateway
        self._clock = clock
        self._background_tasks = background_tasks
        self._approval_above = approval_above
        self._patience = patience

    async def draft(self, payment: Payment, wanted: RefundRequestInput, *, for_others: bool) -> Refund:
        """Write the wish down; no money moves and none is kept. `for_others`: whoever asks may not approve it himself.

        Raises:
            OtherMode, AlreadyAsked, RefundOfHold, NothingPaid, DisputeForbids, LostToDispute, NothingLeft,
            RefundExceedsBalance.
        """
        self._refuse_other_mode(payment)
        if for_others:
            await self._refuse_another_wish(payment, wanted)
        await self._background_tasks.run_with_timeout(self._patience, self._see(payment))
        now, room = self._clock.now(), await self._db.read(self._refunds.limits, payment.id)
        amount = Money(room.refundable, payment.amount.currency) if wanted.amount is None else wanted.amount
        refund = Refund(
            id=secrets.token_urlsafe(12),
            payment_id=payment.id,
            shop_id=payment.shop_id,
            request_key=wanted.source,
            amount=amount,
            status=RefundStatus.AWAITING_APPROVAL if for_others else RefundStatus.DRAFT,
            requested_at=now,
            reason=wanted.reason,
            chat=wanted.place,
            requested_by=wanted.user_id,
            expires_at=now + (APPROVAL_TTL if for_others else DRAFT_TTL),
        )
        check = partial(state_machine.create_draft, above=self._approval_above)
        return await self._db.write(self._refunds.create_draft, refund, check, actor=f"user:{wanted.user_id}", now=now)

    async def _refuse_another_wish(self, payment: Payment, wanted: RefundRequestInput) -> None:
        """One wish at a time: the admins' chats are not to be filled, and the next one depends on this one's end."""
        now = self._clock.now()
        for other in await self._db.read(self._refunds.for_payment, payment.id):
            waits = (
                other.status is RefundStatus.AWAITING_APPROVAL
                and other.requested_by == wanted.user_id
                and not other.is_expired(now)
            )
            if waits and other.request_key != wanted.source:
                raise RefundAlreadyRequested(ref=payment.reference, amount=other.amount)

    async def find(self, refund_id: str) -> Refund | None:
        """By our id."""
        return await self._db.read(self._refunds.find, refund_id)

    async def of_payment(self, payment_id: str) -> Sequence[Refund]:
        """All of a payment, oldest first, drafts too."""
        return await self._db.read(self._refunds.for_payment, payment_id)

    async def approve(self, refund: Refund, payment: Payment, shop: Shop, *, user_id: int) -> Refund:
        """One person's yes; with the last one that is needed Stripe is asked.

        Raises:
            RefundDecided, RefundExpired, SecondPersonNeeded, RefundChanged, OverRefundLimit, and those of `draft`.
        """
        self._refuse_other_mode(payment)
        params = self._gateway.refund_params(
            RefundRequest(refund.id, payment.id, payment.intent_id or "", refund.amount.minor)
        )
        now, actor = self._clock.now(), f"user:{user_id}"
        yes = partial(state_machine.approve, person=user_id, limit=shop.refund_limit, params=params, now=now)
        refund = await self._db.write(
            self._refunds.update, refund.id, yes, actor=actor, action="refund_approved", now=now, person=user_id
        )
        return await self._soon(refund, actor)

    async def decline(self, refund: Refund, *, user_id: int) -> Refund:
        """Somebody says no; nothing was kept and nothing goes back.

        Raises:
            RefundDecided: it is too late.
        """
        now = self._clock.now()
        no = state_machine.decline
        return await self._db.write(
            self._refunds.update, refund.id, no, actor=f"user:{user_id}", action="refund_declined", now=now
        )

    async def retry(self, refund: Refund, *, user_id: int) -> Refund:
        """Try once more what Stripe refused for want of balance, while it is still approved.

        Raises:
            RefundDecided, RefundExpired: there is nothing to be tried any more.
        """
        now, actor = self._clock.now(), f"user:{user_id}"
        again = partial(state_machine.retry, now=now)
        refund = await self._db.write(
            self._refunds.update, refund.id, again, actor=actor, action="refund_retried", now=now
        )
        return await self._soon(refund, actor)

    async def _see(self, payment: Payment) -> None:
        """A look at what went back: a refund by hand, of which no event came, is not to be made once more."""
        with suppress(GatewayError):  # our key has no right to look, which the look itself has logged
            await self._sync.sync(payment.id)

    def _refuse_other_mode(self, payment: Payment) -> None:
        if payment.livemode != self._gateway.livemode:
            raise WrongStripeMode(ref=payment.reference)

    async def _soon(self, refund: Refund, actor: str) -> Refund:
        """Ask Stripe, but keep nobody waiting: what takes longer goes on by itself, and the card tells."""
        if refund.status is RefundStatus.APPROVED:
            await self._background_tasks.run_with_timeout(self._patience, self._sync.advance(refund.id, actor=actor))
            return await self._sync.get(refund.id)
        return refund
