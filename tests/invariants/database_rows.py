"""What the database says, read with nothing but sqlite3."""

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
)


@dataclass(frozen=True)
class Book:
    """The rows of each table, in the order in which they were written."""

    payments: list[Row]
    attempts: list[Row]
    cards: list[Row]
    mail: list[Row]
    shops: list[Row]
    members: list[Row]
    chats: list[Row]
    owners: list[Row]
    history: list[Row]
    refunds: list[Row]

    def chats_of(self, shop_id: int, owners: frozenset[int]) -> set[int]:
        """Where a shop's payments may be spoken of: its chats, and the private chats of its people."""
        tied = {row["chat_id"] for row in self.chats if row["shop_id"] == shop_id}
        people = {row["user_id"] for row in self.members if row["shop_id"] == shop_id}
        return tied | people | owners | {row["user_id"] for row in self.owners}

    def currency_of(self, shop_id: int) -> str:
        """The currency of whoever names none."""
        return next(str(row["currency"]) for row in self.shops if row["id"] == shop_id)

    def attempts_of(self, payment_id: str) -> list[Row]:
        """The attempts of a payment, by number."""
        mine = [row for row in self.attempts if row["payment_id"] == payment_id]
        return sorted(mine, key=lambda row: int(row["number"]))

    def history_of(self, payment_id: str) -> list[Row]:
        """What was done to a payment, oldest first."""
        return [row for row in self.history if row["payment_id"] == payment_id]

    def refunds_of(self, payment_id: str) -> list[Row]:
        """The refunds of a payment, drafts too, in the order in which they were written."""
        return [row for row in self.refunds if row["payment_id"] == payment_id]

    def card_of(self, payment_id: str) -> Row:
        """Where the payment's card of record is."""
        return next(row for row in self.cards if row["payment_id"] == payment_id)


def read(path: str) -> Book:
    """Everything that is written there now."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row
        return Book(*([dict(row) for row in db.execute(f"SELECT * FROM {name} ORDER BY rowid")] for name in TABLES))


def time(micros: int) -> datetime:
    """The time that a column means."""
    return EPOCH + timedelta(microseconds=micros)
