"""Numbers over the whole database, for monitoring."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from storage.schema.payments import payments
from storage.schema.refunds import refunds


def count_payments(tx: sa.Connection) -> dict[tuple[str, str], int]:
    """The number of payments by status and currency."""
    return {(row[0], row[1]): row[2] for row in tx.execute(_PAYMENTS)}


def any_with_error(tx: sa.Connection, troubles: Collection[str]) -> bool:
    """Whether an open payment or refund waits because of one of these errors."""
    for query in (_PAYMENT_WAITS, _REFUND_WAITS):
        if tx.execute(query, {"troubles": list(troubles)}).first() is not None:
            return True
    return False


_PAYMENTS = sa.select(payments.c.status, payments.c.currency, sa.func.count())
_PAYMENTS = _PAYMENTS.group_by(payments.c.status, payments.c.currency)
_TROUBLES: sa.BindParameter[list[str]] = sa.bindparam("troubles", expanding=True)
_PAYMENT_WAITS = sa.select(payments.c.id).where(payments.c.closed_at.is_(None), payments.c.last_error.in_(_TROUBLES))
_REFUND_WAITS = sa.select(refunds.c.id).where(refunds.c.next_check_at.is_not(None), refunds.c.last_error.in_(_TROUBLES))
_PAYMENT_WAITS, _REFUND_WAITS = _PAYMENT_WAITS.limit(1), _REFUND_WAITS.limit(1)
