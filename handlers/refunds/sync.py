"""Advances a refund: runs the next Stripe call and applies the response."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from structlog.contextvars import bind_contextvars

from handlers.clock import Clock
from handlers.refunds import state_machine
from handlers.refunds.state_machine import NO_BALANCE, RefundStep
from handlers.runtime.concurrency import KeyedLocks
from handlers.stripe.error_codes import AUTH_ERRORS, INTENT_MISMATCH, PERMISSION_ERROR
from handlers.stripe.gateway import MAX_CALL_DURATION, GatewayError, PaymentGateway
from handlers.stripe.idempotency_keys import refund_key
from storage import payment_queries
from storage.database.database import Database
from storage.models.payment import Payment
from storage.models.refund import Refund, RefundStatus, StripeRefund
from storage.refunds import Decide, RefundRepository
from storage.shops import SYSTEM_ACTOR

log = logging.getLogger(__name__)

MAX_STEPS = 4
APPROVER_LOST_ROLE = "authority_withdrawn"
"""Our own code: the approvers lost their roles before Stripe was called."""

REFUNDED_MEANWHILE = "refunded_meanwhile"
"""Our own code: the refund was approved before a refund made at Stripe was known here."""

UNKNOWN_PAYMENT = "resource_missing"
"""Stripe knows no such payment: the API key is of another account, and what happened under the right one is unknown."""

DISPUTED = "charge_disputed"
"""Stripe's name for it."""


class RefundSync:
    """The only way from a refund to Stripe.

    Every approval is stored first, so `advance` also continues after a crash.
    """

    def __init__(
        self,
        db: Database,
        book: RefundRepository,
        gateway: PaymentGateway,
        clock: Clock,
        *,
        locks: KeyedLocks,
        is_authorized: Callable[[Refund], Awaitable[bool]],
    ) -> None:
        self._refunds = book
        self._db = db
        self._gateway = gateway
        self._clock = clock
        self._locks = locks
        self._is_authorized = is_authorized

    async def get(self, refund_id: str) -> Refund:
        """The stored refund.

        Raises:
            LookupError: there is none with that id.
        """
        refund = await self._db.read(self._refunds.find, refund_id)
        if refund is None:
            raise LookupError("no such refund")
        bind_contextvars(refund=refund.id)
        return refund

    async def advance(self, refund_id: str, *, actor: str, if_due: bool = False) -> Refund:
        """Run the steps that are due at Stripe, until none is or Stripe cannot be reached.

        `if_due`: only if it is still due once the payment's lock is held; another task may have advanced it.
        """
        refund = await self.get(refund_id)
        async with self._locks.lock(refund.payment_id):
            for number in range(MAX_STEPS):
                refund = await self.get(refund_id)
                if if_due and not number and (refund.next_check_at is None or refund.next_check_at > self._clock.now()):
                    break
                step = state_machine.next_step(refund, self._clock.now())
                if step is RefundStep.NOTHING or (step is RefundStep.RETRIEVE and number):
                    break
                if not await self._run_step(step, refund, actor):
                    break
        return await self.get(refund_id)

    async def sync(self, payment_id: str) -> bool:
        """Retrieve all refunds of a payment from Stripe and apply them; False if they could not be retrieved.

        Raises:
            GatewayError: the API key lacks the permission.
        """
        async with self._locks.lock(payment_id):
            payment = await self._payment(payment_id)
            if payment.intent_id is None or payment.livemode != self._gateway.livemode:
                return False
            error = await self._retrieve_if_possible(payment)
        if error is not None and error.code == PERMISSION_ERROR:
            raise error
        return error is None

    async def _run_step(self, step: RefundStep, refund: Refund, actor: str) -> bool:
        """Run one step; False if it has to be tried again later."""
        payment = await self._payment(refund.payment_id)
        ends = step in {RefundStep.EXPIRE, RefundStep.ABANDON}
        if payment.livemode != self._gateway.livemode and not ends:
            log.warning("a refund of %s was made in the other Stripe mode and is not touched", payment.reference)
            return False
        try:
            if ends:
                await self._end(payment, refund)
            elif step is RefundStep.RETRIEVE and refund.status is RefundStatus.EXPIRED:
                error = await self._retrieve_if_possible(payment)
                looked = partial(state_machine.record_sync, unseen=None if error is None else error.code)
                await self._change(refund, looked, "refund_synced", actor)
            elif step is RefundStep.RETRIEVE:
                await self._retrieve(payment)
            elif step is RefundStep.SEARCH:
                await self._search(payment, refund, actor)
            else:
                return await self._create(payment, refund, actor)
        except GatewayError as error:
            log.warning(
                "Stripe could not be asked for a refund of %s (%s): %s", payment.reference, error.code, error.message
            )
            decide = partial(state_machine.record_error, code=error.code)
            await self._change(refund, decide, "stripe_unreachable", actor)
            return False
        return True

    async def _create(self, payment: Payment, refund: Refund, actor: str) -> bool:
        """Send the stored parameters with the stored key.

        A repetition returns the same refund. False if it has to wait.

        Stripe's refunds are retrieved first, so that nothing is refunded on top of a refund made in the Dashboard.
        """
        began = self._clock.now()
        if await self._exists_at_stripe(payment, refund):
            return True
        if not await self._is_authorized(refund):
            return await self._withdraw(payment, refund, APPROVER_LOST_ROLE, "authority withdrawn", began)
        limits, others = (
            await self._db.read(self._refunds.limits, payment.id),
            await self._db.read(self._refunds.for_payment, payment.id),
        )
        if state_machine.is_superseded(refund, limits, others, self._clock.now()):
            why = DISPUTED if limits.lost_to_disputes or limits.blocked_by_dispute else REFUNDED_MEANWHILE
            return await self._withdraw(payment, refund, why, "refund_rejected", began)
        number, sent_before = refund.key_version, refund.last_sent_at
        refund = await self._change(
            refund, partial(state_machine.mark_sent, now=self._clock.now()), "refund_sent", actor
        )
        if refund.key_version != number or refund.status is not RefundStatus.APPROVED:
            return True  # another process has moved on to the next key, or knows how it ended
        try:
            report = await self._gateway.refund(refund.params, key=refund_key(refund))
        except GatewayError as error:
            refused_before = refund.last_error == error.code
            settled = sent_before is None or (refused_before and began - sent_before >= MAX_CALL_DURATION)
            return await self._handle_rejection(payment, refund, error, actor, settled=settled)
        if not state_machine.matches_payment(payment, report):
            raise GatewayError(
                INTENT_MISMATCH, retryable=False, message="Stripe's refund is not the one that was asked for"
            )
        await self._apply_reports(payment, [replace(report, refund_id=refund.id)])
        return True

    async def _handle_rejection(
        self, payment: Payment, refund: Refund, error: GatewayError, actor: str, *, settled: bool
    ) -> bool:
        """Handle a rejection: the refund exists all the same, needs another key, or was not made.

        Unless `settled`, an earlier request may still arrive, so it is sent once more after a while; then False.
        """
        if error.replayed:
            await self._search(payment, refund, actor)
            return True
        if error.retryable or error.code in AUTH_ERRORS or error.code == UNKNOWN_PAYMENT:
            raise error
        if await self._exists_at_stripe(payment, refund):
            return True
        if not settled:
            decide = partial(state_machine.record_error, code=error.code)
            await self._change(refund, decide, "stripe_unreachable", actor)
            await self._db.write(self._refunds.postpone_check, refund.id, now=self._clock.now())
            return False
        log.warning("Stripe rejected a refund of %s (%s): %s", payment.reference, error.code, error.message)
        if error.code in NO_BALANCE:
            now = self._clock.now()
            decide = partial(
                state_machine.mark_insufficient_balance, number=refund.key_version, code=error.code, now=now
            )
            await self._change(refund, decide, "refund_insufficient_balance", actor)
        else:
            await self._refuse(refund, error.code, "refund_rejected", actor)
        return True

    async def _search(self, payment: Payment, refund: Refund, actor: str) -> None:
        """Search Stripe for our refund, for the key is not reliable any more.

        If there is none, send it with a new key.
        """
        if not await self._exists_at_stripe(payment, refund):
            rotate = partial(state_machine.rotate_key, number=refund.key_version)
            await self._change(refund, rotate, "refund_not_found_at_stripe", actor)

    async def _end(self, payment: Payment, refund: Refund) -> None:
        """End a refund whose time is over, unless Stripe has it, which a restored database would not know.

        One that was not approved ends even if Stripe cannot be searched; one that was approved is not reported as
        failed before that. A draft ends without a message, and in the wrong mode Stripe is not searched.
        """
        can_be_seen = refund.status is not RefundStatus.DRAFT and payment.livemode == self._gateway.livemode
        if refund.is_pending_decision:
            error = await self._retrieve_if_possible(payment) if can_be_seen else None
            over = partial(state_machine.expire, now=self._clock.now(), unseen=None if error is None else error.code)
            await self._change(refund, over, "refund_expired", SYSTEM_ACTOR)
            return
        if can_be_seen:
            await self._retrieve(payment)
        why = refund.last_error if refund.last_error in NO_BALANCE else None
        await self._refuse(refund, why or "balance_insufficient", "refund_abandoned", SYSTEM_ACTOR)

    async def _withdraw(self, payment: Payment, refund: Refund, why: str, action: str, began: datetime) -> bool:
        """Withdraw an approved refund. A retrieve that `began` then did not find it, but its request may still arrive.

        False if that has to be waited for: its money stays reserved.
        """
        decide = partial(state_machine.withdraw, number=refund.key_version, code=why, now=began)
        after = await self._change(refund, decide, action, SYSTEM_ACTOR)
        if after.status is RefundStatus.APPROVED:
            log.warning("a refund of %s whose request may still arrive is not sent again: %s", payment.reference, why)
            await self._db.write(self._refunds.postpone_check, refund.id, now=self._clock.now())
            return False
        log.warning("a refund of %s is withdrawn: %s", payment.reference, why)
        return True

    async def _exists_at_stripe(self, payment: Payment, refund: Refund) -> bool:
        await self._retrieve(payment)
        return (await self.get(refund.id)).status is not RefundStatus.APPROVED

    async def _retrieve_if_possible(self, payment: Payment) -> GatewayError | None:
        """Retrieve the refunds; the error if they could not be retrieved."""
        try:
            await self._retrieve(payment)
        except GatewayError as error:
            log.warning(
                "the refunds of %s could not be retrieved (%s): %s", payment.reference, error.code, error.message
            )
            return error
        return None

    async def _retrieve(self, payment: Payment) -> None:
        await self._apply_reports(payment, await self._gateway.list_refunds(payment.intent_id or ""))

    async def _apply_reports(self, payment: Payment, reports: Sequence[StripeRefund]) -> None:
        now = self._clock.now()
        for odd in [report for report in reports if not state_machine.matches_payment(payment, report)]:
            log.critical("the refund %s does not fit %s and is passed over", odd.stripe_id, payment.reference)
        reports = [report for report in reports if state_machine.matches_payment(payment, report)]
        seen, found = (
            partial(state_machine.apply_stripe_refund, now=now),
            partial(state_machine.import_stripe_refund, now=now),
        )
        await self._db.write(
            self._refunds.apply_stripe_refunds, payment.id, reports, known=seen, unknown=found, now=now
        )

    async def _refuse(self, refund: Refund, code: str, action: str, actor: str) -> None:
        decide = partial(state_machine.reject, number=refund.key_version, code=code, now=self._clock.now())
        await self._change(refund, decide, action, actor)

    async def _change(self, refund: Refund, decide: Decide, action: str, actor: str) -> Refund:
        return await self._db.write(
            self._refunds.update, refund.id, decide, actor=actor, action=action, now=self._clock.now()
        )

    async def _payment(self, payment_id: str) -> Payment:
        payment = await self._db.read(payment_queries.by_id, payment_id)
        if payment is None:
            raise LookupError("no such payment")
        bind_contextvars(payment=payment.reference)
        return payment
