"""The audit log: who did what and when. Rows are only ever added, in the transaction of the change that they record."""

from __future__ import annotations

import json
import logging
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa

from storage.database.database import after_commit
from storage.models.payment import Payment
from storage.schema.audit_log import audit_log
from storage.schema.payments import payments
from storage.schema.shops import members

log = logging.getLogger(__name__)

DENIED = "denied"

HAPPENED_AT = "happened_at"
"""The detail that holds Stripe's time of what Kvit learned later (ISO 8601, UTC)."""

MOST_SEARCHED = 20_000
"""Rows that one search goes through at most; the page says where it stopped, and the next one goes on from there."""


@dataclass(frozen=True)
class AuditEntry:
    """One row. `reference` is that of the payment it concerns, None if it concerns none."""

    id: int
    at: datetime
    actor: str
    action: str
    detail: dict[str, Any]
    reference: str | None

    @property
    def happened_at(self) -> datetime:
        """When it happened at Stripe; `at` for everything else."""
        said = self.detail.get(HAPPENED_AT)
        return datetime.fromisoformat(said) if said else self.at


@dataclass(frozen=True)
class AuditPage:
    """Rows, newest first, and the id below which the next page begins; None if there is no older row."""

    lines: Sequence[AuditEntry]
    next_cursor: int | None


def record_denied(tx: sa.Connection, shop_id: int, actor: str, detail: dict[str, Any], now: datetime) -> None:
    """Record that a person tried what they may not do."""
    record(tx, shop_id, actor, DENIED, detail, now)


def record_denied_for_payment(
    tx: sa.Connection, payment: Payment, actor: str, detail: dict[str, Any], now: datetime
) -> None:
    """Record that a person tried what they may not do with a payment."""
    record_for_payment(tx, payment, actor, DENIED, detail, now)


def get_page(
    tx: sa.Connection,
    shop_id: int,
    *,
    limit: int,
    before: int | None = None,
    payment_id: str | None = None,
    words: str = "",
) -> AuditPage:
    """A shop's newest rows older than `before`; only those of a payment, or those that contain every word."""
    rows = sa.select(audit_log.c.id).where(audit_log.c.shop_id == shop_id)
    if payment_id is not None:
        rows = rows.where(audit_log.c.payment_id == payment_id)
    if before is not None:
        rows = rows.where(audit_log.c.id < before)
    rows = rows.order_by(audit_log.c.id.desc()).limit(MOST_SEARCHED if words else limit + 1)
    searched = rows.subquery()
    query = sa.select(audit_log, payments.c.reference).select_from(
        audit_log.join(searched, searched.c.id == audit_log.c.id).outerjoin(
            payments, payments.c.id == audit_log.c.payment_id
        )
    )
    for word in words.split():
        query = query.where(_holds(shop_id, word))
    query = query.order_by(audit_log.c.id.desc()).limit(limit + 1)
    found = [_to_line(row) for row in tx.execute(query).mappings()]
    if len(found) > limit:
        return AuditPage(found[:limit], found[limit - 1].id)
    return AuditPage(found, _stopped_at(tx, searched) if words else None)


def _stopped_at(tx: sa.Connection, searched: sa.Subquery) -> int | None:
    """The oldest row that a search went through, if it stopped before the end."""
    number, last = (tx.execute(sa.select(sa.func.count(), sa.func.min(searched.c.id)))).one()
    return last if number == MOST_SEARCHED else None


def record_for_payment(
    tx: sa.Connection, payment: Payment, actor: str, action: str, detail: dict[str, Any], now: datetime
) -> None:
    """Add a row about a payment, and a line to the log once it is committed; `detail` is small and free of secrets."""
    said = {
        "status": payment.status,
        "attempt": payment.attempt.number,
        "attempt_status": payment.attempt.status,
        **detail,
    }
    record(tx, payment.shop_id, actor, action, said, now, payment_id=payment.id)
    marks = {"payment": payment.reference, "shop": payment.shop_id, "detail": said}
    after_commit(tx, partial(log.info, "%s, by %s", action, actor, extra=marks))


def record(
    tx: sa.Connection,
    shop_id: int,
    actor: str,
    action: str,
    detail: dict[str, Any],
    now: datetime,
    *,
    payment_id: str | None = None,
) -> None:
    """Add a row about a shop, or about one of its payments; `detail` is small and free of secrets."""
    row = {"payment_id": payment_id, "shop_id": shop_id, "at": now, "actor": actor, "action": action}
    tx.execute(_NEW, {**row, "detail": json.dumps(detail, sort_keys=True, ensure_ascii=False)})


def _holds(shop_id: int, word: str) -> sa.ColumnElement[bool]:
    """Whether a row contains the word, or the name of the member who acted does."""
    called = sa.select(sa.literal("user:") + sa.cast(members.c.user_id, sa.Text))
    called = called.where(members.c.shop_id == shop_id, _contains(members.c.name, word))
    searched = (audit_log.c.actor, audit_log.c.action, audit_log.c.detail, payments.c.reference)
    return sa.or_(*(_contains(column, word) for column in searched), audit_log.c.actor.in_(called))


def _contains(column: sa.ColumnElement[Any], word: str) -> sa.ColumnElement[bool]:
    """Whether the column contains the word in any case. SQLite compares only ASCII letters in any case."""
    word = unicodedata.normalize("NFC", word)
    forms = {word} if word.isascii() else {word, word.lower(), word.upper(), word.capitalize()}
    return sa.or_(*(column.icontains(form, autoescape=True) for form in sorted(forms)))


def _to_line(row: sa.RowMapping) -> AuditEntry:
    detail: dict[str, Any] = json.loads(row["detail"])
    return AuditEntry(row["id"], row["at"], row["actor"], row["action"], detail, row["reference"])


_NEW = audit_log.insert().inline()
