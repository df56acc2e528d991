"""Says to Stripe what has to be said about a refund next, and believes what Stripe answers, one call at a time."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from handlers.clock import Clock
from handlers.refunds import state_machine
from handlers.refunds import state_machine as refund_rivals
from handlers.refunds.state_machine import NO_BALANCE, RefundStep
from handlers.runtime.concurrency import Turns
from handlers.stripe.error_codes import KEY_REFUSED, MISMATCH, NO_RIGHT
from handlers.stripe.gateway import LONGEST_CALL, Gateway, GatewayError
from handlers.trace import mark
from storage.models.payment import Payment
from storage.models.refund import Refund, RefundReport, RefundStatus
from storage.payment_queries import Queries
from storage.refunds import Decide, RefundBook

log = logging.getLogger(__name__)

MOST_STEPS = 4
ROLE_LOST = "authority_withdrawn"
"""Our own code for a refund whose approvers have lost their roles before Stripe was asked."""

MEANWHILE = "refunded_meanwhile"
"""Our own code for a refund that was approved before anybody here knew what went back by hand at Stripe."""

UNKNOWN = "resource_missing"
"""Stripe knows no such payment: the key is of another account, and what was done under the right one is not known."""

DISPUTED = "charge_disputed"
"""As Stripe calls it."""


class RefundAttendant:
    """What was approved is stored before; whoever was cut short, by a crash too, goes on by `attend`."""

    def __init__(
        self,
        book: RefundBook,
        queries: Queries,
        gateway: Gateway,
        clock: Clock,
        *,
        turns: Turns,
        may_still: Callable[[Refund], Awaitable[bool]],
    ) -> None:
        self._book = book
        self._queries = queries
        self._gateway = gateway
        self._clock = clock
        self._turns = turns
        self._may_still = may_still

    async def get(self, refund_id: str) -> Refund:
        """The refund as we know it.

        Raises:
            LookupError: there is none with that id.
        """
        refund = await self._book.find(refund_id)
        if refund is None:
            raise LookupError("no such refund")
        mark(refund=refund.id)
        return refund

    async def attend(self, refund_id: str, *, actor: str, if_due: bool = False) -> Refund:
        """Do what has to be done next at Stripe, and go on until nothing has, or Stripe cannot be reached.

        `if_due`: only if it is still due once the turn has come; another may have attended to it meanwhile.
        """
        refund = await self.get(refund_id)
        async with self._turns.of(refund.payment_id):
            for number in range(MOST_STEPS):
                refund = await self.get(refund_id)
                if if_due and not number and (refund.look_at is None or refund.look_at > self._clock.now()):
                    break
                step = state_machine.next_step(refund, self._clock.now())
                if step is RefundStep.NOTHING or (step is RefundStep.LOOK and number):
                    break
                if not await self._take(step, refund, actor):
                    break
        return await self.get(refund_id)

    async def look(self, payment_id: str) -> bool:
        """Look at all refunds of a payment at Stripe and believe what is seen; False if nothing could be seen.

        Raises:
            GatewayError: our key has no right to see them.
        """
        async with self._turns.of(payment_id):
            payment = await self._payment(payment_id)
            if payment.intent_id is None or payment.livemode != self._gateway.livemode:
                return False
            error = await self._look_if_possible(payment)
        if error is not None and error.code == NO_RIGHT:
            raise error
        return error is None

    async def _take(self, step: RefundStep, refund: Refund, actor: str) -> bool:
        """One step; False if it has to be tried again later."""
        payment = await self._payment(refund.payment_id)
        ends = step in {RefundStep.EXPIRE, RefundStep.GIVE_UP}
        if payment.livemode != self._gateway.livemode and not ends:
            log.warning("a refund of %s is of the other mode (test or live) and is left alone", payment.ref)
            return False
        try:
            if ends:
                await self._end(payment, refund)
            elif step is RefundStep.LOOK and refund.status is RefundStatus.EXPIRED:
                error = await self._look_if_possible(payment)
                looked = partial(state_machine.looked, unseen=None if error is None else error.code)
                await self._change(refund, looked, "refund looked", actor)
            elif step is RefundStep.LOOK:
                await self._look(payment)
            elif step is RefundStep.FIND:
                await self._find(payment, refund, actor)
            else:
                return await self._ask(payment, refund, actor)
        except GatewayError as error:
            log.warning("Stripe could not be asked for a refund of %s (%s): %s", payment.ref, error.code, error.message)
            decide = partial(state_machine.troubled, code=error.code)
            await self._change(refund, decide, "stripe unreachable", actor)
            return False
        return True

    async def _ask(self, payment: Payment, refund: Refund, actor: str) -> bool:
        """Send the stored parameters with the stored key; again is the same refund. False if it has to wait.

        What has gone back is looked at before, for nobody may be refunded on top of what somebody did by hand.
        """
        began = self._clock.now()
        if await self._is_there(payment, refund):
            return True
        if not await self._may_still(refund):
            return await self._drop(payment, refund, ROLE_LOST, "authority withdrawn", began)
        room, others = await self._book.room(payment.id), await self._book.of_payment(payment.id)
        if refund_rivals.overtaken(refund, room, others, self._clock.now()):
            why = DISPUTED if room.lost or room.contested else MEANWHILE
            return await self._drop(payment, refund, why, "refund refused", began)
        number, sent_before = refund.number, refund.last_sent_at
        refund = await self._change(refund, partial(state_machine.sent, now=self._clock.now()), "refund sent", actor)
        if refund.number != number or refund.status is not RefundStatus.APPROVED:
            return True  # another process looked as well, and asks by the next key or has seen how it ended
        try:
            report = await self._gateway.refund(refund.params, key=f"refund:{refund.id}:{refund.number}")
        except GatewayError as error:
            refused_before = refund.trouble == error.code
            settled = sent_before is None or (refused_before and began - sent_before >= LONGEST_CALL)
            return await self._not_made(payment, refund, error, actor, settled=settled)
        if not state_machine.fits(payment, report):
            raise GatewayError(MISMATCH, retryable=False, message="Stripe's refund is not the one that was asked for")
        await self._believe(payment, [replace(report, refund_id=refund.id)])
        return True

    async def _not_made(
        self, payment: Payment, refund: Refund, error: GatewayError, actor: str, *, settled: bool
    ) -> bool:
        """What a refusal means: it exists all the same, has to be asked with another key, or was never made.

        Unless it is `settled` that no try before may still arrive, it is asked once more after a while. False then.
        """
        if error.stored:
            await self._find(payment, refund, actor)
            return True
        if error.retryable or error.code in KEY_REFUSED or error.code == UNKNOWN:
            raise error
        if await self._is_there(payment, refund):
            return True
        if not settled:
            decide = partial(state_machine.troubled, code=error.code)
            await self._change(refund, decide, "stripe unreachable", actor)
            await self._book.put_off(refund.id, now=self._clock.now())
            return False
        log.warning("Stripe refused a refund of %s (%s): %s", payment.ref, error.code, error.message)
        if error.code in NO_BALANCE:
            now = self._clock.now()
            decide = partial(state_machine.short_of_balance, number=refund.number, code=error.code, now=now)
            await self._change(refund, decide, "refund short of balance", actor)
        else:
            await self._refuse(refund, error.code, "refund refused", actor)
        return True

    async def _find(self, payment: Payment, refund: Refund, actor: str) -> None:
        """The key is of no use any more: look for our refund, and ask anew only where there is none."""
        if not await self._is_there(payment, refund):
            anew = partial(state_machine.asked_anew, number=refund.number)
            await self._change(refund, anew, "refund not found at stripe", actor)

    async def _end(self, payment: Payment, refund: Refund) -> None:
        """Its time is over, unless it was made all the same: of that a book that was restored knows nothing.

        What nobody approved ends though Stripe cannot be asked; what was approved is not said to have come to nothing
        before. Nothing is told of a draft, and the other mode shows nothing.
        """
        can_be_seen = refund.status is not RefundStatus.DRAFT and payment.livemode == self._gateway.livemode
        if refund.is_open:
            error = await self._look_if_possible(payment) if can_be_seen else None
            over = partial(state_machine.expired, now=self._clock.now(), unseen=None if error is None else error.code)
            await self._change(refund, over, "refund expired", "kvit")
            return
        if can_be_seen:
            await self._look(payment)
        why = refund.trouble if refund.trouble in NO_BALANCE else None
        await self._refuse(refund, why or "balance_insufficient", "refund given up", "kvit")

    async def _drop(self, payment: Payment, refund: Refund, why: str, action: str, began: datetime) -> bool:
        """What was approved holds no more. A look that `began` then found nothing of it, but it may be on its way.

        False if that has to be waited for: what is kept for it stays kept.
        """
        decide = partial(state_machine.dropped, number=refund.number, code=why, now=began)
        after = await self._change(refund, decide, action, "kvit")
        if after.status is RefundStatus.APPROVED:
            log.warning("a refund of %s that may be on its way is asked for no more: %s", payment.ref, why)
            await self._book.put_off(refund.id, now=self._clock.now())
            return False
        log.warning("a refund of %s is dropped: %s", payment.ref, why)
        return True

    async def _is_there(self, payment: Payment, refund: Refund) -> bool:
        await self._look(payment)
        return (await self.get(refund.id)).status is not RefundStatus.APPROVED

    async def _look_if_possible(self, payment: Payment) -> GatewayError | None:
        """A look; why nothing could be seen."""
        try:
            await self._look(payment)
        except GatewayError as error:
            log.warning("the refunds of %s could not be seen (%s): %s", payment.ref, error.code, error.message)
            return error
        return None

    async def _look(self, payment: Payment) -> None:
        await self._believe(payment, await self._gateway.refunds(payment.intent_id or ""))

    async def _believe(self, payment: Payment, reports: Sequence[RefundReport]) -> None:
        now = self._clock.now()
        for odd in [report for report in reports if not state_machine.fits(payment, report)]:
            log.critical("the refund %s does not fit %s and is passed over", odd.stripe_id, payment.ref)
        reports = [report for report in reports if state_machine.fits(payment, report)]
        seen, found = partial(state_machine.seen, now=now), partial(state_machine.found, now=now)
        await self._book.believe(payment.id, reports, seen=seen, found=found, now=now)

    async def _refuse(self, refund: Refund, code: str, action: str, actor: str) -> None:
        decide = partial(state_machine.refused, number=refund.number, code=code, now=self._clock.now())
        await self._change(refund, decide, action, actor)

    async def _change(self, refund: Refund, decide: Decide, action: str, actor: str) -> Refund:
        return await self._book.change(refund.id, decide, actor=actor, action=action, now=self._clock.now())

    async def _payment(self, payment_id: str) -> Payment:
        payment = await self._queries.payment(payment_id)
        if payment is None:
            raise LookupError("no such payment")
        mark(payment=payment.ref)
        return payment
