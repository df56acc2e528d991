"""The tables of Stripe's balance: its transactions, payouts, and what each payout consists of; all append-only."""

from __future__ import annotations

import sqlalchemy as sa

from storage.schema.shops import shops
from storage.schema.types import STRICT, BigInt, IntBool, UtcTimestamp, metadata

balance_transactions = sa.Table(
    "balance_transactions",
    metadata,
    sa.Column("id", BigInt, primary_key=True, autoincrement=True),
    sa.Column("stripe_id", sa.Text, nullable=False),
    sa.Column("shop_id", BigInt, sa.ForeignKey(shops.c.id)),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("source", sa.Text),
    sa.Column("direction", sa.Integer, nullable=False),
    sa.Column("amount", BigInt, nullable=False),
    sa.Column("fee", BigInt, nullable=False),
    sa.Column("tax", BigInt, nullable=False),
    sa.Column("net", BigInt, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("fee_details", sa.Text, nullable=False),
    sa.Column("exchange_rate", sa.Text),
    sa.Column("livemode", IntBool, nullable=False),
    sa.Column("created_at", UtcTimestamp, nullable=False),
    sa.Column("available_on", UtcTimestamp, nullable=False),
    sa.Column("recorded_at", UtcTimestamp, nullable=False),
    sa.CheckConstraint("direction IN (-1, 1)", name="direction_known"),
    sa.Index("ix_balance_transactions_stripe_id_id", "stripe_id", "id"),
    sa.Index("ix_balance_transactions_source_direction", "source", "direction"),
    sa.Index("ix_balance_transactions_day", "shop_id", "livemode", "created_at"),
    **STRICT,
)
"""What Stripe reported of each transaction, one row for each change of it: the newest row of a `stripe_id` counts.

`direction` is the sign of `amount`, `tax` the part of `fee` that is tax. `shop_id` is the only shop there was when the
transaction was first recorded; None where several shops share the Stripe account.
"""

payouts = sa.Table(
    "payouts",
    metadata,
    sa.Column("id", BigInt, primary_key=True, autoincrement=True),
    sa.Column("stripe_id", sa.Text, nullable=False),
    sa.Column("shop_id", BigInt, sa.ForeignKey(shops.c.id)),
    sa.Column("amount", BigInt, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("automatic", IntBool, nullable=False),
    sa.Column("reconciliation", sa.Text, nullable=False),
    sa.Column("livemode", IntBool, nullable=False),
    sa.Column("created_at", UtcTimestamp, nullable=False),
    sa.Column("arrival_on", UtcTimestamp, nullable=False),
    sa.Column("recorded_at", UtcTimestamp, nullable=False),
    sa.Index("ix_payouts_stripe_id_id", "stripe_id", "id"),
    sa.Index("ix_payouts_arrival", "shop_id", "livemode", "arrival_on"),
    **STRICT,
)
"""What Stripe reported of each payout, one row for each change of it, as in `balance_transactions`."""

payout_items = sa.Table(
    "payout_items",
    metadata,
    sa.Column("transaction_id", sa.Text, primary_key=True),
    sa.Column("payout_id", sa.Text, primary_key=True),
    sa.Column("recorded_at", UtcTimestamp, nullable=False),
    **STRICT,
)
"""Which balance transactions were paid out by which payout; both are Stripe's ids."""

_REFUSE = "the records of the Stripe balance are append-only"
_FUNCTION = (
    "CREATE OR REPLACE FUNCTION balance_append_only() RETURNS trigger LANGUAGE plpgsql AS"
    f" $$BEGIN RAISE EXCEPTION '{_REFUSE}' USING ERRCODE = '23000'; END$$"
)

sa.event.listen(
    balance_transactions,
    "after_create",
    sa.DDL(_FUNCTION).execute_if(dialect="postgresql"),  # type: ignore[no-untyped-call]
)
for table in (balance_transactions, payouts, payout_items):
    for verb in ("UPDATE", "DELETE"):
        refuse = f"BEFORE {verb} ON {table.name} BEGIN SELECT RAISE(ABORT, '{_REFUSE}'); END"
        trigger = f"CREATE TRIGGER {table.name}_no_{verb.lower()} {refuse}"
        sa.event.listen(table, "after_create", sa.DDL(trigger).execute_if(dialect="sqlite"))  # type: ignore[no-untyped-call]
    trigger = (
        f"CREATE TRIGGER {table.name}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table.name}"
        " FOR EACH STATEMENT EXECUTE FUNCTION balance_append_only()"
    )
    sa.event.listen(table, "after_create", sa.DDL(trigger).execute_if(dialect="postgresql"))  # type: ignore[no-untyped-call]
