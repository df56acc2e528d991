"""Tables of payments, their attempts, and their messages in chats."""

from __future__ import annotations

import sqlalchemy as sa

from storage.models.money import MAX_AMOUNT
from storage.schema.shops import shops
from storage.schema.types import CURRENCY, STRICT, BigInt, IntBool, UtcTimestamp, check_in, metadata, partial_index

payments = sa.Table(
    "payments",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("shop_id", BigInt, sa.ForeignKey(shops.c.id), nullable=False),
    sa.Column("reference", sa.Text, nullable=False),
    sa.Column("page_token", sa.Text, nullable=False),
    sa.Column("token_hash", sa.Text, nullable=False, unique=True),
    sa.Column("chat_id", BigInt, nullable=False),
    sa.Column("thread_id", BigInt),
    sa.Column("inline_message_id", sa.Text),
    sa.Column("request_key", sa.Text, nullable=False, unique=True),
    sa.Column("created_by", BigInt, nullable=False),
    sa.Column("amount", BigInt, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("manual_capture", IntBool, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("livemode", IntBool, nullable=False),
    sa.Column("version", BigInt, nullable=False),
    sa.Column("attempt_number", sa.Integer, nullable=False),
    sa.Column("create_key_version", sa.Integer, nullable=False),
    sa.Column("create_params", sa.Text, nullable=False),
    sa.Column("intent_id", sa.Text, unique=True),
    sa.Column("amount_received", BigInt, nullable=False),
    sa.Column("cancel_requested", sa.Text),
    sa.Column("cancel_key_version", sa.Integer, nullable=False),
    sa.Column("cancellation_reason", sa.Text),
    sa.Column("last_error", sa.Text),
    sa.Column("error_count", sa.Integer, nullable=False),
    sa.Column("created_at", UtcTimestamp, nullable=False),
    sa.Column("expires_at", UtcTimestamp, nullable=False),
    sa.Column("next_check_at", UtcTimestamp),
    sa.Column("succeeded_at", UtcTimestamp),
    sa.Column("closed_at", UtcTimestamp),
    sa.Column("synced_at", UtcTimestamp),
    sa.Column("authorized_at", UtcTimestamp),
    sa.Column("capture_before", UtcTimestamp),
    sa.Column("capture_requested_by", BigInt),
    sa.Column("capture_key_version", sa.Integer, nullable=False, server_default="1"),
    sa.Column("cancel_requested_by", BigInt),
    sa.Column("request_sent_at", UtcTimestamp),
    sa.Column("reminders_sent", sa.Integer, nullable=False, server_default="0"),
    sa.Column("amount_refunded", BigInt, nullable=False, server_default="0"),
    sa.Column("amount_refund_pending", BigInt, nullable=False, server_default="0"),
    sa.Column("dispute_status", sa.Text),
    sa.Column("receipt_number", BigInt),
    sa.UniqueConstraint("shop_id", "reference"),
    check_in("status", "created", "open", "processing", "authorized", "succeeded", "canceled"),
    sa.CheckConstraint(f"currency IN ({CURRENCY})", name="currency_known"),
    sa.CheckConstraint(f"amount > 0 AND amount <= {MAX_AMOUNT}", name="amount_sane"),
    sa.CheckConstraint("amount_received >= 0 AND amount_received <= amount", name="received_sane"),
    sa.CheckConstraint("(status = 'succeeded') = (succeeded_at IS NOT NULL)", name="succeeded_has_time"),
    sa.CheckConstraint("(status = 'canceled') = (cancellation_reason IS NOT NULL)", name="canceled_has_reason"),
    sa.CheckConstraint("attempt_number BETWEEN 1 AND 8", name="attempt_number_bounded"),
    sa.Index("ix_payments_next_check_at", "next_check_at", **partial_index("next_check_at IS NOT NULL")),
    sa.Index("ix_payments_open", "shop_id", "created_at", **partial_index("closed_at IS NULL")),
    sa.Index("ix_payments_shop_created", "shop_id", "created_at"),
    sa.Index("ix_payments_state", "status", "currency"),
    sa.Index("ix_payments_chat_id", "chat_id"),
    sa.Index("ix_payments_paid", "shop_id", "succeeded_at", **partial_index("succeeded_at IS NOT NULL")),
    sa.Index(
        "uq_payments_receipt", "shop_id", "receipt_number", unique=True, **partial_index("receipt_number IS NOT NULL")
    ),
    **STRICT,
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("payment_id", sa.Text, sa.ForeignKey("payments.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("params", sa.Text, nullable=False),
    sa.Column("requested_at", UtcTimestamp, nullable=False),
    sa.Column("started_at", UtcTimestamp),
    sa.Column("expires_at", UtcTimestamp),
    sa.Column("redirect_url", sa.Text),
    sa.Column("failure_code", sa.Text),
    sa.Column("trigger_key", sa.Text, unique=True),
    check_in("status", "requested", "active", "failed", "expired", "succeeded", "canceled"),
    check_in("origin", "chat", "page"),
    sa.CheckConstraint("number BETWEEN 1 AND 8", name="number_bounded"),
    sa.Index(
        "uq_attempts_one_running", "payment_id", unique=True, **partial_index("status IN ('requested', 'active')")
    ),
    **STRICT,
)
"""The confirms, each with the exact parameters it is sent with. At most one per payment is requested or active."""

payment_messages = sa.Table(
    "payment_messages",
    metadata,
    sa.Column("payment_id", sa.Text, sa.ForeignKey("payments.id"), primary_key=True),
    sa.Column("chat_id", BigInt, nullable=False),
    sa.Column("thread_id", BigInt),
    sa.Column("inline_message_id", sa.Text, unique=True),
    sa.Column("message_id", BigInt),
    sa.Column("shown_version", BigInt, nullable=False),
    sa.Column("shown_at", UtcTimestamp),
    sa.Column("send_attempts", sa.Integer, nullable=False),
    sa.Column("is_deleted", IntBool, nullable=False),
    sa.Column("qr_message_id", BigInt),
    sa.Index("ix_payment_messages_chat_id", "chat_id"),
    sa.Index(
        "uq_payment_messages_message", "chat_id", "message_id", unique=True, **partial_index("message_id IS NOT NULL")
    ),
    **STRICT,
)
"""The message that shows a payment: where it stands, the version it shows, and the QR message that belongs to it."""
