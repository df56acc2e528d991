"""What columns are made of: the types that every database compares alike, and the checks that tables share."""

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
"""64 bits on every database: Telegram's ids use 52 of them (STRICT tables of SQLite know INTEGER only)."""


class UtcTimestamp(sa.types.TypeDecorator[datetime]):
    """An aware UTC time, kept as whole microseconds since 1970 so that every database compares it alike."""

    impl = BigInt
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> int | None:
        """Refuse naive times: they would shift by the zone of the machine."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        return (value - EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: int | None, dialect: Any) -> datetime | None:
        """The aware UTC time."""
        return None if value is None else EPOCH + timedelta(microseconds=value)


class IntBool(sa.types.TypeDecorator[bool]):
    """A truth value kept as 0 or 1."""

    impl = sa.Integer
    cache_ok = True

    def process_bind_param(self, value: bool | None, dialect: Any) -> int | None:
        """Only a real truth value is taken."""
        return None if value is None else int(value)

    def process_result_value(self, value: int | None, dialect: Any) -> bool | None:
        """The truth value."""
        return None if value is None else bool(value)


def check_in(column: str, *words: str) -> sa.CheckConstraint:
    listed = ", ".join(f"'{word}'" for word in words)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


def partial_index(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


CURRENCY = "'DKK', 'EUR', 'SEK', 'NOK'"
STRICT: dict[str, Any] = {"sqlite_strict": True}
