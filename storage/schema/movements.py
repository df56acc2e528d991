"""The table of money movements; triggers keep it append-only."""

from __future__ import annotations

import sqlalchemy as sa

from storage.schema.payments import payments
from storage.schema.shops import shops
from storage.schema.types import CURRENCY, STRICT, BigInt, IntBool, UtcTimestamp, check_in, metadata, partial_index

movements = sa.Table(
    "movements",
    metadata,
    sa.Column("id", BigInt, primary_key=True, autoincrement=True),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("shop_id", BigInt, sa.ForeignKey(shops.c.id), nullable=False),
    sa.Column("payment_id", sa.Text, sa.ForeignKey(payments.c.id), nullable=False, index=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("stripe_id", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False, index=True),
    sa.Column("amount", BigInt, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("livemode", IntBool, nullable=False),
    sa.Column("at", UtcTimestamp, nullable=False),
    sa.Column("recorded_at", UtcTimestamp, nullable=False),
    sa.Column("credit_note_number", BigInt),
    sa.Column("refunded_before", BigInt),
    check_in("kind", "payment", "capture", "refund", "refund_failed", "dispute", "dispute_won"),
    sa.CheckConstraint(f"currency IN ({CURRENCY})", name="currency_known"),
    sa.CheckConstraint("amount <> 0", name="amount_moves"),
    sa.CheckConstraint("(credit_note_number IS NULL) = (refunded_before IS NULL)", name="credit_note_complete"),
    sa.Index("ix_movements_day", "shop_id", "livemode", "at", "currency", "kind", "amount"),
    sa.Index(
        "uq_movements_credit_note",
        "shop_id",
        "livemode",
        "credit_note_number",
        unique=True,
        **partial_index("credit_note_number IS NOT NULL"),
    ),
    **STRICT,
)
"""One row for each movement of money, with Stripe's time `at`; money out has a negative `amount`.

`key` names the payment, refund or dispute that moved it, `stripe_id` is its id at Stripe. `source` is what
Stripe's balance transaction names: the charge of a payment, else the same as `stripe_id`.
A refund, and one that failed after it had succeeded, has the number of its credit note, and how much of the payment
was refunded before it.
"""

_REFUSE = "the movements are append-only"
APPEND_ONLY = {
    "sqlite": tuple(
        f"CREATE TRIGGER movements_no_{verb.lower()} BEFORE {verb} ON movements{when}"
        f" BEGIN SELECT RAISE(ABORT, '{_REFUSE}'); END"
        for verb, when in (
            ("UPDATE", ""),
            ("DELETE", ""),
            # REPLACE fires no DELETE trigger
            ("INSERT", " WHEN EXISTS (SELECT 1 FROM movements WHERE id = NEW.id OR key = NEW.key)"),
        )
    ),
    "postgresql": (
        "CREATE OR REPLACE FUNCTION movements_append_only() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$BEGIN RAISE EXCEPTION '{_REFUSE}' USING ERRCODE = '23000'; END$$",
        "CREATE TRIGGER movements_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON movements"
        " FOR EACH STATEMENT EXECUTE FUNCTION movements_append_only()",
    ),
}
"""The triggers by dialect."""

for dialect, statements in APPEND_ONLY.items():
    for statement in statements:
        sa.event.listen(movements, "after_create", sa.DDL(statement).execute_if(dialect=dialect))  # type: ignore[no-untyped-call]
