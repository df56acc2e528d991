"""The first tables, written out as they were on the first day: later changes of the house do not change them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

BigInt = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make all tables."""
    _facts()
    _shops()
    _owners()
    _members()
    _chats()
    _posts()
    _payments()
    _attempts()
    _cards()
    _history()
    _questions()
    _mail()


def _facts() -> None:
    op.create_table(
        "facts",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_facts"),
        sqlite_strict=True,
    )


def _shops() -> None:
    op.create_table(
        "shops",
        sa.Column("id", BigInt, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("limit_minor", BigInt, nullable=False),
        sa.Column("created_at", BigInt, nullable=False),
        sa.CheckConstraint("currency IN ('DKK', 'EUR', 'SEK', 'NOK')", name="ck_shops_currency_known"),
        sa.CheckConstraint("language IN ('en', 'da', 'sv', 'nb', 'fi')", name="ck_shops_language_known"),
        sa.CheckConstraint("limit_minor BETWEEN 1 AND 99999999", name="ck_shops_limit_minor_sane"),
        sa.PrimaryKeyConstraint("id", name="pk_shops"),
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


def _members() -> None:
    op.create_table(
        "members",
        sa.Column("shop_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("user_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("role", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("since", BigInt, nullable=False),
        sa.CheckConstraint("role IN (1, 2, 3)", name="ck_members_role_known"),
        sa.CheckConstraint("user_id NOT IN (1087968824, 136817688, 777000)", name="ck_members_user_id_personal"),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name="fk_members_shop_id_shops"),
        sa.PrimaryKeyConstraint("shop_id", "user_id", name="pk_members"),
        sqlite_strict=True,
    )
    op.create_index("ix_members_user_id", "members", ["user_id"])


def _chats() -> None:
    op.create_table(
        "chats",
        sa.Column("chat_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("shop_id", BigInt, nullable=False),
        sa.Column("since", BigInt, nullable=False),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name="fk_chats_shop_id_shops"),
        sa.PrimaryKeyConstraint("chat_id", name="pk_chats"),
        sqlite_strict=True,
    )
    op.create_index("ix_chats_shop_id", "chats", ["shop_id"])


def _posts() -> None:
    op.create_table(
        "posts",
        sa.Column("chat_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("not_before", BigInt),
        sa.Column("moved_to", BigInt),
        sa.Column("closed_because", sa.Text()),
        sa.PrimaryKeyConstraint("chat_id", name="pk_posts"),
        sqlite_strict=True,
    )


def _payments() -> None:
    op.create_table(
        "payments",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("shop_id", BigInt, nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("chat_id", BigInt, nullable=False),
        sa.Column("thread_id", BigInt),
        sa.Column("inline_id", sa.Text()),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("created_by", BigInt, nullable=False),
        sa.Column("amount", BigInt, nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("manual_capture", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("livemode", sa.Integer(), nullable=False),
        sa.Column("version", BigInt, nullable=False),
        sa.Column("attempt_number", sa.Integer(), nullable=False),
        sa.Column("create_number", sa.Integer(), nullable=False),
        sa.Column("create_params", sa.Text(), nullable=False),
        sa.Column("intent_id", sa.Text()),
        sa.Column("received", BigInt, nullable=False),
        sa.Column("cancel_asked", sa.Text()),
        sa.Column("cancel_number", sa.Integer(), nullable=False),
        sa.Column("canceled_because", sa.Text()),
        sa.Column("trouble", sa.Text()),
        sa.Column("trouble_count", sa.Integer(), nullable=False),
        sa.Column("created_at", BigInt, nullable=False),
        sa.Column("expires_at", BigInt, nullable=False),
        sa.Column("look_at", BigInt),
        sa.Column("succeeded_at", BigInt),
        sa.Column("ended_at", BigInt),
        sa.CheckConstraint(
            "(status = 'canceled') = (canceled_because IS NOT NULL)", name="ck_payments_canceled_has_reason"
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
        sa.CheckConstraint("attempt_number BETWEEN 1 AND 8", name="ck_payments_attempt_number_bounded"),
        sa.CheckConstraint("received >= 0 AND received <= amount", name="ck_payments_received_sane"),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name="fk_payments_shop_id_shops"),
        sa.PrimaryKeyConstraint("id", name="pk_payments"),
        sa.UniqueConstraint("intent_id", name="uq_payments_intent_id"),
        sa.UniqueConstraint("shop_id", "ref", name="uq_payments_shop_id_ref"),
        sa.UniqueConstraint("source", name="uq_payments_source"),
        sa.UniqueConstraint("token_hash", name="uq_payments_token_hash"),
        sqlite_strict=True,
    )
    op.create_index("ix_payments_look_at", "payments", ["look_at"], **_where("look_at IS NOT NULL"))
    op.create_index("ix_payments_open", "payments", ["shop_id", "created_at"], **_where("ended_at IS NULL"))
    op.create_index("ix_payments_shop_created", "payments", ["shop_id", "created_at"])


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("asked_at", BigInt, nullable=False),
        sa.Column("started_at", BigInt),
        sa.Column("ends_at", BigInt),
        sa.Column("link", sa.Text()),
        sa.Column("code", sa.Text()),
        sa.Column("cause", sa.Text()),
        sa.CheckConstraint("origin IN ('chat', 'page')", name="ck_attempts_origin_known"),
        sa.CheckConstraint(
            "outcome IN ('asked', 'live', 'failed', 'lapsed', 'succeeded', 'canceled')",
            name="ck_attempts_outcome_known",
        ),
        sa.CheckConstraint("number BETWEEN 1 AND 8", name="ck_attempts_number_bounded"),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name="fk_attempts_payment_id_payments"),
        sa.UniqueConstraint("cause", name="uq_attempts_cause"),
        sa.PrimaryKeyConstraint("payment_id", "number", name="pk_attempts"),
        sqlite_strict=True,
    )
    op.create_index(
        "uq_attempts_one_running", "attempts", ["payment_id"], unique=True, **_where("outcome IN ('asked', 'live')")
    )


def _cards() -> None:
    op.create_table(
        "cards",
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("chat_id", BigInt, nullable=False),
        sa.Column("thread_id", BigInt),
        sa.Column("inline_id", sa.Text()),
        sa.Column("message_id", BigInt),
        sa.Column("shown_version", BigInt, nullable=False),
        sa.Column("shown_at", BigInt),
        sa.Column("sends", sa.Integer(), nullable=False),
        sa.Column("lost", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name="fk_cards_payment_id_payments"),
        sa.UniqueConstraint("inline_id", name="uq_cards_inline_id"),
        sa.PrimaryKeyConstraint("payment_id", name="pk_cards"),
        sqlite_strict=True,
    )
    op.create_index(
        "uq_cards_message", "cards", ["chat_id", "message_id"], unique=True, **_where("message_id IS NOT NULL")
    )


def _history() -> None:
    op.create_table(
        "history",
        sa.Column("id", BigInt, nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
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
    op.create_index("ix_history_payment_id", "history", ["payment_id"])


def _questions() -> None:
    op.create_table(
        "questions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("chat_id", BigInt, nullable=False),
        sa.Column("thread_id", BigInt),
        sa.Column("user_id", BigInt, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("asked_at", BigInt, nullable=False),
        sa.Column("answer", sa.Integer()),
        sa.Column("answered_at", BigInt),
        sa.CheckConstraint("(answer IS NULL) = (answered_at IS NULL)", name="ck_questions_answered_once"),
        sa.PrimaryKeyConstraint("id", name="pk_questions"),
        sa.UniqueConstraint("key", name="uq_questions_key"),
        sqlite_strict=True,
    )


def _mail() -> None:
    op.create_table(
        "mail",
        sa.Column("id", BigInt, nullable=False),
        sa.Column("box", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("put_at", BigInt, nullable=False),
        sa.Column("due_at", BigInt, nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("lease_until", BigInt),
        sa.Column("lease", sa.Text()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("settled_at", BigInt),
        sa.CheckConstraint("state IN ('waiting', 'done', 'set_aside')", name="ck_mail_state_known"),
        sa.PrimaryKeyConstraint("id", name="pk_mail"),
        sa.UniqueConstraint("box", "key", name="uq_mail_box_key"),
        sqlite_strict=True,
    )
    op.create_index("ix_mail_done", "mail", ["box", "settled_at"], **_where("state = 'done'"))
    op.create_index("ix_mail_set_aside", "mail", ["box", "id"], **_where("state = 'set_aside'"))
    op.create_index("ix_mail_waiting", "mail", ["box", "lane", "id"], **_where("state = 'waiting'"))


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}
