"""The rows of the database, read with nothing but sqlite3."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

Row = dict[str, Any]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TABLES = (
    "payments",
    "attempts",
    "payment_messages",
    "jobs",
    "shops",
    "members",
    "shop_chats",
    "owners",
    "audit_log",
    "refunds",
    "movements",
    "disputes",
)


@dataclass(frozen=True)
class DatabaseRows:
    """The rows of each table, in order of insertion."""

    payments: list[Row]
    attempts: list[Row]
    payment_messages: list[Row]
    jobs: list[Row]
    shops: list[Row]
    members: list[Row]
    shop_chats: list[Row]
    owners: list[Row]
    audit_log: list[Row]
    refunds: list[Row]
    movements: list[Row]
    disputes: list[Row]

    def chats_of_shop(self, shop_id: int, owners: frozenset[int]) -> set[int]:
        """The chats that may mention a shop's payments: its chats, and the private chats of its members and owners."""
        linked = {row["chat_id"] for row in self.shop_chats if row["shop_id"] == shop_id}
        members = {row["user_id"] for row in self.members if row["shop_id"] == shop_id}
        return linked | members | owners | {row["user_id"] for row in self.owners}

    def currency_of_shop(self, shop_id: int) -> str:
        """The currency of an amount that is written without one."""
        return next(str(row["currency"]) for row in self.shops if row["id"] == shop_id)

    def attempts_of(self, payment_id: str) -> list[Row]:
        """The attempts of a payment, by number."""
        found = [row for row in self.attempts if row["payment_id"] == payment_id]
        return sorted(found, key=lambda row: int(row["number"]))

    def audit_entries_of(self, payment_id: str) -> list[Row]:
        """The audit entries of a payment, oldest first."""
        return [row for row in self.audit_log if row["payment_id"] == payment_id]

    def refunds_of(self, payment_id: str) -> list[Row]:
        """The refunds of a payment, drafts included, in order of insertion."""
        return [row for row in self.refunds if row["payment_id"] == payment_id]

    def movements_of(self, payment_id: str) -> list[Row]:
        """The movements of a payment's money, in order of insertion."""
        return [row for row in self.movements if row["payment_id"] == payment_id]

    def payment_message_of(self, payment_id: str) -> Row:
        """The row of the payment message."""
        return next(row for row in self.payment_messages if row["payment_id"] == payment_id)


def read(path: str) -> DatabaseRows:
    """Reads all rows as they are now."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row
        tables = ([dict(row) for row in db.execute(f"SELECT * FROM {name} ORDER BY rowid")] for name in TABLES)
        return DatabaseRows(*tables)


def to_datetime(micros: int) -> datetime:
    """The UTC time that a column holds in microseconds."""
    return EPOCH + timedelta(microseconds=micros)
