"""What Stripe's events do: each only says where to look, and Stripe itself says what is true."""

from __future__ import annotations

import logging
from collections.abc import Callable
from random import random

from handlers.disputes.sync import DisputeAttendant
from handlers.payments.sync import Attendant
from handlers.refunds.sync import RefundAttendant
from handlers.stripe import events
from handlers.stripe.error_codes import MISMATCH
from handlers.stripe.events import RETURNED, Event
from handlers.stripe.gateway import GatewayError
from handlers.trace import mark
from storage.models.job import Discard, Done, Mail, Retry, Verdict
from storage.models.payment import Payment, PaymentStatus
from storage.payment_queries import Queries

log = logging.getLogger(__name__)

LONGEST_PAUSE = 300.0
REFUNDS = ("refund.", "charge.refund")
WARNING = "radar.early_fraud_warning."
CONTESTS = ("charge.dispute.", WARNING)
MONEY = frozenset({"payment_intent.succeeded", "payment_intent.amount_capturable_updated"})
"""Events that must not pass without a word, whatever intent they are about."""


class Inbox:
    """The handling of one stored event. Events that come twice, late or out of order cost a look and change nothing."""

    def __init__(
        self,
        attendant: Attendant,
        refunds: RefundAttendant,
        disputes: DisputeAttendant,
        queries: Queries,
        *,
        chance: Callable[[], float] = random,
    ) -> None:
        self._attendant = attendant
        self._refunds = refunds
        self._disputes = disputes
        self._queries = queries
        self._chance = chance

    async def handle(self, mail: Mail) -> Verdict:
        """Look at the payment that the event points to; again later if Stripe cannot be seen."""
        if mail.kind == RETURNED:
            return await self._look(mail.body.decode(), "customer", None, mail)
        event = events.read(mail.body)
        payment = await self._queries.by_intent(event.intent_id) if event.intent_id else None
        if payment is None and event.payment_id:
            payment = await self._queries.payment(event.payment_id)
        if event.type in MONEY and event.payment_id and (payment is None or not payment.may_be(event.intent_id)):
            return Discard("money came on an intent that is not in the book")
        if payment is None:
            log.warning("event %s (%s) is about an intent that is not in the book", event.id, event.type)
            return Done("unknown payment")
        mark(payment=payment.ref)
        if payment.is_final:
            return await self._after_the_end(payment, event, mail)
        verdict = await self._look(payment.id, "stripe", event.intent_id, mail)
        if verdict == Done() and _about_money_out(event):
            return await self._look_at_money_out(payment, event, mail)
        return verdict

    async def _look(self, payment_id: str, actor: str, intent_id: str | None, mail: Mail) -> Verdict:
        payment, seen = await self._attendant.look(payment_id, actor=actor, intent_id=intent_id)
        if seen:
            return Done()
        if payment.trouble == MISMATCH:
            return Discard(f"Stripe's intent does not fit {payment.ref}, and nothing was believed")
        return self._again("Stripe could not be seen", mail)

    async def _after_the_end(self, payment: Payment, event: Event, mail: Mail) -> Verdict:
        """A final state stays; what goes out of it is looked at, and money that came all the same is for a human."""
        if payment.status is PaymentStatus.SUCCEEDED and _about_money_out(event):
            return await self._look_at_money_out(payment, event, mail)
        if payment.status is PaymentStatus.CANCELED and event.type == "payment_intent.succeeded":
            return Discard(f"money came for {payment.ref}, which had ended")
        return Done("final already")

    async def _look_at_money_out(self, payment: Payment, event: Event, mail: Mail) -> Verdict:
        """Refunds, disputes and warnings are looked at by their own lists, whoever caused them."""
        try:
            if event.type.startswith(CONTESTS):
                seen = await self._disputes.look(payment.id, warnings=event.type.startswith(WARNING))
            else:
                seen = await self._refunds.look(payment.id)
        except GatewayError as error:  # it will not pass by itself
            return Discard(f"the Stripe key lacks the right to see what {event.type} is about ({error.code})")
        return Done() if seen else self._again("Stripe's refunds or disputes could not be seen", mail)

    def _again(self, why: str, mail: Mail) -> Retry:
        return Retry(why, 1 + self._chance() * min(LONGEST_PAUSE, 2.0 ** (mail.tries + 1)))


def _about_money_out(event: Event) -> bool:
    return event.type.startswith((*REFUNDS, *CONTESTS))
