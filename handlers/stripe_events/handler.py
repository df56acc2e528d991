"""Handles Stripe's events: an event names the payment to retrieve, and the retrieved state decides."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from random import random

from structlog.contextvars import bind_contextvars

from handlers.backoff import backoff
from handlers.balance.sync import BalanceSync
from handlers.disputes.sync import DisputeSync
from handlers.payments.sync import PaymentSync
from handlers.refunds.sync import RefundSync
from handlers.stripe import event_parsing
from handlers.stripe.error_codes import INTENT_MISMATCH
from handlers.stripe.event_parsing import CUSTOMER_RETURNED, StripeEvent
from handlers.stripe.gateway import GatewayError
from storage import payment_queries
from storage.database.database import Database
from storage.models.job import DeadLetter, Done, Job, Outcome, Retry
from storage.models.payment import Payment, PaymentStatus

log = logging.getLogger(__name__)

LONGEST_PAUSE = 300.0
REFUNDS = ("refund.", "charge.refund")
CHARGE_UPDATED = "charge.updated"
"""Stripe's balance transaction of a charge, with its fee, may exist only from this event on."""

WARNING = "radar.early_fraud_warning."
CONTESTS = ("charge.dispute.", WARNING)
MONEY_EVENTS = frozenset({"payment_intent.succeeded", "payment_intent.amount_capturable_updated"})
"""Events about received money, which may not pass unnoticed even if their intent is unknown."""


class StripeEventHandler:
    """Handles one stored event. Repeated, late or reordered events cost a retrieve and change nothing."""

    def __init__(
        self,
        db: Database,
        sync: PaymentSync,
        refunds: RefundSync,
        disputes: DisputeSync,
        balance: BalanceSync,
        *,
        chance: Callable[[], float] = random,
    ) -> None:
        self._sync = sync
        self._refunds = refunds
        self._disputes = disputes
        self._balance = balance
        self._db = db
        self._chance = chance

    async def handle(self, job: Job) -> Outcome:
        """Retrieve the payment that the event points to; later again if Stripe cannot be reached."""
        if job.kind == CUSTOMER_RETURNED:
            return await self._handle_return(job)
        event = event_parsing.event_of_job(job)
        if event.payout_id is not None:
            seen = await self._balance.sync_payout(event.payout_id)
            return Done() if seen else self._retry("Stripe's payout could not be seen", job)
        payment = await self._db.read(payment_queries.by_intent, event.intent_id) if event.intent_id else None
        if payment is None and event.payment_id:
            payment = await self._db.read(payment_queries.by_id, event.payment_id)
        if (
            event.type in MONEY_EVENTS
            and event.payment_id
            and (payment is None or not payment.matches_intent(event.intent_id))
        ):
            return DeadLetter("money was received on an intent that the database does not have")
        if payment is None:
            log.warning("event %s (%s) is about an unknown intent", event.id, event.type)
            return Done("unknown payment")
        bind_contextvars(payment=payment.reference)
        verdict = await self._handle_payment(payment, event, job)
        if event.type == CHARGE_UPDATED:
            await self._balance.sync_payment(payment.id)
        return verdict

    async def _handle_payment(self, payment: Payment, event: StripeEvent, job: Job) -> Outcome:
        if payment.is_terminal:
            return await self._handle_closed_payment(payment, event, job)
        verdict = await self._look(payment.id, "stripe", event.intent_id, job, _succeeded_at(event))
        if verdict == Done() and _is_refund_or_dispute(event):
            return await self._look_at_money_out(payment, event, job)
        return verdict

    async def _handle_return(self, job: Job) -> Outcome:
        """The customer came back from an attempt: retrieve it, and record that it was not left unseen."""
        verdict = await self._look(job.payload.decode(), "customer", None, job)
        if verdict == Done():
            await self._sync.mark_returned(await self._sync.get(job.payload.decode()))
        return verdict

    async def _look(
        self, payment_id: str, actor: str, intent_id: str | None, job: Job, succeeded_at: datetime | None = None
    ) -> Outcome:
        payment, seen = await self._sync.sync(payment_id, actor=actor, intent_id=intent_id, succeeded_at=succeeded_at)
        if seen:
            return Done()
        if payment.last_error == INTENT_MISMATCH:
            return DeadLetter(f"Stripe's intent does not match {payment.reference}, and nothing was applied")
        return self._retry("Stripe could not be seen", job)

    async def _handle_closed_payment(self, payment: Payment, event: StripeEvent, job: Job) -> Outcome:
        """A closed payment stays closed.

        Its refunds and disputes are retrieved, and unexpected money needs an operator.
        """
        if payment.status is PaymentStatus.SUCCEEDED and _is_refund_or_dispute(event):
            return await self._look_at_money_out(payment, event, job)
        if payment.status is PaymentStatus.CANCELED and event.type == "payment_intent.succeeded":
            return DeadLetter(f"money was received for {payment.reference}, which was closed")
        return Done("payment is closed")

    async def _look_at_money_out(self, payment: Payment, event: StripeEvent, job: Job) -> Outcome:
        """Retrieve refunds, disputes or fraud warnings from their own lists."""
        try:
            if event.type.startswith(CONTESTS):
                seen = await self._disputes.sync(payment.id, warnings=event.type.startswith(WARNING))
            else:
                seen = await self._refunds.sync(payment.id)
        except GatewayError as error:  # it needs an operator
            return DeadLetter(f"the Stripe key lacks the permission to read what {event.type} is about ({error.code})")
        return Done() if seen else self._retry("Stripe's refunds or disputes could not be seen", job)

    def _retry(self, why: str, job: Job) -> Retry:
        delay = backoff(job.attempts, first=2.0, longest=LONGEST_PAUSE, jitter=1.0, chance=self._chance())
        return Retry(why, 1 + delay)


def _succeeded_at(event: StripeEvent) -> datetime | None:
    """Stripe's time of the success that the event reports."""
    if event.type != "payment_intent.succeeded" or event.created is None:
        return None
    return datetime.fromtimestamp(event.created, UTC)


def _is_refund_or_dispute(event: StripeEvent) -> bool:
    return event.type.startswith((*REFUNDS, *CONTESTS))
