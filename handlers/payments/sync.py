"""Says to Stripe what has to be said about a payment next, and believes what Stripe answers, one call at a time."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial

from handlers.clock import Clock
from handlers.payments import holds, state_machine
from handlers.payments.state_machine import Mismatch, Step, Times, faithful, unless_older
from handlers.runtime.concurrency import Turns
from handlers.stripe.error_codes import KEY_REFUSED, MISMATCH
from handlers.stripe.gateway import Gateway, GatewayError, Intent, IntentStatus
from handlers.trace import mark
from storage.models.payment import CancelReason, Payment, PaymentStatus
from storage.payment_queries import Queries
from storage.payments import Ledger

log = logging.getLogger(__name__)

MayStill = Callable[[Payment], Awaitable[bool]]

MOST_STEPS = 6


class Attendant:
    """What was wanted is stored before; so whoever was cut short, by a crash too, goes on by `attend`."""

    def __init__(
        self,
        ledger: Ledger,
        queries: Queries,
        gateway: Gateway,
        clock: Clock,
        times: Times,
        *,
        turns: Turns,
        may_still: MayStill,
    ) -> None:
        """`may_still` says whether whoever wants money taken, or a request ended, may want that now."""
        self._ledger = ledger
        self._queries = queries
        self._gateway = gateway
        self._clock = clock
        self._times = times
        self._turns = turns
        self._may_still = may_still

    async def look(self, payment_id: str, *, actor: str, intent_id: str | None = None) -> tuple[Payment, bool]:
        """Look at Stripe now; False if it could not be seen. `intent_id` is a hint from an event."""
        async with self._turns.of(payment_id):
            payment = await self.get(payment_id)
            return await self._look(payment, actor, payment.intent_id or intent_id)

    async def attend(self, payment_id: str, *, actor: str) -> Payment:
        """Do what has to be done next at Stripe, and go on until nothing has, or Stripe cannot be reached."""
        async with self._turns.of(payment_id):
            payment = await self._by_the_clock(await self.get(payment_id))
            for number in range(MOST_STEPS):
                step = state_machine.next_step(payment, self._clock.now())
                if step is Step.NOTHING or (step is Step.LOOK and number):
                    break
                payment, done = await self._take(step, payment, actor)
                if not done:
                    break
            return await self._reminded(payment)

    async def get(self, payment_id: str) -> Payment:
        """The payment as we know it.

        Raises:
            LookupError: there is none with that id.
        """
        payment = await self._queries.payment(payment_id)
        if payment is None:
            raise LookupError("no such payment")
        mark(payment=payment.ref)
        return payment

    async def was_cause(self, cause: str) -> bool:
        """Whether a tap has begun an attempt before."""
        return await self._queries.was_cause(cause)

    async def change(
        self,
        payment_id: str,
        decide: Callable[[Payment], Payment],
        actor: str,
        action: str,
        *,
        params: str | None = None,
        **detail: str | None,
    ) -> Payment:
        """One transaction of the ledger, at the time it is; `detail` goes into the history."""
        known = {name: value for name, value in detail.items() if value is not None}
        now = self._clock.now()
        return await self._ledger.change(
            payment_id, decide, now=now, actor=actor, action=action, detail=known, params=params
        )

    async def _by_the_clock(self, payment: Payment) -> Payment:
        """What the time alone asks for: the end of a request whose time or tries are over."""
        now = self._clock.now()
        if not state_machine.is_past_its_time(payment, now):
            return payment
        reason = CancelReason.ENDED if now >= payment.expires_at else CancelReason.ATTEMPTS_USED
        return await self.change(payment.id, partial(state_machine.cancel_asked, reason=reason), "kvit", "time is over")

    async def _reminded(self, payment: Payment) -> Payment:
        """Have the chat reminded that a hold ends soon, once a look has shown that it still stands."""
        remind = partial(holds.reminded, now=self._clock.now())
        is_due = not payment.trouble and remind(payment) != payment
        return await self.change(payment.id, remind, "kvit", "hold ends soon") if is_due else payment

    async def _take(self, step: Step, payment: Payment, actor: str) -> tuple[Payment, bool]:
        """One call to Stripe and what it makes of the payment; False if it has to be tried again later."""
        if payment.livemode != self._gateway.livemode:
            log.warning("payment %s is of the other mode (test or live) and is left alone", payment.ref)
            return await self.change(payment.id, lambda p: p, "kvit", "other mode"), False
        if not await self._may_still(payment):
            return await self._no_more(payment, actor)
        try:
            match step:
                case Step.CAPTURE:
                    return await self._capture(payment, actor)
                case Step.MAKE:
                    return await self._make(payment, actor)
                case Step.FIND:
                    return await self._find(payment, actor)
                case Step.CONFIRM:
                    return await self._confirm(payment, actor)
                case Step.CANCEL:
                    return await self._cancel(payment, actor)
                case _:
                    return await self._look(payment, actor, payment.intent_id)
        except GatewayError as error:
            return await self._trouble(payment, error, actor), False

    async def _make(self, payment: Payment, actor: str) -> tuple[Payment, bool]:
        """Create and confirm with the stored parameters and key; again is the same intent."""
        params, began = await self._queries.create_params(payment.id), self._clock.now()
        try:
            intent = await self._gateway.create(params, key=f"create:{payment.id}:{payment.create_number}")
        except GatewayError as error:
            return await self._not_made(payment, error, actor, began)
        return await self._answered(payment, intent, actor, began)

    async def _not_made(
        self, payment: Payment, error: GatewayError, actor: str, began: datetime
    ) -> tuple[Payment, bool]:
        """What a failed create means: it exists all the same, is to be looked for, waits, or never was."""
        if error.intent is not None:
            return await self._answered(payment, error.intent, actor, began)
        if error.stored:
            return await self._find(payment, actor)
        if error.retryable:
            raise error
        if error.code in KEY_REFUSED:
            search = partial(state_machine.key_refused, code=error.code)
            log.error("Stripe refuses the key (%s): %s", error.code, error.message)
            return await self.change(payment.id, search, actor, "stripe refuses the key", code=error.code), False
        log.error("Stripe refused to make payment %s (%s): %s", payment.ref, error.code, error.message)
        decide = partial(state_machine.refused, code=error.code, now=self._clock.now())
        return await self.change(payment.id, decide, actor, "stripe refused", code=error.code), True

    async def _find(self, payment: Payment, actor: str) -> tuple[Payment, bool]:
        """The key is of no use: search by list for an intent of ours; what does not exist is asked for anew."""
        began = self._clock.now()
        intent = await self._gateway.find(payment.id, since=payment.created_at, until=self._clock.now())
        if intent is not None:
            return await self._observe(payment, intent, actor, "found at stripe", began), True
        decide = partial(state_machine.not_found, number=payment.create_number, now=self._clock.now())
        return await self.change(payment.id, decide, actor, "not found at stripe"), True

    async def _confirm(self, payment: Payment, actor: str) -> tuple[Payment, bool]:
        """Begin the stored attempt; a refusal ends it only where Stripe says that it still wants one."""
        number, intent_id = payment.attempt.number, payment.intent_id or ""
        params, began = await self._queries.attempt_params(payment.id, number), self._clock.now()
        try:
            intent = await self._gateway.confirm(intent_id, params, key=_confirm_key(payment))
        except GatewayError as error:
            if (error.retryable and not error.stored) or error.code in KEY_REFUSED:
                raise
            intent = error.intent or await self._gateway.retrieve(intent_id)
            if intent.status is IntentStatus.REQUIRES_PAYMENT_METHOD and not error.stored:
                log.warning("Stripe refused attempt %s of %s (%s)", number, payment.ref, error.code)
                lost = partial(state_machine.attempt_refused, number=number, code=error.code)
                await self.change(payment.id, lost, actor, "attempt refused", code=error.code)
                return await self._observe(payment, intent, actor, "looked", began), True
        return await self._answered(payment, intent, actor, began)

    async def _cancel(self, payment: Payment, actor: str) -> tuple[Payment, bool]:
        """Cancel at Stripe; too late is no error, for what Stripe says instead is the truth."""
        intent_id, began = payment.intent_id or "", self._clock.now()
        if payment.manual_capture and payment.status is not PaymentStatus.AUTHORIZED:
            intent = await self._gateway.retrieve(intent_id)  # nobody wants a hold let go that came just in time
            if intent.status is IntentStatus.REQUIRES_CAPTURE:
                return await self._observe(payment, intent, actor, "looked", began), True
        if not await self._ledger.send_wish(payment, now=self._clock.now()):
            return await self.get(payment.id), True
        try:
            intent = await self._gateway.cancel(intent_id, key=f"cancel:{payment.id}:{payment.cancel_number}")
        except GatewayError as error:
            if (error.retryable and not error.stored) or error.code in KEY_REFUSED:
                raise
            intent = error.intent or await self._gateway.retrieve(intent_id)
            await self.change(payment.id, state_machine.cancel_again, actor, "cancel refused", code=error.code)
        payment = await self._observe(payment, intent, actor, "canceled", began)
        if payment.is_final:
            return payment, True
        raise GatewayError("slow", retryable=True, message=f"not canceled, the intent is {intent.status}")

    async def _capture(self, payment: Payment, actor: str) -> tuple[Payment, bool]:
        """Take what is reserved; where Stripe says no, what it says instead is the truth, and the wish is dropped."""
        intent_id, began = payment.intent_id or "", self._clock.now()
        if not await self._ledger.send_wish(payment, now=began):
            return await self.get(payment.id), True
        try:
            intent = await self._gateway.capture(intent_id, key=f"capture:{payment.id}:{payment.capture_number}")
        except GatewayError as error:
            if (error.retryable and not error.stored) or error.code in KEY_REFUSED:
                raise
            intent = error.intent or await self._gateway.retrieve(intent_id)
            if intent.status is IntentStatus.REQUIRES_CAPTURE:
                await self.change(payment.id, holds.capture_refused, actor, "capture refused", code=error.code)
        return await self._observe(payment, intent, actor, "captured", began), True

    async def _look(self, payment: Payment, actor: str, intent_id: str | None) -> tuple[Payment, bool]:
        """Retrieve the intent and believe it."""
        if intent_id is None:
            return payment, False
        began = self._clock.now()
        try:
            intent = await self._gateway.retrieve(intent_id)
            return await self._observe(payment, intent, actor, "looked", began), True
        except GatewayError as error:
            return await self._trouble(payment, error, actor), False

    async def _answered(self, payment: Payment, intent: Intent, actor: str, began: datetime) -> tuple[Payment, bool]:
        """Stripe's answer to the attempt in hand."""
        number, times = payment.attempt.number, self._times
        decide = partial(
            state_machine.attempt_answered, number=number, intent=intent, now=self._clock.now(), times=times
        )
        return await self._believe(payment, intent, decide, actor, "attempt begun", began), True

    async def _observe(self, payment: Payment, intent: Intent, actor: str, action: str, began: datetime) -> Payment:
        decide = partial(state_machine.observe, intent=intent, now=self._clock.now(), times=self._times)
        return await self._believe(payment, intent, decide, actor, action, began)

    async def _believe(
        self,
        payment: Payment,
        intent: Intent,
        decide: Callable[[Payment], Payment],
        actor: str,
        action: str,
        began: datetime,
    ) -> Payment:
        """Write what a look that `began` then has seen, unless the intent is not the one that the book wants by now."""

        def believed(newest: Payment) -> Payment:
            faithful(newest, intent)
            return unless_older(decide, began, self._clock.now(), newest)

        detail = {"stripe": intent.status.value, "code": intent.decline_code or intent.error_code}
        try:
            return await self.change(payment.id, believed, actor, action, **detail)
        except Mismatch as mismatch:
            log.critical("nothing is believed: %s", mismatch)
            raise GatewayError(MISMATCH, retryable=False, message=str(mismatch)) from mismatch

    async def _trouble(self, payment: Payment, error: GatewayError, actor: str) -> Payment:
        """Remember that Stripe could not be asked, so that it is tried again later, and later each time."""
        log.warning("Stripe could not be asked about %s (%s): %s", payment.ref, error.code, error.message)
        decide = partial(state_machine.troubled, code=error.code)
        return await self.change(payment.id, decide, actor, "stripe unreachable", code=error.code)

    async def _no_more(self, payment: Payment, actor: str) -> tuple[Payment, bool]:
        """Drop the wish of somebody who lost his role meanwhile, unless Stripe carries it out unheard."""
        began = self._clock.now()
        if payment.intent_id is not None:
            payment, seen = await self._look(payment, actor, payment.intent_id)
            if not seen or payment.is_final:
                return payment, seen
        log.warning("what was asked about %s is dropped: who asked has no right to it any more", payment.ref)
        withdraw = partial(holds.wish_withdrawn, now=began)
        payment = await self.change(payment.id, withdraw, "kvit", "wish withdrawn")
        if payment.is_final or (payment.capture_by is None and payment.cancel_by is None):
            return payment, True
        await self._ledger.put_off(payment.id, now=self._clock.now())  # it may still be on its way
        return payment, False


def _confirm_key(payment: Payment) -> str:
    """The key of an attempt: in a book that was restored, another attempt may have the number of a lost one."""
    asked_at = round(payment.attempt.asked_at.timestamp() * 1000)
    return f"confirm:{payment.id}:{asked_at}:{payment.attempt.number}"
