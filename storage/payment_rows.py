"""Converts between rows and payments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from storage.database.database import lock_rows
from storage.models.hashing import sha256_hex
from storage.models.money import Money
from storage.models.payment import (
    Attempt,
    AttemptStatus,
    CancellationReason,
    ChatTarget,
    Origin,
    Payment,
    PaymentStatus,
)
from storage.schema.payments import attempts, payments

_CURRENT = payments.join(
    attempts,
    (attempts.c.payment_id == payments.c.id) & (attempts.c.number == payments.c.attempt_number),
)
_ATTEMPT = [
    attempts.c[name].label(f"attempt_{name}")
    for name in (
        "status",
        "origin",
        "requested_at",
        "started_at",
        "expires_at",
        "redirect_url",
        "failure_code",
        "trigger_key",
        "opened_at",
        "returned_at",
    )
]
PAYMENTS = sa.select(payments, *_ATTEMPT).select_from(_CURRENT)
"""Every payment with its newest attempt; add a `where`."""


_BY = {
    name: PAYMENTS.where(payments.c[name] == sa.bindparam("key"))
    for name in ("id", "intent_id", "request_key", "token_hash")
}
# Built once: building a statement costs more than running it.


def get_payment_by(tx: sa.Connection, column: str, key: str) -> Payment | None:
    """The payment with this `key` in a unique column: id, intent_id, request_key or token_hash."""
    return _first(tx.execute(_BY[column], {"key": key}).mappings())


def get_payment_for_update(tx: sa.Connection, payment_id: str) -> Payment | None:
    """The payment, locked: no other transaction changes it until this one ends.

    It is read after it is locked: what a locking statement joins may be older than the row that it waited for.
    """
    lock_rows(tx, sa.select(payments.c.id).where(payments.c.id == payment_id))
    return get_payment_by(tx, "id", payment_id)


def payment_where(tx: sa.Connection, condition: sa.ColumnElement[bool]) -> Payment | None:
    """The one payment that meets the condition."""
    return _first(tx.execute(PAYMENTS.where(condition)).mappings())


def _first(found: sa.MappingResult) -> Payment | None:
    row = found.first()
    return None if row is None else row_to_payment(row)


def payments_by(tx: sa.Connection, query: sa.Select[Any]) -> Sequence[Payment]:
    """All payments of a query made from `PAYMENTS`."""
    return [row_to_payment(row) for row in tx.execute(query).mappings()]


def row_to_payment(row: sa.RowMapping) -> Payment:
    """A payment from a row of `PAYMENTS`."""
    return Payment(
        id=row["id"],
        shop_id=row["shop_id"],
        reference=row["reference"],
        page_token=row["page_token"],
        chat=ChatTarget(row["chat_id"], row["thread_id"], row["inline_message_id"]),
        request_key=row["request_key"],
        created_by=row["created_by"],
        amount=Money(row["amount"], row["currency"]),
        description=row["description"],
        status=PaymentStatus(row["status"]),
        attempt=_to_attempt(row),
        created_at=row["created_at"],
        requested_at=row["requested_at"],
        command_hash=row["command_hash"],
        expires_at=row["expires_at"],
        version=row["version"],
        manual_capture=row["manual_capture"],
        create_key_version=row["create_key_version"],
        intent_id=row["intent_id"],
        charge_id=row["charge_id"],
        livemode=row["livemode"],
        amount_received=row["amount_received"],
        cancel_requested=_reason(row["cancel_requested"]),
        cancel_key_version=row["cancel_key_version"],
        cancellation_reason=_reason(row["cancellation_reason"]),
        last_error=row["last_error"],
        error_count=row["error_count"],
        next_check_at=row["next_check_at"],
        succeeded_at=row["succeeded_at"],
        closed_at=row["closed_at"],
        synced_at=row["synced_at"],
        authorized_at=row["authorized_at"],
        capture_before=row["capture_before"],
        capture_requested_by=row["capture_requested_by"],
        capture_key_version=row["capture_key_version"],
        cancel_requested_by=row["cancel_requested_by"],
        request_sent_at=row["request_sent_at"],
        reminders_sent=row["reminders_sent"],
        amount_refunded=row["amount_refunded"],
        amount_refund_pending=row["amount_refund_pending"],
        dispute_status=row["dispute_status"],
        receipt_number=row["receipt_number"],
        note=row["note"],
        settled_as=row["settled_as"],
    )


def _to_attempt(row: sa.RowMapping) -> Attempt:
    return Attempt(
        number=row["attempt_number"],
        status=AttemptStatus(row["attempt_status"]),
        origin=Origin(row["attempt_origin"]),
        requested_at=row["attempt_requested_at"],
        started_at=row["attempt_started_at"],
        expires_at=row["attempt_expires_at"],
        redirect_url=row["attempt_redirect_url"],
        failure_code=row["attempt_failure_code"],
        trigger_key=row["attempt_trigger_key"],
        opened_at=row["attempt_opened_at"],
        returned_at=row["attempt_returned_at"],
    )


def _reason(word: str | None) -> CancellationReason | None:
    return None if word is None else CancellationReason(word)


def payment_to_row(payment: Payment) -> dict[str, Any]:
    """The columns of `payments`, without the frozen parameters, which never change."""
    return {
        "id": payment.id,
        "shop_id": payment.shop_id,
        "reference": payment.reference,
        "page_token": payment.page_token,
        "token_hash": sha256_hex(payment.page_token),
        "chat_id": payment.chat.chat_id,
        "thread_id": payment.chat.thread_id,
        "inline_message_id": payment.chat.inline_message_id,
        "request_key": payment.request_key,
        "created_by": payment.created_by,
        "amount": payment.amount.minor,
        "currency": payment.amount.currency,
        "description": payment.description,
        "manual_capture": payment.manual_capture,
        "status": payment.status.value,
        "livemode": payment.livemode,
        "version": payment.version,
        "attempt_number": payment.attempt.number,
        "create_key_version": payment.create_key_version,
        "intent_id": payment.intent_id,
        "charge_id": payment.charge_id,
        "amount_received": payment.amount_received,
        "cancel_requested": payment.cancel_requested,
        "cancel_key_version": payment.cancel_key_version,
        "cancellation_reason": payment.cancellation_reason,
        "last_error": payment.last_error,
        "error_count": payment.error_count,
        "created_at": payment.created_at,
        "requested_at": payment.requested_at,
        "command_hash": payment.command_hash,
        "expires_at": payment.expires_at,
        "next_check_at": payment.next_check_at,
        "succeeded_at": payment.succeeded_at,
        "closed_at": payment.closed_at,
        "synced_at": payment.synced_at,
        "authorized_at": payment.authorized_at,
        "capture_before": payment.capture_before,
        "capture_requested_by": payment.capture_requested_by,
        "capture_key_version": payment.capture_key_version,
        "cancel_requested_by": payment.cancel_requested_by,
        "request_sent_at": payment.request_sent_at,
        "reminders_sent": payment.reminders_sent,
        "amount_refunded": payment.amount_refunded,
        "amount_refund_pending": payment.amount_refund_pending,
        "dispute_status": payment.dispute_status,
        "receipt_number": payment.receipt_number,
        "note": payment.note,
        "settled_as": payment.settled_as,
    }


def of_attempt(payment: Payment) -> dict[str, Any]:
    """The columns of `attempts` for the newest attempt, without its frozen parameters."""
    attempt = payment.attempt
    return {
        "payment_id": payment.id,
        "number": attempt.number,
        "status": attempt.status.value,
        "origin": attempt.origin.value,
        "requested_at": attempt.requested_at,
        "started_at": attempt.started_at,
        "expires_at": attempt.expires_at,
        "redirect_url": attempt.redirect_url,
        "failure_code": attempt.failure_code,
        "trigger_key": attempt.trigger_key,
        "opened_at": attempt.opened_at,
        "returned_at": attempt.returned_at,
    }


def new_message_row(payment: Payment) -> dict[str, Any]:
    """The columns of `payment_messages` before the message was sent."""
    chat = payment.chat
    nothing_shown = {"message_id": None, "shown_version": 0, "shown_at": None, "send_attempts": 0, "is_deleted": False}
    where = {"chat_id": chat.chat_id, "thread_id": chat.thread_id, "inline_message_id": chat.inline_message_id}
    return {"payment_id": payment.id, **where, **nothing_shown}
