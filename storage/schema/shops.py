"""Tables of shops, their members and invitations, and the chats linked to them."""

from __future__ import annotations

import sqlalchemy as sa

from storage.models.money import MAX_AMOUNT
from storage.schema.types import CURRENCY, STRICT, BigInt, IntBool, UtcTimestamp, check_in, metadata

installation_settings = sa.Table(
    "installation_settings",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    **STRICT,
)
"""Settings that Kvit keeps itself: Stripe's mode and account, the bot's id and name, the event cursor."""

shops = sa.Table(
    "shops",
    metadata,
    sa.Column("id", BigInt, primary_key=True, autoincrement=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("language", sa.Text, nullable=False),
    sa.Column("time_zone", sa.Text, nullable=False),
    sa.Column("request_limit", BigInt, nullable=False),
    sa.Column("created_at", UtcTimestamp, nullable=False),
    sa.Column("refund_limit", BigInt, nullable=False, server_default="10000000"),
    sa.Column("request_hours", sa.Integer),
    sa.Column("seller_name", sa.Text, nullable=False, server_default=""),
    sa.Column("seller_address", sa.Text, nullable=False, server_default=""),
    sa.Column("seller_number", sa.Text, nullable=False, server_default=""),
    sa.Column("seller_contact", sa.Text, nullable=False, server_default=""),
    sa.Column("vat_rate", sa.Integer),
    sa.Column("accounts", sa.Text, nullable=False, server_default=""),
    sa.Column("last_receipt_number", BigInt, nullable=False, server_default="0"),
    sa.Column("last_test_receipt_number", BigInt, nullable=False, server_default="0"),
    sa.Column("last_credit_note_number", BigInt, nullable=False, server_default="0"),
    sa.Column("last_test_credit_note_number", BigInt, nullable=False, server_default="0"),
    sa.Column("report_minute", sa.Integer),
    sa.Column("next_report_at", UtcTimestamp),
    sa.Column("monthly_reports", IntBool, nullable=False, server_default="0"),
    sa.Column("next_monthly_report_at", UtcTimestamp),
    sa.CheckConstraint("report_minute BETWEEN 0 AND 1439", name="report_minute_of_day"),
    sa.CheckConstraint(f"currency IN ({CURRENCY})", name="currency_known"),
    check_in("language", "en", "da", "sv", "nb", "fi"),
    sa.CheckConstraint(f"request_limit BETWEEN 1 AND {MAX_AMOUNT}", name="request_limit_sane"),
    **STRICT,
)
"""Shops and their settings. `vat_rate` is in hundredths of a percent, `report_minute` in minutes after midnight."""

seller_history = sa.Table(
    "seller_history",
    metadata,
    sa.Column("id", BigInt, primary_key=True, autoincrement=True),
    sa.Column("shop_id", BigInt, sa.ForeignKey("shops.id"), nullable=False),
    sa.Column("since", UtcTimestamp, nullable=False),
    sa.Column("updated_at", UtcTimestamp),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("number", sa.Text, nullable=False),
    sa.Column("contact", sa.Text, nullable=False),
    sa.Column("vat_rate", sa.Integer),
    sa.Index("ix_seller_history_shop_id", "shop_id", "since"),
    **STRICT,
)
"""The seller details of a shop from `since` on: a receipt shows those of its day.

`updated_at` is when the last of them was set.
"""

owners = sa.Table(
    "owners",
    metadata,
    sa.Column("user_id", BigInt, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("since", UtcTimestamp, nullable=False),
    sa.CheckConstraint("user_id NOT IN (1087968824, 136817688, 777000)", name="user_id_personal"),
    **STRICT,
)
"""Owners who claimed the installation. Those of the settings are not stored."""

members = sa.Table(
    "members",
    metadata,
    sa.Column("shop_id", BigInt, sa.ForeignKey("shops.id"), primary_key=True, autoincrement=False),
    sa.Column("user_id", BigInt, primary_key=True, autoincrement=False, index=True),
    sa.Column("role", sa.Integer, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("since", UtcTimestamp, nullable=False),
    sa.Column("invited_by", BigInt),
    sa.CheckConstraint("role IN (1, 2, 3)", name="role_known"),
    sa.CheckConstraint("user_id NOT IN (1087968824, 136817688, 777000)", name="user_id_personal"),
    **STRICT,
)

invitations = sa.Table(
    "invitations",
    metadata,
    sa.Column("token_hash", sa.Text, primary_key=True),
    sa.Column("shop_id", BigInt, sa.ForeignKey("shops.id"), nullable=False, index=True),
    sa.Column("role", sa.Integer, nullable=False),
    sa.Column("request_key", sa.Text, nullable=False, unique=True),
    sa.Column("invited_by", BigInt, nullable=False),
    sa.Column("invited_at", UtcTimestamp, nullable=False),
    sa.Column("expires_at", UtcTimestamp, nullable=False),
    sa.Column("used_by", BigInt),
    sa.Column("used_at", UtcTimestamp),
    sa.CheckConstraint("role IN (1, 2)", name="role_known"),
    sa.CheckConstraint("(used_by IS NULL) = (used_at IS NULL)", name="used_once"),
    **STRICT,
)
"""Invitations, each for one user. Only the SHA-256 of the token in the link is stored."""

shop_chats = sa.Table(
    "shop_chats",
    metadata,
    sa.Column("chat_id", BigInt, primary_key=True, autoincrement=False),
    sa.Column("shop_id", BigInt, sa.ForeignKey("shops.id"), nullable=False, index=True),
    sa.Column("since", UtcTimestamp, nullable=False),
    **STRICT,
)
"""The shop that a chat is linked to, at most one."""
