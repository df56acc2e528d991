"""Pure decisions whether what Stripe says of a payment is believed: it is the one asked for, and no older news."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from handlers.stripe.gateway import Intent
from storage.models.payment import Payment


class Mismatch(Exception):  # a fact for a human
    """Stripe's intent is not the one this payment asked for; nothing is written."""


def faithful(payment: Payment, intent: Intent) -> None:
    """Refuse an intent whose amount, currency, mode or name is not ours.

    Raises:
        Mismatch: with the fields that differ, without their values.
    """
    ours = (payment.amount.minor, payment.amount.currency, payment.livemode, payment.id)
    theirs = (intent.amount, intent.currency, intent.livemode, intent.metadata.get("kvit_payment"))
    names = ("amount", "currency", "livemode", "kvit_payment")
    wrong = [name for name, mine, said in zip(names, ours, theirs, strict=True) if mine != said]
    if not payment.may_be(intent.id):
        wrong.append("id")
    if intent.received > payment.amount.minor:
        wrong.append("received")
    if wrong:
        raise Mismatch(f"payment {payment.ref}: Stripe's intent differs in {', '.join(wrong)}")


def unless_older(decide: Callable[[Payment], Payment], began: datetime, now: datetime, payment: Payment) -> Payment:
    """What a look makes of the payment, unless one that began later, in whatever process, has changed it before.

    A look that lies ahead of `now` was dated by a clock that was wrong, and says nothing.
    """
    if payment.looked_at is not None and began < payment.looked_at <= now:
        return payment
    after = decide(payment)
    return after if after == payment else replace(after, looked_at=began)
