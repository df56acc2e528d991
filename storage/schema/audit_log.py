"""The audit log table; triggers keep it append-only."""

from __future__ import annotations

import sqlalchemy as sa

from storage.schema.payments import payments
from storage.schema.shops import shops
from storage.schema.types import STRICT, BigInt, UtcTimestamp, metadata

audit_log = sa.Table(
    "audit_log",
    metadata,
    sa.Column("id", BigInt, primary_key=True, autoincrement=True),
    sa.Column("payment_id", sa.Text, sa.ForeignKey(payments.c.id), index=True),
    sa.Column("shop_id", BigInt, sa.ForeignKey(shops.c.id), nullable=False),
    sa.Column("at", UtcTimestamp, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Index("ix_audit_log_shop", "shop_id", "id"),
    **STRICT,
)
"""Who did what and when, and what Stripe answered. `actor` is `user:ID`, `customer`, `stripe` or `kvit`."""

for verb, when in (
    ("UPDATE", ""),
    ("DELETE", ""),
    ("INSERT", " WHEN EXISTS (SELECT 1 FROM audit_log WHERE id = NEW.id)"),  # REPLACE fires no DELETE trigger
):
    trigger = (
        f"CREATE TRIGGER audit_log_no_{verb.lower()} BEFORE {verb} ON audit_log{when}"
        " BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
    )
    sa.event.listen(audit_log, "after_create", sa.DDL(trigger).execute_if(dialect="sqlite"))  # type: ignore[no-untyped-call]

APPEND_ONLY = (
    "CREATE OR REPLACE FUNCTION audit_log_append_only() RETURNS trigger LANGUAGE plpgsql AS"
    " $$BEGIN RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = '23000'; END$$",
    "CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log"
    " FOR EACH STATEMENT EXECUTE FUNCTION audit_log_append_only()",
)
"""The same for PostgreSQL, whose INSERT replaces nothing."""

for statement in APPEND_ONLY:
    sa.event.listen(audit_log, "after_create", sa.DDL(statement).execute_if(dialect="postgresql"))  # type: ignore[no-untyped-call]
