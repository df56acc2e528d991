"""Read-only queries for reports and exports: movements of a period with their payments, and sums for bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from storage import balance
from storage.models.balance import Settlement
from storage.models.movement import RECEIVED, MovementKind
from storage.movements import Period, of_period
from storage.schema.balance import balance_transactions
from storage.schema.movements import movements
from storage.schema.payments import payments, receipts
from storage.schema.refunds import refunds

QUARTER_HOUR = timedelta(minutes=15)
"""Time zones differ from UTC by multiples of it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_QUARTER = QUARTER_HOUR // timedelta(microseconds=1)


@dataclass(frozen=True)
class MovementRow:
    """A movement with what is known of its payment. `amount` is in minor units, negative for money out.

    `vat_rate` (hundredths of a percent) is that of the payment's receipt, None while it is not frozen.
    `requested_by` is the Telegram id of the requester of the payment or refund, None if it came from Stripe.
    `received` is what was received with the payment and `refunded_before` what was refunded of it before this refund,
    both in minor units; only a refund or its failure has a credit note.
    `settlement` is None while Stripe has not told its fee.
    """

    id: int
    at: datetime
    kind: MovementKind
    amount: int
    currency: str
    stripe_id: str
    payment_id: str
    ref: str
    text: str
    note: str
    receipt_number: int | None
    requested_by: int | None
    paid_at: datetime | None
    vat_rate: int | None
    received: int
    credit_note_number: int | None
    refunded_before: int | None
    settlement: Settlement | None


@dataclass(frozen=True)
class ReceivedSum:
    """What was received in a currency within a quarter of an hour that begins at `since` (aware UTC)."""

    since: datetime
    currency: str
    amount: int


def list_movements(
    tx: sa.Connection, shop_id: int, period: Period, *, livemode: bool, after: tuple[datetime, int] | None, limit: int
) -> Sequence[MovementRow]:
    """The movements of a shop in a period by time, at most `limit`; `after` is time and id of the last one read."""
    requested_by = sa.case((movements.c.kind.in_(_ABOUT_PAYMENT), payments.c.created_by), else_=refunds.c.requested_by)
    query = (
        sa.select(
            *(movements.c.id, movements.c.at, movements.c.kind, movements.c.amount, movements.c.currency),
            *(movements.c.stripe_id, movements.c.payment_id, payments.c.reference, payments.c.description),
            *(payments.c.note, payments.c.receipt_number, requested_by.label("requested_by")),
            *(payments.c.succeeded_at, receipts.c.vat_rate, payments.c.amount_received),
            *(movements.c.credit_note_number, movements.c.refunded_before, *balance.settlement_columns()),
        )
        .select_from(movements)
        .join(payments, payments.c.id == movements.c.payment_id)
        .outerjoin(receipts, receipts.c.payment_id == movements.c.payment_id)
        .outerjoin(refunds, refunds.c.stripe_id == movements.c.stripe_id)
        .outerjoin(balance_transactions, balance.settles_movement())
        .where(of_period(shop_id, period, livemode=livemode))
        .order_by(movements.c.at, movements.c.id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(sa.tuple_(movements.c.at, movements.c.id) > sa.tuple_(*map(sa.literal, after)))
    found = [(row, balance.to_transaction(row)) for row in tx.execute(query).mappings()]
    settled = balance.settlements(tx, [each for _, each in found if each is not None])
    return [_to_row(row, None if each is None else settled[each.stripe_id]) for row, each in found]


def received_by_quarter(tx: sa.Connection, shop_id: int, period: Period, *, livemode: bool) -> Sequence[ReceivedSum]:
    """What a shop received, by quarter of an hour and currency; quarters without money are left out."""
    quarter = sa.type_coerce(movements.c.at, sa.BigInteger) // _QUARTER
    query = (
        sa.select(quarter, movements.c.currency, sa.func.sum(movements.c.amount))
        .where(of_period(shop_id, period, livemode=livemode), movements.c.kind.in_(sorted(RECEIVED)))
        .group_by(sa.literal_column("1"), movements.c.currency)
        .order_by(sa.literal_column("1"))
    )
    return [ReceivedSum(_EPOCH + number * QUARTER_HOUR, code, int(total)) for number, code, total in tx.execute(query)]


def _to_row(row: sa.RowMapping, settlement: Settlement | None) -> MovementRow:
    return MovementRow(
        id=row["id"],
        at=row["at"],
        kind=MovementKind(row["kind"]),
        amount=row["amount"],
        currency=row["currency"],
        stripe_id=row["stripe_id"],
        payment_id=row["payment_id"],
        ref=row["reference"],
        text=row["description"],
        note=row["note"],
        receipt_number=row["receipt_number"],
        requested_by=row["requested_by"],
        paid_at=row["succeeded_at"],
        vat_rate=row["vat_rate"],
        received=row["amount_received"],
        credit_note_number=row["credit_note_number"],
        refunded_before=row["refunded_before"],
        settlement=settlement,
    )


_ABOUT_PAYMENT = [MovementKind.PAYMENT.value, MovementKind.CAPTURE.value]
