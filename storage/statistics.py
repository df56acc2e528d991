"""How much there is of what: numbers over the whole book, for whoever watches the service."""

from __future__ import annotations

import shutil
from collections.abc import Collection

import sqlalchemy as sa

from storage.database.database import Database
from storage.schema.payments import payments
from storage.schema.refunds import refunds


class Statistics:
    """Numbers that cost a walk through an index, so they are asked for once in a while and never by a visitor."""

    def __init__(self, db: Database) -> None:
        self._db = db

    @property
    def is_writable(self) -> bool:
        """Whether the database could be written when that was tried last."""
        return self._db.is_writable

    def disk_free(self) -> int:
        """Bytes that are free where the database is.

        Raises:
            OSError: its folder is not there.
        """
        return shutil.disk_usage(self._db.path.absolute().parent).free

    async def payments(self) -> dict[tuple[str, str], int]:
        """How many payments there are, by state and currency."""
        async with self._db.reading() as tx:
            return {(row[0], row[1]): row[2] for row in await tx.execute(_PAYMENTS)}

    async def any_with_error(self, troubles: Collection[str]) -> bool:
        """Whether a payment or a refund that has not ended waits because of one of these troubles."""
        async with self._db.reading() as tx:
            for query in (_PAYMENT_WAITS, _REFUND_WAITS):
                if (await tx.execute(query, {"troubles": list(troubles)})).first() is not None:
                    return True
        return False


_PAYMENTS = sa.select(payments.c.status, payments.c.currency, sa.func.count())
_PAYMENTS = _PAYMENTS.group_by(payments.c.status, payments.c.currency)
_TROUBLES: sa.BindParameter[list[str]] = sa.bindparam("troubles", expanding=True)
_PAYMENT_WAITS = sa.select(payments.c.id).where(payments.c.closed_at.is_(None), payments.c.last_error.in_(_TROUBLES))
_REFUND_WAITS = sa.select(refunds.c.id).where(refunds.c.next_check_at.is_not(None), refunds.c.last_error.in_(_TROUBLES))
_PAYMENT_WAITS, _REFUND_WAITS = _PAYMENT_WAITS.limit(1), _REFUND_WAITS.limit(1)
