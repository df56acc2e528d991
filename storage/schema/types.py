"""Column types that compare alike on every database, and checks that several tables share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

BigInt = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""64 bits, for Telegram's ids of up to 52. STRICT tables of SQLite accept only the name INTEGER."""


class UtcTimestamp(sa.types.TypeDecorator[datetime]):
    """An aware UTC time, stored as whole microseconds since 1970."""

    impl = BigInt
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> int | None:
        """Rejects naive times: they would shift by the machine's time zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a time zone")
        return (value - EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: int | None, dialect: Any) -> datetime | None:
        """The aware UTC time."""
        return None if value is None else EPOCH + timedelta(microseconds=value)


class IntBool(sa.types.TypeDecorator[bool]):
    """A boolean, stored as 0 or 1."""

    impl = sa.Integer
    cache_ok = True

    def process_bind_param(self, value: bool | None, dialect: Any) -> int | None:
        """0 or 1."""
        return None if value is None else int(value)

    def process_result_value(self, value: int | None, dialect: Any) -> bool | None:
        """The boolean."""
        return None if value is None else bool(value)


def check_in(column: str, *values: str) -> sa.CheckConstraint:
    """A check that the column holds one of these values."""
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


def partial_index(condition: str) -> dict[str, Any]:
    """The arguments that restrict an index to the rows of a condition."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


CURRENCY = "'DKK', 'EUR', 'SEK', 'NOK'"
STRICT: dict[str, Any] = {"sqlite_strict": True}
