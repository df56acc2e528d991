"""Advances a payment: runs the next Stripe call and applies the response."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from structlog.contextvars import bind_contextvars

from handlers.clock import Clock
from handlers.payments import holds, state_machine
from handlers.payments.state_machine import IntentMismatch, Step, Timing, ignore_if_stale, verify_intent
from handlers.runtime.concurrency import KeyedLocks
from handlers.stripe.error_codes import AUTH_ERRORS, CLOCK_DIFFERS, INTENT_MISMATCH
from handlers.stripe.gateway import GatewayError, Intent, IntentStatus, PaymentGateway
from handlers.stripe.idempotency_keys import cancel_key, capture_key, confirm_key, create_key
from storage import payment_queries
from storage.database.database import Database
from storage.models.payment import CancellationReason, Payment, PaymentStatus
from storage.payments import PaymentRepository
from storage.shops import SYSTEM_ACTOR

log = logging.getLogger(__name__)

IsAuthorized = Callable[[Payment], Awaitable[bool]]
OnClockCompared = Callable[[timedelta], None]

MAX_STEPS = 6
CUSTOMER = "customer"
"""The actor of what happens on the pay page."""
MAX_CLOCK_DIFFERENCE = timedelta(minutes=2)
"""By how much our clock may differ from Stripe's for a request to be ended because its time is over."""


class PaymentSync:
    """The only way from a payment to Stripe.

    Every request is stored first, so `advance` also continues after a crash.
    """

    def __init__(
        self,
        db: Database,
        payments: PaymentRepository,
        gateway: PaymentGateway,
        clock: Clock,
        timing: Timing,
        *,
        locks: KeyedLocks,
        is_authorized: IsAuthorized,
        on_clock_compared: OnClockCompared = lambda ahead: None,
    ) -> None:
        """`is_authorized` returns whether the author of the pending request may still make it.

        `on_clock_compared` gets how far our clock is ahead of Stripe's, for each response that has Stripe's time.
        """
        self._payments = payments
        self._db = db
        self._gateway = gateway
        self._clock = clock
        self._timing = timing
        self._locks = locks
        self._is_authorized = is_authorized
        self._on_clock_compared = on_clock_compared

    async def sync(
        self, payment_id: str, *, actor: str, intent_id: str | None = None, succeeded_at: datetime | None = None
    ) -> tuple[Payment, bool]:
        """Retrieve the intent from Stripe and apply it.

        False if it could not be retrieved. `intent_id` and `succeeded_at` are an event's hints.
        """
        async with self._locks.lock(payment_id):
            payment = await self.get(payment_id)
            return await self._look(payment, actor, payment.intent_id or intent_id, succeeded_at)

    async def mark_opened(self, payment: Payment) -> Payment:
        """Record that a customer opened the current attempt's link."""
        decide = partial(state_machine.mark_opened, number=payment.attempt.number, now=self._clock.now())
        return await self.update(payment.id, decide, CUSTOMER, "link_opened")

    async def mark_returned(self, payment: Payment) -> Payment:
        """Record that a customer came back from the current attempt's link."""
        decide = partial(state_machine.mark_returned, number=payment.attempt.number, now=self._clock.now())
        return await self.update(payment.id, decide, CUSTOMER, "customer_returned")

    async def advance(self, payment_id: str, *, actor: str) -> Payment:
        """Run the steps that are due at Stripe, until none is or Stripe cannot be reached."""
        async with self._locks.lock(payment_id):
            payment = await self._expire_if_due(await self.get(payment_id))
            for number in range(MAX_STEPS):
                step = state_machine.next_step(payment, self._clock.now())
                if step is Step.NOTHING or (step is Step.RETRIEVE and number):
                    break
                payment, done = await self._run_step(step, payment, actor)
                if not done:
                    break
            return await self._send_reminder(payment)

    async def get(self, payment_id: str) -> Payment:
        """The stored payment.

        Raises:
            LookupError: there is none with that id.
        """
        payment = await self._db.read(payment_queries.by_id, payment_id)
        if payment is None:
            raise LookupError("no such payment")
        bind_contextvars(payment=payment.reference)
        return payment

    async def was_cause(self, cause: str) -> bool:
        """Whether this button press has started an attempt before."""
        return await self._db.read(payment_queries.attempt_exists_for, cause)

    async def update(
        self,
        payment_id: str,
        decide: Callable[[Payment], Payment],
        actor: str,
        action: str,
        *,
        params: str | None = None,
        **detail: str | None,
    ) -> Payment:
        """Apply a decision in one transaction, now; `detail` goes into the audit log."""
        known = {name: value for name, value in detail.items() if value is not None}
        now = self._clock.now()
        return await self._db.write(
            self._payments.update, payment_id, decide, now=now, actor=actor, action=action, detail=known, params=params
        )

    async def _expire_if_due(self, payment: Payment) -> Payment:
        """Request cancellation if the request's time or attempts are used up."""
        now = self._clock.now()
        if not state_machine.is_expired(payment, now):
            return payment
        if payment.livemode != self._gateway.livemode:
            return payment
        reason = CancellationReason.ATTEMPTS_EXHAUSTED
        if now >= payment.expires_at:
            reason = CancellationReason.EXPIRED
            if error := await self._clock_error():
                return await self._record_error(payment, error, SYSTEM_ACTOR)
        return await self.update(
            payment.id, partial(state_machine.request_cancel, reason=reason), SYSTEM_ACTOR, "expired"
        )

    async def _clock_error(self) -> GatewayError | None:
        """Why our clock alone must not end a request: it differs from Stripe's, or Stripe's time cannot be read now."""
        began = self._clock.now()
        try:
            ahead = self._compare_clock(await self._gateway.server_time(), began)
        except GatewayError as error:
            return error
        if abs(ahead) <= MAX_CLOCK_DIFFERENCE:
            return None
        return GatewayError(CLOCK_DIFFERS, retryable=True, message=f"our clock is {ahead.total_seconds():.0f} s ahead")

    def _compare_clock(self, server_time: datetime | None, began: datetime) -> timedelta:
        """How far our clock is ahead of Stripe's, by the response to a request that began then."""
        if server_time is None:
            return timedelta(0)
        ahead = state_machine.clock_ahead(server_time, began, self._clock.now())
        self._on_clock_compared(ahead)
        return ahead

    async def _send_reminder(self, payment: Payment) -> Payment:
        """Remind the chat that a hold ends soon, once a retrieve has shown that it still exists."""
        remind = partial(holds.advance_reminders, now=self._clock.now())
        is_due = not payment.last_error and remind(payment) != payment
        return await self.update(payment.id, remind, SYSTEM_ACTOR, "hold_expiring") if is_due else payment

    async def _run_step(self, step: Step, payment: Payment, actor: str) -> tuple[Payment, bool]:
        """Run one step and apply its response; False if it has to be tried again later."""
        if payment.livemode != self._gateway.livemode:
            log.warning("payment %s was made in the other Stripe mode and is not touched", payment.reference)
            return await self.update(payment.id, lambda p: p, SYSTEM_ACTOR, "wrong_stripe_mode"), False
        if not await self._is_authorized(payment):
            return await self._withdraw_request(payment, actor)
        try:
            match step:
                case Step.CAPTURE:
                    return await self._capture(payment, actor)
                case Step.CREATE:
                    return await self._create(payment, actor)
                case Step.SEARCH:
                    return await self._search(payment, actor)
                case Step.CONFIRM:
                    return await self._confirm(payment, actor)
                case Step.CANCEL:
                    return await self._cancel(payment, actor)
                case _:
                    return await self._look(payment, actor, payment.intent_id)
        except GatewayError as error:
            return await self._record_error(payment, error, actor), False

    async def _create(self, payment: Payment, actor: str) -> tuple[Payment, bool]:
        """Create and confirm with the stored parameters and key; a repetition returns the same intent."""
        params, began = await self._db.read(payment_queries.create_params, payment.id), self._clock.now()
        try:
            intent = await self._gateway.create(params, key=create_key(payment))
        except GatewayError as error:
            return await self._handle_create_error(payment, error, actor, began)
        return await self._apply_attempt(payment, intent, actor, began)

    async def _handle_create_error(
        self, payment: Payment, error: GatewayError, actor: str, began: datetime
    ) -> tuple[Payment, bool]:
        """Handle a failed create: apply the intent if the error carries it, else search, try again later, or reject."""
        if error.intent is not None:
            return await self._apply_attempt(payment, error.intent, actor, began)
        if error.replayed:
            return await self._search(payment, actor)
        if error.retryable:
            raise error
        if error.code in AUTH_ERRORS:
            search = partial(state_machine.invalidate_key, code=error.code)
            log.error("Stripe rejects the API key (%s): %s", error.code, error.message)
            return await self.update(payment.id, search, actor, "stripe_auth_error", code=error.code), False
        log.error("Stripe rejected payment %s (%s): %s", payment.reference, error.code, error.message)
        decide = partial(state_machine.reject, code=error.code, now=self._clock.now())
        return await self.update(payment.id, decide, actor, "stripe_rejected", code=error.code), True

    async def _search(self, payment: Payment, actor: str) -> tuple[Payment, bool]:
        """Find the payment's intent in Stripe's list, as its key is not reliable any more.

        If there is none, use a new key.
        """
        began = self._clock.now()
        intent = await self._gateway.find_intent(payment.id, since=payment.created_at, until=self._clock.now())
        if intent is not None:
            return await self._apply_intent(payment, intent, actor, "found_at_stripe", began), True
        decide = partial(state_machine.handle_not_found, number=payment.create_key_version, now=self._clock.now())
        return await self.update(payment.id, decide, actor, "not_found_at_stripe"), True

    async def _confirm(self, payment: Payment, actor: str) -> tuple[Payment, bool]:
        """Confirm the stored attempt; an error ends it only where Stripe still needs a payment method."""
        number, intent_id = payment.attempt.number, payment.intent_id or ""
        params, began = await self._db.read(payment_queries.attempt_params, payment.id, number), self._clock.now()
        try:
            intent = await self._gateway.confirm(intent_id, params, key=confirm_key(payment))
        except GatewayError as error:
            if (error.retryable and not error.replayed) or error.code in AUTH_ERRORS:
                raise
            intent = error.intent or await self._gateway.retrieve(intent_id)
            if intent.status is IntentStatus.REQUIRES_PAYMENT_METHOD and not error.replayed:
                log.warning("Stripe rejected attempt %s of %s (%s)", number, payment.reference, error.code)
                lost = partial(state_machine.reject_attempt, number=number, code=error.code)
                await self.update(payment.id, lost, actor, "attempt_rejected", code=error.code)
                return await self._apply_intent(payment, intent, actor, "synced", began), True
        return await self._apply_attempt(payment, intent, actor, began)

    async def _cancel(self, payment: Payment, actor: str) -> tuple[Payment, bool]:
        """Cancel at Stripe; if that is too late, Stripe's state is applied instead."""
        intent_id, began = payment.intent_id or "", self._clock.now()
        if payment.manual_capture and payment.status is not PaymentStatus.AUTHORIZED:
            intent = await self._gateway.retrieve(intent_id)  # do not release a hold that was authorized just in time
            if intent.status is IntentStatus.REQUIRES_CAPTURE:
                return await self._apply_intent(payment, intent, actor, "synced", began), True
        if not await self._db.write(self._payments.mark_request_sent, payment, now=self._clock.now()):
            return await self.get(payment.id), True
        try:
            intent = await self._gateway.cancel(intent_id, key=cancel_key(payment))
        except GatewayError as error:
            if (error.retryable and not error.replayed) or error.code in AUTH_ERRORS:
                raise
            intent = error.intent or await self._gateway.retrieve(intent_id)
            await self.update(payment.id, state_machine.rotate_cancel_key, actor, "cancel_rejected", code=error.code)
        payment = await self._apply_intent(payment, intent, actor, "canceled", began)
        if payment.is_terminal:
            return payment, True
        raise GatewayError("slow", retryable=True, message=f"not canceled, the intent is {intent.status}")

    async def _capture(self, payment: Payment, actor: str) -> tuple[Payment, bool]:
        """Capture the reserved money; if Stripe rejects it, its state is applied and the request is dropped."""
        intent_id, began = payment.intent_id or "", self._clock.now()
        if not await self._db.write(self._payments.mark_request_sent, payment, now=began):
            return await self.get(payment.id), True
        try:
            intent = await self._gateway.capture(intent_id, key=capture_key(payment))
        except GatewayError as error:
            if (error.retryable and not error.replayed) or error.code in AUTH_ERRORS:
                raise
            intent = error.intent or await self._gateway.retrieve(intent_id)
            if intent.status is IntentStatus.REQUIRES_CAPTURE:
                await self.update(payment.id, holds.reject_capture, actor, "capture_rejected", code=error.code)
        return await self._apply_intent(payment, intent, actor, "captured", began), True

    async def _look(
        self, payment: Payment, actor: str, intent_id: str | None, succeeded_at: datetime | None = None
    ) -> tuple[Payment, bool]:
        """Retrieve the intent and apply it. `succeeded_at` is an event's time, for a payment that succeeded."""
        if intent_id is None:
            return payment, False
        began = self._clock.now()
        try:
            intent = await self._gateway.retrieve(intent_id)
            intent = replace(intent, succeeded_at=intent.succeeded_at or succeeded_at)
            return await self._apply_intent(payment, intent, actor, "synced", began), True
        except GatewayError as error:
            return await self._record_error(payment, error, actor), False

    async def _apply_attempt(
        self, payment: Payment, intent: Intent, actor: str, began: datetime
    ) -> tuple[Payment, bool]:
        """Apply Stripe's response to the current attempt."""
        decide = partial(
            state_machine.apply_attempt_response,
            number=payment.attempt.number,
            intent=intent,
            now=self._clock.now(),
            timing=self._timing,
            ahead=self._compare_clock(intent.server_time, began),
        )
        return await self._apply(payment, intent, decide, actor, "attempt_started", began), True

    async def _apply_intent(
        self, payment: Payment, intent: Intent, actor: str, action: str, began: datetime
    ) -> Payment:
        decide = partial(
            state_machine.apply_intent,
            intent=intent,
            now=self._clock.now(),
            timing=self._timing,
            ahead=self._compare_clock(intent.server_time, began),
        )
        return await self._apply(payment, intent, decide, actor, action, began)

    async def _apply(
        self,
        payment: Payment,
        intent: Intent,
        decide: Callable[[Payment], Payment],
        actor: str,
        action: str,
        began: datetime,
    ) -> Payment:
        """Apply what a retrieve that began then returned, unless the intent does not match the payment."""

        def applied(newest: Payment) -> Payment:
            verify_intent(newest, intent)
            return ignore_if_stale(decide, began, self._clock.now(), newest)

        detail = {"stripe": intent.status.value, "code": intent.decline_code or intent.error_code}
        try:
            return await self.update(payment.id, applied, actor, action, **detail)
        except IntentMismatch as mismatch:
            log.critical("the intent is not applied: %s", mismatch)
            raise GatewayError(INTENT_MISMATCH, retryable=False, message=str(mismatch)) from mismatch

    async def _record_error(self, payment: Payment, error: GatewayError, actor: str) -> Payment:
        """Record that Stripe could not be reached; the next try comes later each time."""
        log.warning("Stripe could not be called for %s (%s): %s", payment.reference, error.code, error.message)
        decide = partial(state_machine.record_error, code=error.code)
        return await self.update(payment.id, decide, actor, "stripe_unreachable", code=error.code)

    async def _withdraw_request(self, payment: Payment, actor: str) -> tuple[Payment, bool]:
        """Drop the request of a person who lost the role for it, unless its call may still reach Stripe."""
        began = self._clock.now()
        if payment.intent_id is not None:
            payment, seen = await self._look(payment, actor, payment.intent_id)
            if not seen or payment.is_terminal:
                return payment, seen
        log.warning("the request about %s is withdrawn: its author lost the permission", payment.reference)
        withdraw = partial(holds.withdraw_request, now=began)
        payment = await self.update(payment.id, withdraw, SYSTEM_ACTOR, "request_withdrawn")
        if payment.is_terminal or (payment.capture_requested_by is None and payment.cancel_requested_by is None):
            return payment, True
        await self._db.write(
            self._payments.postpone_check, payment.id, now=self._clock.now()
        )  # its call may still arrive
        return payment, False
