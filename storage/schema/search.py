"""The table by which payments are found by words."""

from __future__ import annotations

import sqlalchemy as sa

from storage.schema.payments import payments
from storage.schema.shops import shops
from storage.schema.types import STRICT, BigInt, UtcTimestamp, metadata

Word = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
"""Compared by code points on both databases, so that the words with one beginning stand together."""

payment_words = sa.Table(
    "payment_words",
    metadata,
    sa.Column("shop_id", BigInt, sa.ForeignKey(shops.c.id), primary_key=True, autoincrement=False),
    sa.Column("word", Word, primary_key=True),
    sa.Column("created_at", UtcTimestamp, primary_key=True, autoincrement=False),
    sa.Column("payment_id", sa.Text, sa.ForeignKey(payments.c.id), primary_key=True, index=True),
    **STRICT,
)
"""The words of a payment's reference, text and note, its amount and its requester; `created_at` is the payment's."""
