"""The desk of refunds: a wish is written down, approved by those who may, and only then asked of Stripe."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from handlers.clock import Clock
from handlers.refunds import state_machine
from handlers.refunds.sync import RefundAttendant
from handlers.runtime.concurrency import PATIENCE, Errands
from handlers.stripe.gateway import Gateway, GatewayError, RefundRequest
from storage.errors import AlreadyAsked, OtherMode
from storage.models.money import Money
from storage.models.payment import Payment, Place
from storage.models.refund import ASKED_LIFE, DRAFT_LIFE, Refund, RefundStatus
from storage.models.shop import Shop
from storage.refunds import RefundBook


@dataclass(frozen=True)
class RefundWish:
    """What a person typed: `amount` is None for everything that is left; `source` makes the same message one wish."""

    place: Place
    user_id: int
    source: str
    amount: Money | None = None
    reason: str = ""


class Refunds:
    """What people want of refunds. Nothing here talks to Stripe: `RefundAttendant` does, for the sweep as well."""

    def __init__(
        self,
        book: RefundBook,
        attendant: RefundAttendant,
        gateway: Gateway,
        clock: Clock,
        errands: Errands,
        *,
        approval_above: int | None,
        patience: float = PATIENCE,
    ) -> None:
        """More than `approval_above` of one payment, in minor units of its currency, takes two people."""
        self._book = book
        self._attendant = attendant
        self._gateway = gateway
        self._clock = clock
        self._errands = errands
        self._approval_above = approval_above
        self._patience = patience

    async def draft(self, payment: Payment, wish: RefundWish, *, for_others: bool) -> Refund:
        """Write the wish down; no money moves and none is kept. `for_others`: whoever asks may not approve it himself.

        Raises:
            OtherMode, AlreadyAsked, RefundOfHold, NothingPaid, DisputeForbids, LostToDispute, NothingLeft,
            RefundExceedsBalance.
        """
        self._refuse_other_mode(payment)
        if for_others:
            await self._refuse_another_wish(payment, wish)
        await self._errands.within(self._patience, self._see(payment))
        now, room = self._clock.now(), await self._book.room(payment.id)
        amount = Money(room.left, payment.amount.currency) if wish.amount is None else wish.amount
        refund = Refund(
            id=secrets.token_urlsafe(12),
            payment_id=payment.id,
            shop_id=payment.shop_id,
            source=wish.source,
            amount=amount,
            status=RefundStatus.ASKED if for_others else RefundStatus.DRAFT,
            asked_at=now,
            reason=wish.reason,
            place=wish.place,
            asked_by=wish.user_id,
            expires_at=now + (ASKED_LIFE if for_others else DRAFT_LIFE),
        )
        check = partial(state_machine.drafted, above=self._approval_above)
        return await self._book.draft(refund, check, actor=f"user:{wish.user_id}", now=now)

    async def _refuse_another_wish(self, payment: Payment, wish: RefundWish) -> None:
        """One wish at a time: the admins' chats are not to be filled, and the next one depends on this one's end."""
        now = self._clock.now()
        for other in await self._book.of_payment(payment.id):
            waits = other.status is RefundStatus.ASKED and other.asked_by == wish.user_id and not other.is_late(now)
            if waits and other.source != wish.source:
                raise AlreadyAsked(ref=payment.ref, amount=other.amount)

    async def find(self, refund_id: str) -> Refund | None:
        """By our id."""
        return await self._book.find(refund_id)

    async def of_payment(self, payment_id: str) -> Sequence[Refund]:
        """All of a payment, oldest first, drafts too."""
        return await self._book.of_payment(payment_id)

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
        yes = partial(state_machine.approved, person=user_id, limit=shop.refund_limit, params=params, now=now)
        refund = await self._book.change(refund.id, yes, actor=actor, action="refund approved", now=now, person=user_id)
        return await self._soon(refund, actor)

    async def decline(self, refund: Refund, *, user_id: int) -> Refund:
        """Somebody says no; nothing was kept and nothing goes back.

        Raises:
            RefundDecided: it is too late.
        """
        now = self._clock.now()
        no = state_machine.declined
        return await self._book.change(refund.id, no, actor=f"user:{user_id}", action="refund declined", now=now)

    async def retry(self, refund: Refund, *, user_id: int) -> Refund:
        """Try once more what Stripe refused for want of balance, while it is still approved.

        Raises:
            RefundDecided, RefundExpired: there is nothing to be tried any more.
        """
        now, actor = self._clock.now(), f"user:{user_id}"
        again = partial(state_machine.retried, now=now)
        refund = await self._book.change(refund.id, again, actor=actor, action="refund tried again", now=now)
        return await self._soon(refund, actor)

    async def _see(self, payment: Payment) -> None:
        """A look at what went back: a refund by hand, of which no event came, is not to be made once more."""
        with suppress(GatewayError):  # our key has no right to look, which the look itself has logged
            await self._attendant.look(payment.id)

    def _refuse_other_mode(self, payment: Payment) -> None:
        if payment.livemode != self._gateway.livemode:
            raise OtherMode(ref=payment.ref)

    async def _soon(self, refund: Refund, actor: str) -> Refund:
        """Ask Stripe, but keep nobody waiting: what takes longer goes on by itself, and the card tells."""
        if refund.status is RefundStatus.APPROVED:
            await self._errands.within(self._patience, self._attendant.attend(refund.id, actor=actor))
            return await self._attendant.get(refund.id)
        return refund
