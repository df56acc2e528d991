"""Disputes and early fraud warnings as Stripe reports them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from storage import movements, payment_rows
from storage.audit_log import HAPPENED_AT, record_for_payment
from storage.database.database import Database
from storage.job_queue import JobQueue
from storage.models.dispute import Dispute, FraudWarning, overall_status
from storage.models.job import NewJob
from storage.models.money import any_money
from storage.models.payment import Payment
from storage.payments import PAYMENTS_CHANGED
from storage.schema.payments import payments
from storage.schema.refunds import disputes, fraud_warnings

AnnounceDispute = Callable[[Payment, Dispute], tuple[NewJob, ...]]
AnnounceWarning = Callable[[Payment, FraudWarning], tuple[NewJob, ...]]


class DisputeRepository:
    """Writes disputes, by Stripe's id. Its methods are units of work: pass them to `Database.read` or `write`."""

    def __init__(
        self, db: Database, outbox: JobQueue, announce: AnnounceDispute, announce_warning: AnnounceWarning
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._announce = announce
        self._announce_warning = announce_warning

    def find(self, tx: sa.Connection, dispute_id: str) -> Dispute | None:
        """By Stripe's id."""
        row = tx.execute(sa.select(disputes).where(disputes.c.id == dispute_id)).mappings().first()
        return None if row is None else _to_dispute(row)

    def for_payment(self, tx: sa.Connection, payment_id: str) -> Sequence[Dispute]:
        """All disputes of a payment, in the order in which they were first seen."""
        return disputes_of_payment(tx, payment_id)

    def apply_stripe_disputes(
        self,
        tx: sa.Connection,
        payment_id: str,
        said: Iterable[Dispute],
        warnings: Iterable[FraudWarning],
        *,
        now: datetime,
    ) -> None:
        """Store Stripe's disputes and fraud warnings of a payment, and enqueue a message about each change."""
        payment = payment_rows.get_payment_for_update(tx, payment_id)
        if payment is None:
            raise LookupError("no such payment")
        known = {dispute.id: dispute for dispute in disputes_of_payment(tx, payment_id)}
        for dispute in said:
            if known.get(dispute.id) != dispute:
                payment = self._write(tx, payment, known.get(dispute.id), dispute, now)
                movements.record_dispute(tx, payment, dispute, now=now)
        for warning in warnings:
            self._save_fraud_warning(tx, payment, warning, now)

    def _write(
        self, tx: sa.Connection, payment: Payment, before: Dispute | None, dispute: Dispute, now: datetime
    ) -> Payment:
        tx.execute(disputes.delete().where(disputes.c.id == dispute.id))
        tx.execute(disputes.insert().values(**_row(payment, dispute), seen_at=now))
        version, disputed = payment.version + 1, overall_status(disputes_of_payment(tx, payment.id))
        payment = replace(payment, version=version, dispute_status=disputed)
        tx.execute(
            payments.update().where(payments.c.id == payment.id).values(version=version, dispute_status=disputed)
        )
        detail: dict[str, Any] = {
            "dispute": dispute.id,
            "dispute_status": dispute.status,
            "amount": dispute.amount.minor,
        }
        if before is None and dispute.created_at is not None:
            detail[HAPPENED_AT] = dispute.created_at.isoformat()
        record_for_payment(tx, payment, "stripe", "dispute_synced", detail, now)
        if before is None or before.status != dispute.status:
            self._outbox.enqueue_in(tx, *self._announce(payment, dispute), now=now)
        self._db.wake_up(tx, PAYMENTS_CHANGED)
        self._db.notify_payment_changed(tx, payment.id)
        return payment

    def _save_fraud_warning(self, tx: sa.Connection, payment: Payment, warning: FraudWarning, now: datetime) -> None:
        known = sa.select(fraud_warnings.c.id).where(fraud_warnings.c.id == warning.id)
        if tx.execute(known).first() is not None:
            return
        row = {"id": warning.id, "payment_id": payment.id, "fraud_type": warning.fraud_type, "seen_at": now}
        tx.execute(fraud_warnings.insert().values(**row))
        record_for_payment(tx, payment, "stripe", "fraud_warning", {"warning": warning.id}, now)
        self._outbox.enqueue_in(tx, *self._announce_warning(payment, warning), now=now)


def disputes_of_payment(tx: sa.Connection, payment_id: str) -> Sequence[Dispute]:
    """All disputes of a payment, in the order in which they were first seen."""
    query = sa.select(disputes).where(disputes.c.payment_id == payment_id).order_by(disputes.c.seen_at, disputes.c.id)
    return [_to_dispute(row) for row in tx.execute(query).mappings()]


def _row(payment: Payment, dispute: Dispute) -> dict[str, object]:
    return {
        "id": dispute.id,
        "payment_id": payment.id,
        "shop_id": payment.shop_id,
        "amount": dispute.amount.minor,
        "currency": dispute.amount.currency,
        "status": dispute.status,
        "reason": dispute.reason,
        "due_by": dispute.due_by,
        "refundable": dispute.refundable,
        "withdrawn_at": dispute.withdrawn_at,
        "reinstated_at": dispute.reinstated_at,
        "created_at": dispute.created_at,
    }


def _to_dispute(row: sa.RowMapping) -> Dispute:
    amount = any_money(row["amount"], row["currency"])
    return Dispute(
        id=row["id"],
        amount=amount,
        status=row["status"],
        reason=row["reason"],
        due_by=row["due_by"],
        refundable=row["refundable"],
        withdrawn_at=row["withdrawn_at"],
        reinstated_at=row["reinstated_at"],
        created_at=row["created_at"],
    )
