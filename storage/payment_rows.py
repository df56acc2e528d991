"""Between rows of the tables and the values that the rest of the house speaks in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.models.money import Money
from storage.models.payment import Attempt, AttemptOutcome, CancelReason, Origin, Payment, PaymentStatus, Place, hash_of
from storage.schema.payments import attempts, payments

_CURRENT = payments.join(
    attempts,
    (attempts.c.payment_id == payments.c.id) & (attempts.c.number == payments.c.attempt_number),
)
_ATTEMPT = [
    attempts.c[name].label(f"attempt_{name}")
    for name in ("outcome", "origin", "asked_at", "started_at", "ends_at", "link", "code", "cause")
]
PAYMENTS = sa.select(payments, *_ATTEMPT).select_from(_CURRENT)
"""Every payment with its newest attempt; add a `where`."""


_BY = {
    name: PAYMENTS.where(payments.c[name] == sa.bindparam("key"))
    for name in ("id", "intent_id", "source", "token_hash")
}
_LOCKED = PAYMENTS.where(payments.c.id == sa.bindparam("key")).with_for_update(of=payments)
# Made once: to put a statement together costs more than to run it.


async def payment_by(tx: AsyncConnection, column: str, key: str) -> Payment | None:
    """The one payment that has `key` in a unique column: id, intent_id, source or token_hash."""
    return _first((await tx.execute(_BY[column], {"key": key})).mappings())


async def payment_locked(tx: AsyncConnection, payment_id: str) -> Payment | None:
    """The payment, which nobody else changes in this transaction."""
    return _first((await tx.execute(_LOCKED, {"key": payment_id})).mappings())


async def payment_where(tx: AsyncConnection, condition: sa.ColumnElement[bool]) -> Payment | None:
    """The one payment that meets the condition."""
    return _first((await tx.execute(PAYMENTS.where(condition))).mappings())


def _first(found: sa.MappingResult) -> Payment | None:
    row = found.first()
    return None if row is None else to_payment(row)


async def payments_by(tx: AsyncConnection, query: sa.Select[Any]) -> Sequence[Payment]:
    """All payments of a query made from `PAYMENTS`."""
    return [to_payment(row) for row in (await tx.execute(query)).mappings()]


def to_payment(row: sa.RowMapping) -> Payment:
    """A payment from a row of `PAYMENTS`."""
    return Payment(
        id=row["id"],
        shop_id=row["shop_id"],
        ref=row["ref"],
        token=row["token"],
        place=Place(row["chat_id"], row["thread_id"], row["inline_id"]),
        source=row["source"],
        created_by=row["created_by"],
        amount=Money(row["amount"], row["currency"]),
        text=row["text"],
        status=PaymentStatus(row["status"]),
        attempt=_to_attempt(row),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        version=row["version"],
        manual_capture=row["manual_capture"],
        create_number=row["create_number"],
        intent_id=row["intent_id"],
        livemode=row["livemode"],
        received=row["received"],
        cancel_asked=_reason(row["cancel_asked"]),
        cancel_number=row["cancel_number"],
        canceled_because=_reason(row["canceled_because"]),
        trouble=row["trouble"],
        trouble_count=row["trouble_count"],
        look_at=row["look_at"],
        succeeded_at=row["succeeded_at"],
        ended_at=row["ended_at"],
        looked_at=row["looked_at"],
        authorized_at=row["authorized_at"],
        capture_before=row["capture_before"],
        capture_by=row["capture_by"],
        capture_number=row["capture_number"],
        cancel_by=row["cancel_by"],
        wish_sent_at=row["wish_sent_at"],
        reminded=row["reminded"],
        refunded=row["refunded"],
        refunding=row["refunding"],
        disputed=row["disputed"],
        receipt_number=row["receipt_number"],
    )


def _to_attempt(row: sa.RowMapping) -> Attempt:
    return Attempt(
        number=row["attempt_number"],
        outcome=AttemptOutcome(row["attempt_outcome"]),
        origin=Origin(row["attempt_origin"]),
        asked_at=row["attempt_asked_at"],
        started_at=row["attempt_started_at"],
        ends_at=row["attempt_ends_at"],
        link=row["attempt_link"],
        code=row["attempt_code"],
        cause=row["attempt_cause"],
    )


def _reason(word: str | None) -> CancelReason | None:
    return None if word is None else CancelReason(word)


def of_payment(payment: Payment) -> dict[str, Any]:
    """The columns of `payments`, but for the frozen parameters, which never change."""
    return {
        "id": payment.id,
        "shop_id": payment.shop_id,
        "ref": payment.ref,
        "token": payment.token,
        "token_hash": hash_of(payment.token),
        "chat_id": payment.place.chat_id,
        "thread_id": payment.place.thread_id,
        "inline_id": payment.place.inline_id,
        "source": payment.source,
        "created_by": payment.created_by,
        "amount": payment.amount.minor,
        "currency": payment.amount.currency,
        "text": payment.text,
        "manual_capture": payment.manual_capture,
        "status": payment.status.value,
        "livemode": payment.livemode,
        "version": payment.version,
        "attempt_number": payment.attempt.number,
        "create_number": payment.create_number,
        "intent_id": payment.intent_id,
        "received": payment.received,
        "cancel_asked": payment.cancel_asked,
        "cancel_number": payment.cancel_number,
        "canceled_because": payment.canceled_because,
        "trouble": payment.trouble,
        "trouble_count": payment.trouble_count,
        "created_at": payment.created_at,
        "expires_at": payment.expires_at,
        "look_at": payment.look_at,
        "succeeded_at": payment.succeeded_at,
        "ended_at": payment.ended_at,
        "looked_at": payment.looked_at,
        "authorized_at": payment.authorized_at,
        "capture_before": payment.capture_before,
        "capture_by": payment.capture_by,
        "capture_number": payment.capture_number,
        "cancel_by": payment.cancel_by,
        "wish_sent_at": payment.wish_sent_at,
        "reminded": payment.reminded,
        "refunded": payment.refunded,
        "refunding": payment.refunding,
        "disputed": payment.disputed,
        "receipt_number": payment.receipt_number,
    }


def of_attempt(payment: Payment) -> dict[str, Any]:
    """The columns of `attempts` for the payment's newest attempt, but for its frozen parameters."""
    attempt = payment.attempt
    return {
        "payment_id": payment.id,
        "number": attempt.number,
        "outcome": attempt.outcome.value,
        "origin": attempt.origin.value,
        "asked_at": attempt.asked_at,
        "started_at": attempt.started_at,
        "ends_at": attempt.ends_at,
        "link": attempt.link,
        "code": attempt.code,
        "cause": attempt.cause,
    }


def of_new_card(payment: Payment) -> dict[str, Any]:
    """The columns of `cards` before the card was posted."""
    place = payment.place
    nothing_shown = {"message_id": None, "shown_version": 0, "shown_at": None, "sends": 0, "lost": False}
    where = {"chat_id": place.chat_id, "thread_id": place.thread_id, "inline_id": place.inline_id}
    return {"payment_id": payment.id, **where, **nothing_shown}
