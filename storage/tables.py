"""The tables: what is kept, and the keys and checks that make the impossible impossible."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

BigInt = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""64 bits on every database: Telegram's ids use 52 of them (STRICT tables of SQLite know INTEGER only)."""


class Instant(sa.types.TypeDecorator[datetime]):
    """An aware UTC time, kept as whole microseconds since 1970 so that every database compares it alike."""

    impl = BigInt
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> int | None:
        """Refuse naive times: they would shift by the zone of the machine."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        return (value - EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: int | None, dialect: Any) -> datetime | None:
        """The aware UTC time."""
        return None if value is None else EPOCH + timedelta(microseconds=value)


class Flag(sa.types.TypeDecorator[bool]):
    """A truth value kept as 0 or 1."""

    impl = sa.Integer
    cache_ok = True

    def process_bind_param(self, value: bool | None, dialect: Any) -> int | None:
        """Only a real truth value is taken."""
        return None if value is None else int(value)

    def process_result_value(self, value: int | None, dialect: Any) -> bool | None:
        """The truth value."""
        return None if value is None else bool(value)


def _one_of(column: str, *words: str) -> sa.CheckConstraint:
    listed = ", ".join(f"'{word}'" for word in words)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


CURRENCY = "'DKK', 'EUR', 'SEK', 'NOK'"
STRICT: dict[str, Any] = {"sqlite_strict": True}

facts = sa.Table(
    "facts",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    **STRICT,
)
"""Facts about this installation: Stripe's mode and account, the bot's id and name, how far events were read."""

shops = sa.Table(
    "shops",
    metadata,
    sa.Column("id", BigInt, primary_key=True, autoincrement=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("language", sa.Text, nullable=False),
    sa.Column("time_zone", sa.Text, nullable=False),
    sa.Column("limit_minor", BigInt, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.CheckConstraint(f"currency IN ({CURRENCY})", name="currency_known"),
    _one_of("language", "en", "da", "sv", "nb", "fi"),
    sa.CheckConstraint("limit_minor BETWEEN 1 AND 99999999", name="limit_minor_sane"),
    **STRICT,
)

owners = sa.Table(
    "owners",
    metadata,
    sa.Column("user_id", BigInt, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("since", Instant, nullable=False),
    sa.CheckConstraint("user_id NOT IN (1087968824, 136817688, 777000)", name="user_id_personal"),
    **STRICT,
)
"""Owners who claimed the installation; those of the settings are not kept here."""

members = sa.Table(
    "members",
    metadata,
    sa.Column("shop_id", BigInt, sa.ForeignKey("shops.id"), primary_key=True, autoincrement=False),
    sa.Column("user_id", BigInt, primary_key=True, autoincrement=False, index=True),
    sa.Column("role", sa.Integer, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("since", Instant, nullable=False),
    sa.CheckConstraint("role IN (1, 2, 3)", name="role_known"),
    sa.CheckConstraint("user_id NOT IN (1087968824, 136817688, 777000)", name="user_id_personal"),
    **STRICT,
)

chats = sa.Table(
    "chats",
    metadata,
    sa.Column("chat_id", BigInt, primary_key=True, autoincrement=False),
    sa.Column("shop_id", BigInt, sa.ForeignKey("shops.id"), nullable=False, index=True),
    sa.Column("since", Instant, nullable=False),
    **STRICT,
)
"""Which shop a chat acts for; a chat belongs to at most one."""

posts = sa.Table(
    "posts",
    metadata,
    sa.Column("chat_id", BigInt, primary_key=True, autoincrement=False),
    sa.Column("not_before", Instant),
    sa.Column("moved_to", BigInt),
    sa.Column("closed_because", sa.Text),
    **STRICT,
)
"""What Telegram said about a chat: wait until then, it moved there, it is closed to us."""

payments = sa.Table(
    "payments",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("shop_id", BigInt, sa.ForeignKey("shops.id"), nullable=False),
    sa.Column("ref", sa.Text, nullable=False),
    sa.Column("token", sa.Text, nullable=False),
    sa.Column("token_hash", sa.Text, nullable=False, unique=True),
    sa.Column("chat_id", BigInt, nullable=False),
    sa.Column("thread_id", BigInt),
    sa.Column("inline_id", sa.Text),
    sa.Column("source", sa.Text, nullable=False, unique=True),
    sa.Column("created_by", BigInt, nullable=False),
    sa.Column("amount", BigInt, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("manual_capture", Flag, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("livemode", Flag, nullable=False),
    sa.Column("version", BigInt, nullable=False),
    sa.Column("attempt_number", sa.Integer, nullable=False),
    sa.Column("create_number", sa.Integer, nullable=False),
    sa.Column("create_params", sa.Text, nullable=False),
    sa.Column("intent_id", sa.Text, unique=True),
    sa.Column("received", BigInt, nullable=False),
    sa.Column("cancel_asked", sa.Text),
    sa.Column("cancel_number", sa.Integer, nullable=False),
    sa.Column("canceled_because", sa.Text),
    sa.Column("trouble", sa.Text),
    sa.Column("trouble_count", sa.Integer, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("expires_at", Instant, nullable=False),
    sa.Column("look_at", Instant),
    sa.Column("succeeded_at", Instant),
    sa.Column("ended_at", Instant),
    sa.UniqueConstraint("shop_id", "ref"),
    _one_of("status", "created", "open", "processing", "authorized", "succeeded", "canceled"),
    sa.CheckConstraint(f"currency IN ({CURRENCY})", name="currency_known"),
    sa.CheckConstraint("amount > 0 AND amount <= 99999999", name="amount_sane"),
    sa.CheckConstraint("received >= 0 AND received <= amount", name="received_sane"),
    sa.CheckConstraint("(status = 'succeeded') = (succeeded_at IS NOT NULL)", name="succeeded_has_time"),
    sa.CheckConstraint("(status = 'canceled') = (canceled_because IS NOT NULL)", name="canceled_has_reason"),
    sa.CheckConstraint("attempt_number BETWEEN 1 AND 8", name="attempt_number_bounded"),
    sa.Index("ix_payments_look_at", "look_at", **_where("look_at IS NOT NULL")),
    sa.Index("ix_payments_open", "shop_id", "created_at", **_where("ended_at IS NULL")),
    sa.Index("ix_payments_shop_created", "shop_id", "created_at"),
    **STRICT,
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("payment_id", sa.Text, sa.ForeignKey("payments.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("params", sa.Text, nullable=False),
    sa.Column("asked_at", Instant, nullable=False),
    sa.Column("started_at", Instant),
    sa.Column("ends_at", Instant),
    sa.Column("link", sa.Text),
    sa.Column("code", sa.Text),
    sa.Column("cause", sa.Text, unique=True),
    _one_of("outcome", "asked", "live", "failed", "lapsed", "succeeded", "canceled"),
    _one_of("origin", "chat", "page"),
    sa.CheckConstraint("number BETWEEN 1 AND 8", name="number_bounded"),
    sa.Index("uq_attempts_one_running", "payment_id", unique=True, **_where("outcome IN ('asked', 'live')")),
    **STRICT,
)
"""Each confirm with the exact parameters it is sent with; at most one of a payment is running."""

history = sa.Table(
    "history",
    metadata,
    sa.Column("id", BigInt, primary_key=True, autoincrement=True),
    sa.Column("payment_id", sa.Text, sa.ForeignKey("payments.id"), nullable=False, index=True),
    sa.Column("shop_id", BigInt, sa.ForeignKey("shops.id"), nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    **STRICT,
)
"""Who did what and when, and what Stripe answered; rows are only ever added."""

cards = sa.Table(
    "cards",
    metadata,
    sa.Column("payment_id", sa.Text, sa.ForeignKey("payments.id"), primary_key=True),
    sa.Column("chat_id", BigInt, nullable=False),
    sa.Column("thread_id", BigInt),
    sa.Column("inline_id", sa.Text, unique=True),
    sa.Column("message_id", BigInt),
    sa.Column("shown_version", BigInt, nullable=False),
    sa.Column("shown_at", Instant),
    sa.Column("sends", sa.Integer, nullable=False),
    sa.Column("lost", Flag, nullable=False),
    sa.Index("uq_cards_message", "chat_id", "message_id", unique=True, **_where("message_id IS NOT NULL")),
    **STRICT,
)
"""The one message that shows a payment: where it is and which version of the payment it shows."""

questions = sa.Table(
    "questions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("chat_id", BigInt, nullable=False),
    sa.Column("thread_id", BigInt),
    sa.Column("user_id", BigInt, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("asked_at", Instant, nullable=False),
    sa.Column("answer", sa.Integer),
    sa.Column("answered_at", Instant),
    sa.CheckConstraint("(answer IS NULL) = (answered_at IS NULL)", name="answered_once"),
    **STRICT,
)
"""What Kvit asked a person by buttons; the first answer stays, and only he gives it."""

mail = sa.Table(
    "mail",
    metadata,
    sa.Column("id", BigInt, primary_key=True, autoincrement=True),
    sa.Column("box", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("lane", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("put_at", Instant, nullable=False),
    sa.Column("due_at", Instant, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("lease_until", Instant),
    sa.Column("lease", sa.Text),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("settled_at", Instant),
    sa.UniqueConstraint("box", "key"),
    _one_of("state", "waiting", "done", "set_aside"),
    sa.Index("ix_mail_waiting", "box", "lane", "id", **_where("state = 'waiting'")),
    sa.Index("ix_mail_done", "box", "settled_at", **_where("state = 'done'")),
    sa.Index("ix_mail_set_aside", "box", "id", **_where("state = 'set_aside'")),
    **STRICT,
)
"""Durable belts: Stripe's events in, Telegram's updates in, messages out."""
