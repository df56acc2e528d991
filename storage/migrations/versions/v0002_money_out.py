"""Money out and the people behind it: refunds, disputes, invitations, receipts, and a history that cannot be rewritten.

Written out as it was on the day; later changes of the house do not change it.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

BigInt = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables and columns; what is there is kept."""
    _shops()
    _invites()
    _payments()
    _refunds()
    _disputes()
    _history()


def _shops() -> None:
    for column in (
        sa.Column("refund_limit_minor", BigInt, nullable=False, server_default="10000000"),
        sa.Column("request_hours", sa.Integer()),
        sa.Column("seller_name", sa.Text(), nullable=False, server_default=""),
        sa.Column("seller_address", sa.Text(), nullable=False, server_default=""),
        sa.Column("seller_number", sa.Text(), nullable=False, server_default=""),
        sa.Column("seller_contact", sa.Text(), nullable=False, server_default=""),
        sa.Column("vat_rate", sa.Integer()),
        sa.Column("receipts", BigInt, nullable=False, server_default="0"),
    ):
        op.add_column("shops", column)
    op.add_column("members", sa.Column("invited_by", BigInt))
    op.add_column("cards", sa.Column("picture_id", BigInt))


def _invites() -> None:
    op.create_table(
        "invites",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("shop_id", BigInt, nullable=False),
        sa.Column("role", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("invited_by", BigInt, nullable=False),
        sa.Column("invited_at", BigInt, nullable=False),
        sa.Column("expires_at", BigInt, nullable=False),
        sa.Column("used_by", BigInt),
        sa.Column("used_at", BigInt),
        sa.CheckConstraint("role IN (1, 2)", name="ck_invites_role_known"),
        sa.CheckConstraint("(used_by IS NULL) = (used_at IS NULL)", name="ck_invites_used_once"),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name="fk_invites_shop_id_shops"),
        sa.PrimaryKeyConstraint("digest", name="pk_invites"),
        sa.UniqueConstraint("source", name="uq_invites_source"),
        sqlite_strict=True,
    )
    op.create_index("ix_invites_shop_id", "invites", ["shop_id"])


def _payments() -> None:
    for column in (
        sa.Column("looked_at", BigInt),
        sa.Column("authorized_at", BigInt),
        sa.Column("capture_before", BigInt),
        sa.Column("capture_by", BigInt),
        sa.Column("capture_number", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("cancel_by", BigInt),
        sa.Column("reminded", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("refunded", BigInt, nullable=False, server_default="0"),
        sa.Column("refunding", BigInt, nullable=False, server_default="0"),
        sa.Column("disputed", sa.Text()),
        sa.Column("receipt_number", BigInt),
    ):
        op.add_column("payments", column)
    op.execute(
        "UPDATE payments SET receipt_number = numbered.number FROM (SELECT id, row_number() OVER"
        " (PARTITION BY shop_id ORDER BY succeeded_at, id) AS number FROM payments WHERE status = 'succeeded')"
        " AS numbered WHERE numbered.id = payments.id"
    )
    op.execute(
        "UPDATE shops SET receipts = (SELECT count(*) FROM payments"
        " WHERE payments.shop_id = shops.id AND payments.receipt_number IS NOT NULL)"
    )
    where = _where("receipt_number IS NOT NULL")
    paid = _where("succeeded_at IS NOT NULL")
    op.create_index("ix_payments_state", "payments", ["status", "currency"])
    op.create_index("ix_payments_paid", "payments", ["shop_id", "succeeded_at"], **paid)
    op.create_index("uq_payments_receipt", "payments", ["shop_id", "receipt_number"], unique=True, **where)


def _refunds() -> None:
    op.create_table(
        "refunds",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("shop_id", BigInt, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("stripe_id", sa.Text()),
        sa.Column("amount", BigInt, nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("chat_id", BigInt),
        sa.Column("thread_id", BigInt),
        sa.Column("asked_by", BigInt),
        sa.Column("asked_at", BigInt, nullable=False),
        sa.Column("expires_at", BigInt),
        sa.Column("refundable_then", BigInt, nullable=False),
        sa.Column("approvals_needed", sa.Integer(), nullable=False),
        sa.Column("approved_by", BigInt),
        sa.Column("approved_at", BigInt),
        sa.Column("second_by", BigInt),
        sa.Column("second_at", BigInt),
        sa.Column("reserved_at", BigInt),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("sent_at", BigInt),
        sa.Column("pending_reason", sa.Text()),
        sa.Column("failure", sa.Text()),
        sa.Column("trouble", sa.Text()),
        sa.Column("trouble_count", sa.Integer(), nullable=False),
        sa.Column("retry_until", BigInt),
        sa.Column("look_at", BigInt),
        sa.Column("settled_at", BigInt),
        sa.CheckConstraint(
            "status IN ('draft', 'asked', 'approved', 'pending', 'requires_action', 'succeeded', 'failed', 'canceled',"
            " 'refused', 'declined', 'expired')",
            name="ck_refunds_status_known",
        ),
        sa.CheckConstraint("currency IN ('DKK', 'EUR', 'SEK', 'NOK')", name="ck_refunds_currency_known"),
        sa.CheckConstraint("amount > 0", name="ck_refunds_amount_sane"),
        sa.CheckConstraint("approvals_needed IN (0, 1, 2)", name="ck_refunds_approvals_known"),
        sa.CheckConstraint("second_by IS NULL OR second_by <> approved_by", name="ck_refunds_second_is_another"),
        sa.CheckConstraint(
            "reserved_at IS NULL OR approvals_needed = 0 OR (approved_by IS NOT NULL AND"
            " (approvals_needed = 1 OR second_by IS NOT NULL))",
            name="ck_refunds_reserved_as_approved",
        ),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name="fk_refunds_payment_id_payments"),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name="fk_refunds_shop_id_shops"),
        sa.PrimaryKeyConstraint("id", name="pk_refunds"),
        sa.UniqueConstraint("source", name="uq_refunds_source"),
        sa.UniqueConstraint("stripe_id", name="uq_refunds_stripe_id"),
        sqlite_strict=True,
    )
    reserved = _where("reserved_at IS NOT NULL")
    op.create_index("ix_refunds_payment_id", "refunds", ["payment_id"])
    op.create_index("ix_refunds_look_at", "refunds", ["look_at"], **_where("look_at IS NOT NULL"))
    op.create_index("ix_refunds_approved", "refunds", ["shop_id", "approved_by", "reserved_at"], **reserved)
    op.create_index("ix_refunds_second", "refunds", ["shop_id", "second_by", "reserved_at"], **reserved)


def _disputes() -> None:
    op.create_table(
        "disputes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("shop_id", BigInt, nullable=False),
        sa.Column("amount", BigInt, nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("due_by", BigInt),
        sa.Column("refundable", sa.Integer(), nullable=False),
        sa.Column("seen_at", BigInt, nullable=False),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name="fk_disputes_payment_id_payments"),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name="fk_disputes_shop_id_shops"),
        sa.PrimaryKeyConstraint("id", name="pk_disputes"),
        sqlite_strict=True,
    )
    op.create_index("ix_disputes_payment_id", "disputes", ["payment_id"])
    op.create_table(
        "fraud_warnings",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("fraud_type", sa.Text(), nullable=False),
        sa.Column("seen_at", BigInt, nullable=False),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name="fk_fraud_warnings_payment_id_payments"),
        sa.PrimaryKeyConstraint("id", name="pk_fraud_warnings"),
        sqlite_strict=True,
    )
    op.create_index("ix_fraud_warnings_payment_id", "fraud_warnings", ["payment_id"])


def _history() -> None:
    """What happened to a shop and not to a payment is remembered too, so the table is rebuilt with a looser column."""
    op.drop_index("ix_history_payment_id", "history")
    op.rename_table("history", "history_before")
    op.create_table(
        "history",
        sa.Column("id", BigInt, nullable=False),
        sa.Column("payment_id", sa.Text()),
        sa.Column("shop_id", BigInt, nullable=False),
        sa.Column("at", BigInt, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name="fk_history_payment_id_payments"),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name="fk_history_shop_id_shops"),
        sa.PrimaryKeyConstraint("id", name="pk_history"),
        sqlite_strict=True,
    )
    op.execute("INSERT INTO history SELECT id, payment_id, shop_id, at, actor, action, detail FROM history_before")
    op.drop_table("history_before")
    op.create_index("ix_history_payment_id", "history", ["payment_id"])
    op.create_index("ix_history_shop", "history", ["shop_id", "id"])
    for verb, when in (
        ("UPDATE", ""),
        ("DELETE", ""),
        ("INSERT", " WHEN EXISTS (SELECT 1 FROM history WHERE id = NEW.id)"),
    ):
        op.execute(
            f"CREATE TRIGGER history_no_{verb.lower()} BEFORE {verb} ON history{when}"
            " BEGIN SELECT RAISE(ABORT, 'the history is only ever added to'); END"
        )


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}
