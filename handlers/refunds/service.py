"""Use cases of refunds: draft, approve, decline, retry. Each is stored first, then carried out."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from handlers.clock import Clock
from handlers.refunds import state_machine
from handlers.refunds.sync import RefundSync
from handlers.runtime.concurrency import USER_WAIT_TIMEOUT, BackgroundTasks
from handlers.stripe.gateway import GatewayError, PaymentGateway, RefundRequest
from storage.database.database import Database
from storage.errors import WrongStripeMode
from storage.invitations import invited_through
from storage.models.money import Money
from storage.models.payment import ChatTarget, Payment
from storage.models.refund import APPROVAL_TTL, DRAFT_TTL, Refund, RefundStatus
from storage.models.shop import Shop
from storage.refunds import RefundRepository


@dataclass(frozen=True)
class RefundRequestInput:
    """What a person typed. `amount` is None for all that is left; the same request key is one refund."""

    place: ChatTarget
    user_id: int
    source: str
    amount: Money | None = None
    reason: str = ""


class RefundService:
    """Stores what people request of refunds and has `RefundSync` carry it out; it never calls Stripe itself."""

    def __init__(
        self,
        db: Database,
        refunds: RefundRepository,
        sync: RefundSync,
        gateway: PaymentGateway,
        clock: Clock,
        background_tasks: BackgroundTasks,
        *,
        owners: Callable[[], Awaitable[frozenset[int]]],
        approval_above: int | None,
        patience: float = USER_WAIT_TIMEOUT,
    ) -> None:
        """`approval_above`: refunds above this amount (minor units) need two approvals; None: never.

        `owners` returns the ids of all owners.
        """
        self._db = db
        self._refunds = refunds
        self._sync = sync
        self._gateway = gateway
        self._clock = clock
        self._background_tasks = background_tasks
        self._owners = owners
        self._approval_above = approval_above
        self._patience = patience

    async def draft(self, payment: Payment, wanted: RefundRequestInput, *, for_others: bool) -> Refund:
        """Store a draft; no money moves and none is reserved. `for_others`: the author may not approve it.

        Raises:
            WrongStripeMode, RefundAlreadyRequested, TooManyRefundRequests, HoldNotRefundable, NothingPaid,
            BlockedByDispute, TakenByDispute,
            NothingRefundable, RefundExceedsBalance.
        """
        self._refuse_other_mode(payment)
        await self._background_tasks.run_with_timeout(self._patience, self._sync_first(payment))
        now, limits = self._clock.now(), await self._db.read(self._refunds.limits, payment.id)
        amount = Money(limits.refundable, payment.amount.currency) if wanted.amount is None else wanted.amount
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

    async def find(self, refund_id: str) -> Refund | None:
        """By our id."""
        return await self._db.read(self._refunds.find, refund_id)

    async def of_payment(self, payment_id: str) -> Sequence[Refund]:
        """All refunds of a payment, oldest first, drafts too."""
        return await self._db.read(self._refunds.for_payment, payment_id)

    async def approve(self, refund: Refund, payment: Payment, shop: Shop, *, user_id: int) -> Refund:
        """Record one approval; with the last that is needed Stripe is called.

        Raises:
            RefundAlreadyDecided, RefundExpired, SecondApproverRequired, SecondApproverInvited, RefundableAmountChanged,
            RefundLimitExceeded, and those of `draft`.
        """
        self._refuse_other_mode(payment)
        params = self._gateway.refund_params(
            RefundRequest(refund.id, payment.id, payment.intent_id or "", refund.amount.minor)
        )
        now, actor = self._clock.now(), f"user:{user_id}"
        owners = await self._owners()
        yes = partial(
            state_machine.approve, person=user_id, owners=owners, limit=shop.refund_limit, params=params, now=now
        )
        refund = await self._db.write(
            self._refunds.update, refund.id, yes, actor=actor, action="refund_approved", now=now, person=user_id
        )
        return await self._advance_briefly(refund, actor)

    async def is_second_person(self, refund: Refund, user_id: int) -> bool:
        """Whether this person counts as another person than those who approved the refund."""
        chains = await self._db.read(invited_through, refund.shop_id, {user_id, *refund.approvers})
        owners = await self._owners()
        return all(state_machine.is_second_person(first, user_id, chains, owners) for first in refund.approvers)

    async def decline(self, refund: Refund, *, user_id: int) -> Refund:
        """Decline the refund; nothing was reserved and no money moves.

        Raises:
            RefundAlreadyDecided: it is too late.
        """
        now = self._clock.now()
        no = partial(state_machine.decline, person=user_id, now=now)
        return await self._db.write(
            self._refunds.update, refund.id, no, actor=f"user:{user_id}", action="refund_declined", now=now
        )

    async def retry(self, refund: Refund, *, user_id: int) -> Refund:
        """Try again a refund that Stripe rejected for insufficient balance, while it is still approved.

        Raises:
            RefundAlreadyDecided, RefundExpired: it cannot be tried any more.
        """
        now, actor = self._clock.now(), f"user:{user_id}"
        again = partial(state_machine.retry, now=now)
        refund = await self._db.write(
            self._refunds.update, refund.id, again, actor=actor, action="refund_retried", now=now
        )
        return await self._advance_briefly(refund, actor)

    async def _sync_first(self, payment: Payment) -> None:
        """Read the payment's refunds from Stripe, so that one made in the Dashboard is not made once more."""
        with suppress(GatewayError):  # the key lacks the permission, which is logged there
            await self._sync.sync(payment.id)

    def _refuse_other_mode(self, payment: Payment) -> None:
        if payment.livemode != self._gateway.livemode:
            raise WrongStripeMode(ref=payment.reference)

    async def _advance_briefly(self, refund: Refund, actor: str) -> Refund:
        """Advance the refund, but wait for a limited time: what takes longer goes on in the background."""
        if refund.status is RefundStatus.APPROVED:
            await self._background_tasks.run_with_timeout(self._patience, self._sync.advance(refund.id, actor=actor))
            return await self._sync.get(refund.id)
        return refund
