"""What Stripe's events do: each only says where to look, and Stripe itself says what is true."""

from __future__ import annotations

import logging
from collections.abc import Callable
from random import random

from handlers import stripe_event
from handlers.attendant import Attendant
from handlers.pages import RETURNED
from handlers.reasons import MISMATCH
from handlers.stripe_event import Event
from handlers.trace import trace
from storage.mail import Discard, Done, Mail, Retry, Verdict
from storage.payment import Payment, PaymentStatus
from storage.queries import Queries

log = logging.getLogger(__name__)

LONGEST_PAUSE = 300.0
MONEY = frozenset({"payment_intent.succeeded", "payment_intent.amount_capturable_updated"})
"""Events that must not pass without a word, whatever intent they are about."""


class Inbox:
    """The handling of one stored event. Events that come twice, late or out of order cost a look and change nothing."""

    def __init__(self, attendant: Attendant, queries: Queries, *, chance: Callable[[], float] = random) -> None:
        self._attendant = attendant
        self._queries = queries
        self._chance = chance

    async def handle(self, mail: Mail) -> Verdict:
        """Look at the payment that the event points to; again later if Stripe cannot be seen."""
        if mail.kind == RETURNED:
            return await self._look(mail.body.decode(), "customer", None, mail)
        event = stripe_event.read(mail.body)
        payment = await self._queries.by_intent(event.intent_id) if event.intent_id else None
        if payment is None and event.payment_id:
            payment = await self._queries.payment(event.payment_id)
        if event.type in MONEY and event.payment_id and (payment is None or not payment.may_be(event.intent_id)):
            return Discard("money came on an intent that is not in the book")
        if payment is None:
            log.warning("event %s (%s) is about an intent that is not in the book", event.id, event.type)
            return Done("unknown payment")
        with trace(payment=payment.ref):
            if payment.is_final:
                return self._after_the_end(payment, event)
            return await self._look(payment.id, "stripe", event.intent_id, mail)

    async def _look(self, payment_id: str, actor: str, intent_id: str | None, mail: Mail) -> Verdict:
        payment, seen = await self._attendant.look(payment_id, actor=actor, intent_id=intent_id)
        if seen:
            return Done()
        if payment.trouble == MISMATCH:
            return Discard(f"Stripe's intent does not fit {payment.ref}, and nothing was believed")
        return Retry("Stripe could not be seen", 1 + self._chance() * min(LONGEST_PAUSE, 2.0 ** (mail.tries + 1)))

    def _after_the_end(self, payment: Payment, event: Event) -> Verdict:
        """A final state stays; that money came all the same is for a human to know."""
        if payment.status is PaymentStatus.CANCELED and event.type == "payment_intent.succeeded":
            return Discard(f"money came for {payment.ref}, which had ended")
        return Done("final already")
