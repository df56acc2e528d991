"""The tables as they were first released; later migrations change them, this one never."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "v0001"
down_revision = None

BigInt = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create all tables."""
    _chat_status()
    _installation_settings()
    _jobs()
    _leases()
    _owners()
    _prompts()
    _question_messages()
    _shops()
    _invitations()
    _members()
    _payments()
    _seller_history()
    _shop_chats()
    _attempts()
    _audit_log()
    _balance_transactions()
    _disputes()
    _fraud_warnings()
    _movements()
    _payment_messages()
    _payment_words()
    _payouts()
    _payout_items()
    _receipts()
    _refunds()
    _audit_log_is_append_only()
    _movements_are_append_only()
    _balance_is_append_only()


def _chat_status() -> None:
    op.create_table(
        "chat_status",
        sa.Column("chat_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("not_before", BigInt, nullable=True),
        sa.Column("moved_to", BigInt, nullable=True),
        sa.Column("blocked_reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("chat_id", name="pk_chat_status"),
        sqlite_strict=True,
    )


def _installation_settings() -> None:
    op.create_table(
        "installation_settings",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_installation_settings"),
        sqlite_strict=True,
    )


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("ordering_key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", BigInt, nullable=False),
        sa.Column("scheduled_at", BigInt, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lease_until", BigInt, nullable=True),
        sa.Column("lease", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("finished_at", BigInt, nullable=True),
        sa.CheckConstraint("state IN ('pending', 'done', 'dead')", name="ck_jobs_state_known"),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("queue", "key", name="uq_jobs_queue_key"),
        sqlite_strict=True,
        postgresql_with={
            "fillfactor": 70,
            "autovacuum_vacuum_scale_factor": 0.01,
            "autovacuum_vacuum_threshold": 500,
            "autovacuum_vacuum_insert_scale_factor": 0.05,
            "autovacuum_analyze_scale_factor": 0.02,
        },
    )
    op.create_index("ix_jobs_dead", "jobs", ["queue", "id"], unique=False, **_where("state = 'dead'"))
    op.create_index("ix_jobs_done", "jobs", ["queue", "finished_at"], unique=False, **_where("state = 'done'"))
    op.create_index(
        "ix_jobs_pending", "jobs", ["queue", "ordering_key", "id"], unique=False, **_where("state = 'pending'")
    )
    if _is_postgres():
        leased = _where("state = 'pending' AND lease_until IS NOT NULL")
        op.create_index("ix_jobs_leased", "jobs", ["queue", "ordering_key"], unique=False, **leased)


def _leases() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("until", BigInt, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
        sqlite_strict=True,
    )


def _owners() -> None:
    op.create_table(
        "owners",
        sa.Column("user_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("since", BigInt, nullable=False),
        sa.CheckConstraint("user_id NOT IN (1087968824, 136817688, 777000)", name="ck_owners_user_id_personal"),
        sa.PrimaryKeyConstraint("user_id", name="pk_owners"),
        sqlite_strict=True,
    )


def _prompts() -> None:
    op.create_table(
        "prompts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("chat_id", BigInt, nullable=False),
        sa.Column("thread_id", BigInt, nullable=True),
        sa.Column("user_id", BigInt, nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("created_at", BigInt, nullable=False),
        sa.Column("answer", sa.Integer(), nullable=True),
        sa.Column("answered_at", BigInt, nullable=True),
        sa.CheckConstraint("(answer IS NULL) = (answered_at IS NULL)", name="ck_prompts_answered_once"),
        sa.PrimaryKeyConstraint("id", name="pk_prompts"),
        sa.UniqueConstraint("key", name="uq_prompts_key"),
        sqlite_strict=True,
    )
    op.create_index("ix_prompts_chat_id", "prompts", ["chat_id"], unique=False)
    op.create_index("ix_prompts_created_at", "prompts", ["created_at"], unique=False)


def _question_messages() -> None:
    op.create_table(
        "question_messages",
        sa.Column("chat_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("message_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("chat_id", "message_id", name="pk_question_messages"),
        sqlite_strict=True,
    )
    op.create_index("ix_question_messages_subject", "question_messages", ["subject"], unique=False)


def _shops() -> None:
    op.create_table(
        "shops",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("request_limit", BigInt, nullable=False),
        sa.Column("created_at", BigInt, nullable=False),
        sa.Column("refund_limit", BigInt, server_default="10000000", nullable=False),
        sa.Column("request_hours", sa.Integer(), nullable=True),
        sa.Column("seller_name", sa.Text(), server_default="", nullable=False),
        sa.Column("seller_address", sa.Text(), server_default="", nullable=False),
        sa.Column("seller_number", sa.Text(), server_default="", nullable=False),
        sa.Column("seller_contact", sa.Text(), server_default="", nullable=False),
        sa.Column("vat_rate", sa.Integer(), nullable=True),
        sa.Column("accounts", sa.Text(), server_default="", nullable=False),
        sa.Column("last_receipt_number", BigInt, server_default="0", nullable=False),
        sa.Column("last_test_receipt_number", BigInt, server_default="0", nullable=False),
        sa.Column("last_credit_note_number", BigInt, server_default="0", nullable=False),
        sa.Column("last_test_credit_note_number", BigInt, server_default="0", nullable=False),
        sa.Column("report_minute", sa.Integer(), nullable=True),
        sa.Column("next_report_at", BigInt, nullable=True),
        sa.Column("monthly_reports", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_monthly_report_at", BigInt, nullable=True),
        sa.CheckConstraint("report_minute BETWEEN 0 AND 1439", name="ck_shops_report_minute_of_day"),
        sa.CheckConstraint("currency IN ('DKK', 'EUR', 'SEK', 'NOK')", name="ck_shops_currency_known"),
        sa.CheckConstraint("language IN ('en', 'da', 'sv', 'nb', 'fi')", name="ck_shops_language_known"),
        sa.CheckConstraint("request_limit BETWEEN 1 AND 99999999", name="ck_shops_request_limit_sane"),
        sa.PrimaryKeyConstraint("id", name="pk_shops"),
        sqlite_strict=True,
    )


def _invitations() -> None:
    op.create_table(
        "invitations",
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("shop_id", BigInt, nullable=False),
        sa.Column("role", sa.Integer(), nullable=False),
        sa.Column("request_key", sa.Text(), nullable=False),
        sa.Column("invited_by", BigInt, nullable=False),
        sa.Column("invited_at", BigInt, nullable=False),
        sa.Column("expires_at", BigInt, nullable=False),
        sa.Column("used_by", BigInt, nullable=True),
        sa.Column("used_at", BigInt, nullable=True),
        sa.CheckConstraint("(used_by IS NULL) = (used_at IS NULL)", name="ck_invitations_used_once"),
        sa.CheckConstraint("role IN (1, 2)", name="ck_invitations_role_known"),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name="fk_invitations_shop_id_shops"),
        sa.PrimaryKeyConstraint("token_hash", name="pk_invitations"),
        sa.UniqueConstraint("request_key", name="uq_invitations_request_key"),
        sqlite_strict=True,
    )
    op.create_index("ix_invitations_shop_id", "invitations", ["shop_id"], unique=False)


def _members() -> None:
    op.create_table(
        "members",
        sa.Column("shop_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("user_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("role", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("since", BigInt, nullable=False),
        sa.Column("invited_by", BigInt, nullable=True),
        sa.CheckConstraint("role IN (1, 2, 3)", name="ck_members_role_known"),
        sa.CheckConstraint("user_id NOT IN (1087968824, 136817688, 777000)", name="ck_members_user_id_personal"),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name="fk_members_shop_id_shops"),
        sa.PrimaryKeyConstraint("shop_id", "user_id", name="pk_members"),
        sqlite_strict=True,
    )
    op.create_index("ix_members_user_id", "members", ["user_id"], unique=False)


def _payments() -> None:
    op.create_table(
        "payments",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("shop_id", BigInt, nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("page_token", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("chat_id", BigInt, nullable=False),
        sa.Column("thread_id", BigInt, nullable=True),
        sa.Column("inline_message_id", sa.Text(), nullable=True),
        sa.Column("request_key", sa.Text(), nullable=False),
        sa.Column("created_by", BigInt, nullable=False),
        sa.Column("amount", BigInt, nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("manual_capture", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("livemode", sa.Integer(), nullable=False),
        sa.Column("version", BigInt, nullable=False),
        sa.Column("attempt_number", sa.Integer(), nullable=False),
        sa.Column("create_key_version", sa.Integer(), nullable=False),
        sa.Column("create_params", sa.Text(), nullable=False),
        sa.Column("intent_id", sa.Text(), nullable=True),
        sa.Column("charge_id", sa.Text(), nullable=True),
        sa.Column("amount_received", BigInt, nullable=False),
        sa.Column("cancel_requested", sa.Text(), nullable=True),
        sa.Column("cancel_key_version", sa.Integer(), nullable=False),
        sa.Column("cancellation_reason", sa.Text(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("error_count", sa.Integer(), nullable=False),
        sa.Column("created_at", BigInt, nullable=False),
        sa.Column("requested_at", BigInt, nullable=True),
        sa.Column("command_hash", sa.Text(), nullable=True),
        sa.Column("expires_at", BigInt, nullable=False),
        sa.Column("next_check_at", BigInt, nullable=True),
        sa.Column("succeeded_at", BigInt, nullable=True),
        sa.Column("closed_at", BigInt, nullable=True),
        sa.Column("synced_at", BigInt, nullable=True),
        sa.Column("authorized_at", BigInt, nullable=True),
        sa.Column("capture_before", BigInt, nullable=True),
        sa.Column("capture_requested_by", BigInt, nullable=True),
        sa.Column("capture_key_version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("cancel_requested_by", BigInt, nullable=True),
        sa.Column("request_sent_at", BigInt, nullable=True),
        sa.Column("reminders_sent", sa.Integer(), server_default="0", nullable=False),
        sa.Column("amount_refunded", BigInt, server_default="0", nullable=False),
        sa.Column("amount_refund_pending", BigInt, server_default="0", nullable=False),
        sa.Column("dispute_status", sa.Text(), nullable=True),
        sa.Column("receipt_number", BigInt, nullable=True),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("settled_as", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint(
            "(status = 'canceled') = (cancellation_reason IS NOT NULL)", name="ck_payments_canceled_has_reason"
        ),
        sa.CheckConstraint(
            "(status = 'succeeded') = (succeeded_at IS NOT NULL)", name="ck_payments_succeeded_has_time"
        ),
        sa.CheckConstraint("currency IN ('DKK', 'EUR', 'SEK', 'NOK')", name="ck_payments_currency_known"),
        sa.CheckConstraint(
            "status IN ('created', 'open', 'processing', 'authorized', 'succeeded', 'canceled')",
            name="ck_payments_status_known",
        ),
        sa.CheckConstraint("amount > 0 AND amount <= 99999999", name="ck_payments_amount_sane"),
        sa.CheckConstraint("amount_received >= 0 AND amount_received <= amount", name="ck_payments_received_sane"),
        sa.CheckConstraint("attempt_number BETWEEN 1 AND 8", name="ck_payments_attempt_number_bounded"),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name="fk_payments_shop_id_shops"),
        sa.PrimaryKeyConstraint("id", name="pk_payments"),
        sa.UniqueConstraint("intent_id", name="uq_payments_intent_id"),
        sa.UniqueConstraint("request_key", name="uq_payments_request_key"),
        sa.UniqueConstraint("shop_id", "reference", name="uq_payments_shop_id_reference"),
        sa.UniqueConstraint("token_hash", name="uq_payments_token_hash"),
        sqlite_strict=True,
    )
    op.create_index("ix_payments_chat_id", "payments", ["chat_id", "requested_at"], unique=False)
    op.create_index(
        "ix_payments_next_check_at", "payments", ["next_check_at"], unique=False, **_where("next_check_at IS NOT NULL")
    )
    op.create_index(
        "ix_payments_open", "payments", ["shop_id", "created_at"], unique=False, **_where("closed_at IS NULL")
    )
    op.create_index(
        "ix_payments_paid", "payments", ["shop_id", "succeeded_at"], unique=False, **_where("succeeded_at IS NOT NULL")
    )
    op.create_index("ix_payments_status", "payments", ["shop_id", "status", "created_at"], unique=False)
    op.create_index(
        "ix_payments_refunded", "payments", ["shop_id", "created_at"], unique=False, **_where("amount_refunded > 0")
    )
    op.create_index(
        "ix_payments_disputed",
        "payments",
        ["shop_id", "created_at"],
        unique=False,
        **_where("dispute_status IS NOT NULL"),
    )
    op.create_index(
        "ix_payments_settled",
        "payments",
        ["shop_id", "closed_at"],
        unique=False,
        **_where("cancellation_reason = 'settled'"),
    )
    op.create_index(
        "ix_payments_unpaid", "payments", ["shop_id", "created_at"], unique=False, **_where("succeeded_at IS NULL")
    )
    op.create_index("ix_payments_shop_created", "payments", ["shop_id", "created_at"], unique=False)
    op.create_index("ix_payments_state", "payments", ["status", "currency"], unique=False)
    op.create_index(
        "uq_payments_receipt",
        "payments",
        ["shop_id", "livemode", "receipt_number"],
        unique=True,
        **_where("receipt_number IS NOT NULL"),
    )


def _seller_history() -> None:
    op.create_table(
        "seller_history",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("shop_id", BigInt, nullable=False),
        sa.Column("since", BigInt, nullable=False),
        sa.Column("updated_at", BigInt, nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("contact", sa.Text(), nullable=False),
        sa.Column("vat_rate", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name="fk_seller_history_shop_id_shops"),
        sa.PrimaryKeyConstraint("id", name="pk_seller_history"),
        sqlite_strict=True,
    )
    op.create_index("ix_seller_history_shop_id", "seller_history", ["shop_id", "since"], unique=False)


def _shop_chats() -> None:
    op.create_table(
        "shop_chats",
        sa.Column("chat_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("shop_id", BigInt, nullable=False),
        sa.Column("since", BigInt, nullable=False),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name="fk_shop_chats_shop_id_shops"),
        sa.PrimaryKeyConstraint("chat_id", name="pk_shop_chats"),
        sqlite_strict=True,
    )
    op.create_index("ix_shop_chats_shop_id", "shop_chats", ["shop_id"], unique=False)


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("requested_at", BigInt, nullable=False),
        sa.Column("started_at", BigInt, nullable=True),
        sa.Column("expires_at", BigInt, nullable=True),
        sa.Column("redirect_url", sa.Text(), nullable=True),
        sa.Column("failure_code", sa.Text(), nullable=True),
        sa.Column("trigger_key", sa.Text(), nullable=True),
        sa.Column("opened_at", BigInt, nullable=True),
        sa.Column("returned_at", BigInt, nullable=True),
        sa.CheckConstraint("origin IN ('chat', 'page')", name="ck_attempts_origin_known"),
        sa.CheckConstraint(
            "status IN ('requested', 'active', 'failed', 'expired', 'succeeded', 'canceled')",
            name="ck_attempts_status_known",
        ),
        sa.CheckConstraint("number BETWEEN 1 AND 8", name="ck_attempts_number_bounded"),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name="fk_attempts_payment_id_payments"),
        sa.PrimaryKeyConstraint("payment_id", "number", name="pk_attempts"),
        sa.UniqueConstraint("trigger_key", name="uq_attempts_trigger_key"),
        sqlite_strict=True,
    )
    op.create_index(
        "uq_attempts_one_running",
        "attempts",
        ["payment_id"],
        unique=True,
        **_where("status IN ('requested', 'active')"),
    )


def _audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=True),
        sa.Column("shop_id", BigInt, nullable=False),
        sa.Column("at", BigInt, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name="fk_audit_log_payment_id_payments"),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name="fk_audit_log_shop_id_shops"),
        sa.PrimaryKeyConstraint("id", name="pk_audit_log"),
        sqlite_strict=True,
    )
    op.create_index("ix_audit_log_payment_id", "audit_log", ["payment_id"], unique=False)
    op.create_index("ix_audit_log_shop", "audit_log", ["shop_id", "id"], unique=False)


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
        sa.Column("due_by", BigInt, nullable=True),
        sa.Column("refundable", sa.Integer(), nullable=False),
        sa.Column("withdrawn_at", BigInt, nullable=True),
        sa.Column("reinstated_at", BigInt, nullable=True),
        sa.Column("created_at", BigInt, nullable=True),
        sa.Column("seen_at", BigInt, nullable=False),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name="fk_disputes_payment_id_payments"),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name="fk_disputes_shop_id_shops"),
        sa.PrimaryKeyConstraint("id", name="pk_disputes"),
        sqlite_strict=True,
    )
    op.create_index("ix_disputes_payment_id", "disputes", ["payment_id"], unique=False)


def _fraud_warnings() -> None:
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
    op.create_index("ix_fraud_warnings_payment_id", "fraud_warnings", ["payment_id"], unique=False)


def _movements() -> None:
    op.create_table(
        "movements",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("shop_id", BigInt, nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("stripe_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("amount", BigInt, nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("livemode", sa.Integer(), nullable=False),
        sa.Column("at", BigInt, nullable=False),
        sa.Column("recorded_at", BigInt, nullable=False),
        sa.Column("credit_note_number", BigInt, nullable=True),
        sa.Column("refunded_before", BigInt, nullable=True),
        sa.CheckConstraint("currency IN ('DKK', 'EUR', 'SEK', 'NOK')", name="ck_movements_currency_known"),
        sa.CheckConstraint(
            "kind IN ('payment', 'capture', 'refund', 'refund_failed', 'dispute', 'dispute_won')",
            name="ck_movements_kind_known",
        ),
        sa.CheckConstraint("amount <> 0", name="ck_movements_amount_moves"),
        sa.CheckConstraint(
            "(credit_note_number IS NULL) = (refunded_before IS NULL)", name="ck_movements_credit_note_complete"
        ),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name="fk_movements_payment_id_payments"),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name="fk_movements_shop_id_shops"),
        sa.PrimaryKeyConstraint("id", name="pk_movements"),
        sa.UniqueConstraint("key", name="uq_movements_key"),
        sqlite_strict=True,
    )
    op.create_index("ix_movements_payment_id", "movements", ["payment_id"], unique=False)
    op.create_index("ix_movements_source", "movements", ["source"], unique=False)
    op.create_index(
        "uq_movements_credit_note",
        "movements",
        ["shop_id", "livemode", "credit_note_number"],
        unique=True,
        **_where("credit_note_number IS NOT NULL"),
    )
    op.create_index(
        "ix_movements_day", "movements", ["shop_id", "livemode", "at", "currency", "kind", "amount"], unique=False
    )


def _balance_transactions() -> None:
    op.create_table(
        "balance_transactions",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("stripe_id", sa.Text(), nullable=False),
        sa.Column("shop_id", BigInt, nullable=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("direction", sa.Integer(), nullable=False),
        sa.Column("amount", BigInt, nullable=False),
        sa.Column("fee", BigInt, nullable=False),
        sa.Column("tax", BigInt, nullable=False),
        sa.Column("net", BigInt, nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("fee_details", sa.Text(), nullable=False),
        sa.Column("exchange_rate", sa.Text(), nullable=True),
        sa.Column("livemode", sa.Integer(), nullable=False),
        sa.Column("created_at", BigInt, nullable=False),
        sa.Column("available_on", BigInt, nullable=False),
        sa.Column("recorded_at", BigInt, nullable=False),
        sa.CheckConstraint("direction IN (-1, 1)", name="ck_balance_transactions_direction_known"),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name="fk_balance_transactions_shop_id_shops"),
        sa.PrimaryKeyConstraint("id", name="pk_balance_transactions"),
        sqlite_strict=True,
    )
    op.create_index("ix_balance_transactions_stripe_id_id", "balance_transactions", ["stripe_id", "id"], unique=False)
    op.create_index(
        "ix_balance_transactions_source_direction", "balance_transactions", ["source", "direction"], unique=False
    )
    op.create_index(
        "ix_balance_transactions_day", "balance_transactions", ["shop_id", "livemode", "created_at"], unique=False
    )


def _payouts() -> None:
    op.create_table(
        "payouts",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("stripe_id", sa.Text(), nullable=False),
        sa.Column("shop_id", BigInt, nullable=True),
        sa.Column("amount", BigInt, nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("automatic", sa.Integer(), nullable=False),
        sa.Column("reconciliation", sa.Text(), nullable=False),
        sa.Column("livemode", sa.Integer(), nullable=False),
        sa.Column("created_at", BigInt, nullable=False),
        sa.Column("arrival_on", BigInt, nullable=False),
        sa.Column("recorded_at", BigInt, nullable=False),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name="fk_payouts_shop_id_shops"),
        sa.PrimaryKeyConstraint("id", name="pk_payouts"),
        sqlite_strict=True,
    )
    op.create_index("ix_payouts_stripe_id_id", "payouts", ["stripe_id", "id"], unique=False)
    op.create_index("ix_payouts_arrival", "payouts", ["shop_id", "livemode", "arrival_on"], unique=False)


def _payout_items() -> None:
    op.create_table(
        "payout_items",
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("payout_id", sa.Text(), nullable=False),
        sa.Column("recorded_at", BigInt, nullable=False),
        sa.PrimaryKeyConstraint("transaction_id", "payout_id", name="pk_payout_items"),
        sqlite_strict=True,
    )


def _receipts() -> None:
    op.create_table(
        "receipts",
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("shop_name", sa.Text(), nullable=False),
        sa.Column("seller_name", sa.Text(), server_default="", nullable=False),
        sa.Column("seller_address", sa.Text(), server_default="", nullable=False),
        sa.Column("seller_number", sa.Text(), server_default="", nullable=False),
        sa.Column("seller_contact", sa.Text(), server_default="", nullable=False),
        sa.Column("vat_rate", sa.Integer(), nullable=True),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name="fk_receipts_payment_id_payments"),
        sa.PrimaryKeyConstraint("payment_id", name="pk_receipts"),
        sqlite_strict=True,
    )


def _payment_messages() -> None:
    op.create_table(
        "payment_messages",
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("chat_id", BigInt, nullable=False),
        sa.Column("thread_id", BigInt, nullable=True),
        sa.Column("inline_message_id", sa.Text(), nullable=True),
        sa.Column("message_id", BigInt, nullable=True),
        sa.Column("shown_version", BigInt, nullable=False),
        sa.Column("shown_at", BigInt, nullable=True),
        sa.Column("send_attempts", sa.Integer(), nullable=False),
        sa.Column("is_deleted", sa.Integer(), nullable=False),
        sa.Column("qr_message_id", BigInt, nullable=True),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name="fk_payment_messages_payment_id_payments"),
        sa.PrimaryKeyConstraint("payment_id", name="pk_payment_messages"),
        sa.UniqueConstraint("inline_message_id", name="uq_payment_messages_inline_message_id"),
        sqlite_strict=True,
    )
    op.create_index("ix_payment_messages_chat_id", "payment_messages", ["chat_id"], unique=False)
    op.create_index(
        "uq_payment_messages_message",
        "payment_messages",
        ["chat_id", "message_id"],
        unique=True,
        **_where("message_id IS NOT NULL"),
    )


def _payment_words() -> None:
    word = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.create_table(
        "payment_words",
        sa.Column("shop_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("word", word, nullable=False),
        sa.Column("created_at", BigInt, autoincrement=False, nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name="fk_payment_words_payment_id_payments"),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name="fk_payment_words_shop_id_shops"),
        sa.PrimaryKeyConstraint("shop_id", "word", "created_at", "payment_id", name="pk_payment_words"),
        sqlite_strict=True,
    )
    op.create_index("ix_payment_words_payment_id", "payment_words", ["payment_id"], unique=False)


def _refunds() -> None:
    op.create_table(
        "refunds",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("shop_id", BigInt, nullable=False),
        sa.Column("request_key", sa.Text(), nullable=False),
        sa.Column("stripe_id", sa.Text(), nullable=True),
        sa.Column("amount", BigInt, nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("chat_id", BigInt, nullable=True),
        sa.Column("thread_id", BigInt, nullable=True),
        sa.Column("requested_by", BigInt, nullable=True),
        sa.Column("requested_at", BigInt, nullable=False),
        sa.Column("expires_at", BigInt, nullable=True),
        sa.Column("refundable_at_request", BigInt, nullable=False),
        sa.Column("approvals_needed", sa.Integer(), nullable=False),
        sa.Column("approved_by", BigInt, nullable=True),
        sa.Column("approved_at", BigInt, nullable=True),
        sa.Column("second_approved_by", BigInt, nullable=True),
        sa.Column("second_approved_at", BigInt, nullable=True),
        sa.Column("declined_by", BigInt, nullable=True),
        sa.Column("declined_at", BigInt, nullable=True),
        sa.Column("reserved_at", BigInt, nullable=True),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("first_sent_at", BigInt, nullable=True),
        sa.Column("last_sent_at", BigInt, nullable=True),
        sa.Column("pending_reason", sa.Text(), nullable=True),
        sa.Column("failure_reason", sa.Text(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("error_count", sa.Integer(), nullable=False),
        sa.Column("retry_until", BigInt, nullable=True),
        sa.Column("next_check_at", BigInt, nullable=True),
        sa.Column("settled_at", BigInt, nullable=True),
        sa.Column("refunded_at", BigInt, nullable=True),
        sa.CheckConstraint("currency IN ('DKK', 'EUR', 'SEK', 'NOK')", name="ck_refunds_currency_known"),
        sa.CheckConstraint(
            "status IN ('draft', 'awaiting_approval', 'approved', 'pending', 'requires_action', 'succeeded', 'failed',"
            " 'canceled', 'rejected', 'declined', 'expired')",
            name="ck_refunds_status_known",
        ),
        sa.CheckConstraint("amount > 0", name="ck_refunds_amount_sane"),
        sa.CheckConstraint("approvals_needed IN (0, 1, 2)", name="ck_refunds_approvals_known"),
        sa.CheckConstraint(
            "reserved_at IS NULL OR approvals_needed = 0 OR (approved_by IS NOT NULL AND"
            " (approvals_needed = 1 OR second_approved_by IS NOT NULL))",
            name="ck_refunds_reserved_as_approved",
        ),
        sa.CheckConstraint(
            "second_approved_by IS NULL OR second_approved_by <> approved_by", name="ck_refunds_second_is_another"
        ),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name="fk_refunds_payment_id_payments"),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name="fk_refunds_shop_id_shops"),
        sa.PrimaryKeyConstraint("id", name="pk_refunds"),
        sa.UniqueConstraint("request_key", name="uq_refunds_request_key"),
        sa.UniqueConstraint("stripe_id", name="uq_refunds_stripe_id"),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_refunds_approved",
        "refunds",
        ["shop_id", "approved_by", "reserved_at"],
        unique=False,
        **_where("reserved_at IS NOT NULL"),
    )
    op.create_index("ix_refunds_chat_id", "refunds", ["chat_id"], unique=False, **_where("chat_id IS NOT NULL"))
    op.create_index(
        "ix_refunds_next_check_at", "refunds", ["next_check_at"], unique=False, **_where("next_check_at IS NOT NULL")
    )
    op.create_index("ix_refunds_requested", "refunds", ["shop_id", "requested_by", "requested_at"], unique=False)
    op.create_index("ix_refunds_payment_id", "refunds", ["payment_id"], unique=False)
    op.create_index(
        "ix_refunds_second_approved",
        "refunds",
        ["shop_id", "second_approved_by", "reserved_at"],
        unique=False,
        **_where("reserved_at IS NOT NULL"),
    )


def _audit_log_is_append_only() -> None:
    if _is_postgres():
        op.execute(
            "CREATE OR REPLACE FUNCTION audit_log_append_only() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = '23000'; END$$"
        )
        op.execute(
            "CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log"
            " FOR EACH STATEMENT EXECUTE FUNCTION audit_log_append_only()"
        )
        return
    for verb, when in (
        ("UPDATE", ""),
        ("DELETE", ""),
        ("INSERT", " WHEN EXISTS (SELECT 1 FROM audit_log WHERE id = NEW.id)"),
    ):
        op.execute(
            f"CREATE TRIGGER audit_log_no_{verb.lower()} BEFORE {verb} ON audit_log{when}"
            " BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        )


def _movements_are_append_only() -> None:
    if _is_postgres():
        op.execute(
            "CREATE OR REPLACE FUNCTION movements_append_only() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN RAISE EXCEPTION 'the movements are append-only' USING ERRCODE = '23000'; END$$"
        )
        op.execute(
            "CREATE TRIGGER movements_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON movements"
            " FOR EACH STATEMENT EXECUTE FUNCTION movements_append_only()"
        )
        return
    for verb, when in (
        ("UPDATE", ""),
        ("DELETE", ""),
        ("INSERT", " WHEN EXISTS (SELECT 1 FROM movements WHERE id = NEW.id OR key = NEW.key)"),
    ):
        op.execute(
            f"CREATE TRIGGER movements_no_{verb.lower()} BEFORE {verb} ON movements{when}"
            " BEGIN SELECT RAISE(ABORT, 'the movements are append-only'); END"
        )


def _balance_is_append_only() -> None:
    tables = ("balance_transactions", "payouts", "payout_items")
    if _is_postgres():
        op.execute(
            "CREATE OR REPLACE FUNCTION balance_append_only() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN RAISE EXCEPTION 'the records of the Stripe balance are append-only'"
            " USING ERRCODE = '23000'; END$$"
        )
        for table in tables:
            op.execute(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
                " FOR EACH STATEMENT EXECUTE FUNCTION balance_append_only()"
            )
        return
    for table in tables:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table}"
                " BEGIN SELECT RAISE(ABORT, 'the records of the Stripe balance are append-only'); END"
            )


def _is_postgres() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}
