"""Movements of money: recorded in the transaction that changes the payment, never changed, and summed by period."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from storage.models.dispute import Dispute
from storage.models.money import Money
from storage.models.movement import DISPUTED, RECEIVED, REFUNDED, CreditNote, Movement, MovementKind, Totals
from storage.models.payment import Payment
from storage.models.refund import Refund, RefundStatus, StripeRefund
from storage.schema.movements import movements
from storage.schema.shops import shops


@dataclass(frozen=True)
class Period:
    """A period of time, in aware UTC: from `since` on, and before `until`."""

    since: datetime
    until: datetime


def record_payment(tx: sa.Connection, payment: Payment, *, now: datetime) -> None:
    """Record that money was received, by a payment or by the capture of a hold."""
    if payment.succeeded_at is None or not payment.amount_received:
        return
    kind = MovementKind.CAPTURE if payment.manual_capture else MovementKind.PAYMENT
    received = Movement(kind, payment.id, payment.intent_id or "", payment.amount_received, payment.succeeded_at)
    _record(tx, payment, received, now, source=payment.charge_id)


def record_refund(
    tx: sa.Connection, payment: Payment, before: Refund | None, after: Refund, report: StripeRefund, *, now: datetime
) -> None:
    """Record that a refund succeeded, or that one that had succeeded failed and its money came back.

    Either is a document with the next number of the shop's credit notes.

    Where Stripe does not tell when it failed, that is `now`.
    """
    was_refunded = before is not None and before.status is RefundStatus.SUCCEEDED
    is_refunded = after.status is RefundStatus.SUCCEEDED
    if is_refunded and not was_refunded:
        at = report.created_at or now
        out = Movement(MovementKind.REFUND, after.id, report.stripe_id, -after.amount.minor, at)
        _record(tx, payment, out, now)
    if was_refunded and not is_refunded:
        at = report.failed_at or now
        back = Movement(MovementKind.REFUND_FAILED, after.id, report.stripe_id, after.amount.minor, at)
        _record(tx, payment, back, now)


def record_dispute(tx: sa.Connection, payment: Payment, dispute: Dispute, *, now: datetime) -> None:
    """Record that the disputed amount was withdrawn, and that it was reinstated."""
    amount = dispute.amount_of(payment)
    if dispute.withdrawn_at is not None:
        out = Movement(MovementKind.DISPUTE, dispute.id, dispute.id, -amount, dispute.withdrawn_at)
        _record(tx, payment, out, now)
    if dispute.withdrawn_at is not None and dispute.reinstated_at is not None:
        back = Movement(MovementKind.DISPUTE_WON, dispute.id, dispute.id, amount, dispute.reinstated_at)
        _record(tx, payment, back, now)


def of_period(shop_id: int, period: Period, *, livemode: bool) -> sa.ColumnElement[bool]:
    """The condition under which a movement is one of a shop's in a period."""
    return sa.and_(
        movements.c.shop_id == shop_id,
        movements.c.livemode == livemode,
        movements.c.at >= period.since,
        movements.c.at < period.until,
    )


def totals(tx: sa.Connection, shop_id: int, period: Period, *, livemode: bool) -> Sequence[Totals]:
    """What moved in a shop in a period, for each currency in which something did, in alphabetical order."""
    query = sa.select(movements.c.currency, movements.c.kind, sa.func.count(), sa.func.sum(movements.c.amount))
    query = query.where(of_period(shop_id, period, livemode=livemode))
    found: dict[str, dict[MovementKind, tuple[int, int]]] = defaultdict(dict)
    for currency, kind, number, amount in tx.execute(query.group_by(movements.c.currency, movements.c.kind)):
        found[currency][MovementKind(kind)] = (number, int(amount))
    return [_to_totals(currency, found[currency]) for currency in sorted(found)]


def _to_totals(currency: str, by_kind: dict[MovementKind, tuple[int, int]]) -> Totals:
    def amount(kinds: frozenset[MovementKind]) -> int:
        return sum(moved for kind, (_, moved) in by_kind.items() if kind in kinds)

    def number(kind: MovementKind) -> int:
        return by_kind.get(kind, (0, 0))[0]

    return Totals(
        received=Money(amount(RECEIVED), currency),
        payments=sum(number(kind) for kind in RECEIVED),
        refunded=Money(-amount(REFUNDED), currency),
        refunds=number(MovementKind.REFUND),
        disputed=Money(-amount(DISPUTED), currency),
    )


def credit_notes(tx: sa.Connection, payment_id: str) -> Sequence[CreditNote]:
    """The credit notes of a payment's refunds and their cancellations, in the order of their numbers."""
    return [
        CreditNote(
            refund_id=row.key.partition(":")[2],
            number=row.credit_note_number,
            amount=Money(abs(row.amount), row.currency),
            refunded_before=row.refunded_before,
            at=row.at,
            is_cancellation=row.kind == MovementKind.REFUND_FAILED.value,
        )
        for row in tx.execute(_CREDIT_NOTES, {"which": payment_id})
    ]


def _record(
    tx: sa.Connection, payment: Payment, movement: Movement, now: datetime, *, source: str | None = None
) -> None:
    """Add a row, unless it is there: no row is ever changed. A refund, or its failure, gets the next number.

    `source` is what Stripe's balance names, if another id.
    """
    if tx.execute(_KNOWN, {"which": movement.key}).first() is not None:
        return
    row: dict[str, object] = {
        "key": movement.key,
        "shop_id": payment.shop_id,
        "payment_id": payment.id,
        "kind": movement.kind.value,
        "stripe_id": movement.stripe_id,
        "source": source or movement.stripe_id,
        "amount": movement.amount,
        "currency": payment.amount.currency,
        "livemode": payment.livemode,
        "at": movement.at,
        "recorded_at": now,
        "credit_note_number": None,
        "refunded_before": None,
    }
    if movement.kind in REFUNDED:
        numbered = _NEXT_NUMBER if payment.livemode else _NEXT_TEST_NUMBER
        row["credit_note_number"] = tx.execute(numbered, {"shop": payment.shop_id}).scalar_one()
        row["refunded_before"] = _refunded_before(tx, payment.id, movement)
    tx.execute(_NEW, row)


def _refunded_before(tx: sa.Connection, payment_id: str, movement: Movement) -> int:
    """How much of the payment was refunded before this refund, in minor units."""
    if movement.kind is MovementKind.REFUND_FAILED:
        succeeded: int = tx.execute(_KNOWN, {"which": f"{MovementKind.REFUND}:{movement.about}"}).one().refunded_before
        return succeeded
    return -int(tx.execute(_REFUNDED, {"which": payment_id}).scalar_one())


_NEW = movements.insert().inline()
_KNOWN = sa.select(movements.c.refunded_before).where(movements.c.key == sa.bindparam("which"))
_OF_PAYMENT = movements.c.payment_id == sa.bindparam("which")
_REFUNDED = sa.select(sa.func.coalesce(sa.func.sum(movements.c.amount), 0)).where(
    _OF_PAYMENT, movements.c.kind.in_(sorted(REFUNDED))
)
_CREDIT_NOTES = (
    sa.select(movements)
    .where(_OF_PAYMENT, movements.c.credit_note_number.is_not(None))
    .order_by(movements.c.credit_note_number)
)
_NEXT_NUMBER, _NEXT_TEST_NUMBER = (
    shops.update().where(shops.c.id == sa.bindparam("shop")).values({last: last + 1}).returning(last)
    for last in (shops.c.last_credit_note_number, shops.c.last_test_credit_note_number)
)
