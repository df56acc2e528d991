"""Tables of refunds, disputes and fraud warnings."""

from __future__ import annotations

import sqlalchemy as sa

from storage.schema.payments import payments
from storage.schema.shops import shops
from storage.schema.types import CURRENCY, STRICT, BigInt, IntBool, UtcTimestamp, check_in, metadata, partial_index

refunds = sa.Table(
    "refunds",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("payment_id", sa.Text, sa.ForeignKey(payments.c.id), nullable=False, index=True),
    sa.Column("shop_id", BigInt, sa.ForeignKey(shops.c.id), nullable=False),
    sa.Column("request_key", sa.Text, nullable=False, unique=True),
    sa.Column("stripe_id", sa.Text, unique=True),
    sa.Column("amount", BigInt, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("chat_id", BigInt),
    sa.Column("thread_id", BigInt),
    sa.Column("requested_by", BigInt),
    sa.Column("requested_at", UtcTimestamp, nullable=False),
    sa.Column("expires_at", UtcTimestamp),
    sa.Column("refundable_at_request", BigInt, nullable=False),
    sa.Column("approvals_needed", sa.Integer, nullable=False),
    sa.Column("approved_by", BigInt),
    sa.Column("approved_at", UtcTimestamp),
    sa.Column("second_approved_by", BigInt),
    sa.Column("second_approved_at", UtcTimestamp),
    sa.Column("declined_by", BigInt),
    sa.Column("declined_at", UtcTimestamp),
    sa.Column("reserved_at", UtcTimestamp),
    sa.Column("params", sa.Text, nullable=False),
    sa.Column("key_version", sa.Integer, nullable=False),
    sa.Column("first_sent_at", UtcTimestamp),
    sa.Column("last_sent_at", UtcTimestamp),
    sa.Column("pending_reason", sa.Text),
    sa.Column("failure_reason", sa.Text),
    sa.Column("last_error", sa.Text),
    sa.Column("error_count", sa.Integer, nullable=False),
    sa.Column("retry_until", UtcTimestamp),
    sa.Column("next_check_at", UtcTimestamp),
    sa.Column("settled_at", UtcTimestamp),
    sa.Column("refunded_at", UtcTimestamp),
    check_in(
        "status",
        "draft",
        "awaiting_approval",
        "approved",
        "pending",
        "requires_action",
        "succeeded",
        "failed",
        "canceled",
        "rejected",
        "declined",
        "expired",
    ),
    sa.CheckConstraint(f"currency IN ({CURRENCY})", name="currency_known"),
    sa.CheckConstraint("amount > 0", name="amount_sane"),
    sa.CheckConstraint("approvals_needed IN (0, 1, 2)", name="approvals_known"),
    sa.CheckConstraint("second_approved_by IS NULL OR second_approved_by <> approved_by", name="second_is_another"),
    sa.CheckConstraint(
        "reserved_at IS NULL OR approvals_needed = 0 OR (approved_by IS NOT NULL AND"
        " (approvals_needed = 1 OR second_approved_by IS NOT NULL))",
        name="reserved_as_approved",
    ),
    sa.Index("ix_refunds_requested", "shop_id", "requested_by", "requested_at"),
    sa.Index("ix_refunds_chat_id", "chat_id", **partial_index("chat_id IS NOT NULL")),
    sa.Index("ix_refunds_next_check_at", "next_check_at", **partial_index("next_check_at IS NOT NULL")),
    sa.Index(
        "ix_refunds_approved", "shop_id", "approved_by", "reserved_at", **partial_index("reserved_at IS NOT NULL")
    ),
    sa.Index(
        "ix_refunds_second_approved",
        "shop_id",
        "second_approved_by",
        "reserved_at",
        **partial_index("reserved_at IS NOT NULL"),
    ),
    **STRICT,
)
"""Refunds from the draft on. Each becomes at most one refund at Stripe, `stripe_id`.

One made in Stripe's Dashboard has no `requested_by` and needs no approvals.
"""

disputes = sa.Table(
    "disputes",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("payment_id", sa.Text, sa.ForeignKey(payments.c.id), nullable=False, index=True),
    sa.Column("shop_id", BigInt, sa.ForeignKey(shops.c.id), nullable=False),
    sa.Column("amount", BigInt, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("due_by", UtcTimestamp),
    sa.Column("refundable", IntBool, nullable=False),
    sa.Column("withdrawn_at", UtcTimestamp),
    sa.Column("reinstated_at", UtcTimestamp),
    sa.Column("created_at", UtcTimestamp),
    sa.Column("seen_at", UtcTimestamp, nullable=False),
    **STRICT,
)
"""Disputes as Stripe reports them; `due_by` is the deadline for evidence."""

fraud_warnings = sa.Table(
    "fraud_warnings",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("payment_id", sa.Text, sa.ForeignKey(payments.c.id), nullable=False, index=True),
    sa.Column("fraud_type", sa.Text, nullable=False),
    sa.Column("seen_at", UtcTimestamp, nullable=False),
    **STRICT,
)
"""Early fraud warnings of the card networks. The shop is notified once of each."""
