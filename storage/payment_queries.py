"""Read-only queries about payments; each uses an index."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import sqlalchemy as sa

from storage import payment_rows
from storage.audit_log import AuditEntry
from storage.models.hashing import sha256_hex
from storage.models.money import Money
from storage.models.payment import Payment, PaymentStatus, SentCommand
from storage.models.refund import RESERVING_STATUSES
from storage.movements import Period
from storage.schema.audit_log import audit_log
from storage.schema.payments import attempts, payment_messages, payments
from storage.schema.refunds import refunds

FAR_AHEAD = timedelta(hours=3)
"""No check is scheduled so far ahead."""


@dataclass(frozen=True)
class Outstanding:
    """Number and sum of a shop's holds that wait to be captured, and of its open requests, in one currency."""

    holds: int
    reserved: Money
    requests: int
    open: Money


def by_id(tx: sa.Connection, payment_id: str) -> Payment | None:
    """By our id."""
    return _by(tx, "id", payment_id)


def by_intent(tx: sa.Connection, intent_id: str) -> Payment | None:
    """By the id of its PaymentIntent."""
    return _by(tx, "intent_id", intent_id)


def known_ids(tx: sa.Connection, pairs: Sequence[tuple[str, str | None]]) -> set[str | None]:
    """Those of the intent ids and payment ids, given in pairs, that are in the database."""
    known: set[str | None] = set()
    for column, ids in (
        (payments.c.intent_id, {pair[0] for pair in pairs}),
        (payments.c.id, {pair[1] for pair in pairs}),
    ):
        known.update(tx.execute(sa.select(column).where(column.in_(ids - {None}))).scalars())
    return known


def by_request_key(tx: sa.Connection, source: str) -> Payment | None:
    """By the key of the request that made it."""
    return _by(tx, "request_key", source)


def by_same_command(tx: sa.Connection, command: SentCommand, *, within: timedelta) -> Payment | None:
    """The newest payment of the same command by the same person in the same chat, sent at most this long apart.

    A canceled one is not returned: it cannot be paid.
    """
    query = payment_rows.PAYMENTS.where(
        payments.c.chat_id == command.chat.chat_id,
        payments.c.requested_at.between(command.sent_at - within, command.sent_at + within),
        payments.c.command_hash == command.hash,
        payments.c.created_by == command.user_id,
        payments.c.request_key != command.request_key,
        payments.c.status != PaymentStatus.CANCELED.value,
    )
    found = payment_rows.payments_by(tx, query.order_by(payments.c.created_at.desc(), payments.c.id).limit(1))
    return found[0] if found else None


def by_reference(tx: sa.Connection, shop_id: int, ref: str) -> Payment | None:
    """By the reference within a shop."""
    return _payment(tx, (payments.c.shop_id == shop_id) & (payments.c.reference == ref))


def by_token(tx: sa.Connection, token: str) -> Payment | None:
    """By the token of its page's URL."""
    return _by(tx, "token_hash", sha256_hex(token))


def by_message(tx: sa.Connection, shop_id: int, chat_id: int, message_id: int) -> Payment | None:
    """By the id of its payment message, if the payment is one of this shop's."""
    where = (payment_messages.c.chat_id == chat_id) & (payment_messages.c.message_id == message_id)
    card = sa.select(payment_messages.c.payment_id).where(where).scalar_subquery()
    return _payment(tx, (payments.c.id == card) & (payments.c.shop_id == shop_id))


def open_payments(
    tx: sa.Connection, shop_id: int, *, limit: int, before: tuple[datetime, str] | None = None
) -> Sequence[Payment]:
    """A shop's open requests, newest first; `before` is the position at which the previous page ended."""
    query = payment_rows.PAYMENTS.where(payments.c.shop_id == shop_id, payments.c.closed_at.is_(None))
    if before is not None:
        place = sa.tuple_(payments.c.created_at, payments.c.id)
        query = query.where(place < sa.tuple_(*before, types=[payments.c.created_at.type, payments.c.id.type]))
    query = query.order_by(payments.c.created_at.desc(), payments.c.id.desc()).limit(limit)
    return payment_rows.payments_by(tx, query)


def last_paid(tx: sa.Connection, shop_id: int, *, limit: int) -> Sequence[Payment]:
    """A shop's paid requests, the one that was paid last first."""
    query = payment_rows.PAYMENTS.where(payments.c.shop_id == shop_id, payments.c.succeeded_at.is_not(None))
    return payment_rows.payments_by(tx, query.order_by(payments.c.succeeded_at.desc()).limit(limit))


def payments_of_period(
    tx: sa.Connection,
    shop_id: int,
    period: Period,
    *,
    livemode: bool,
    limit: int,
    before: tuple[datetime, str] | None = None,
) -> Sequence[Payment]:
    """A shop's payments of a period, newest first: those paid in it, and those requested in it and not paid.

    `before` is the `position` at which the previous page ended.
    """
    found: list[Payment] = []
    for at, condition in (
        (payments.c.succeeded_at, payments.c.succeeded_at.is_not(None)),
        (payments.c.created_at, payments.c.succeeded_at.is_(None)),
    ):
        query = payment_rows.PAYMENTS.where(payments.c.shop_id == shop_id, payments.c.livemode == livemode, condition)
        query = query.where(at >= period.since, at < period.until)
        if before is not None:
            place = sa.tuple_(at, payments.c.id)
            query = query.where(place < sa.tuple_(*before, types=[at.type, payments.c.id.type]))
        found += payment_rows.payments_by(tx, query.order_by(at.desc(), payments.c.id.desc()).limit(limit))
    return sorted(found, key=position, reverse=True)[:limit]


def position(payment: Payment) -> tuple[datetime, str]:
    """The place of a payment in the lists of `payments_of_period`: when it was paid, else when it was requested."""
    return payment.succeeded_at or payment.created_at, payment.id


def outstanding(tx: sa.Connection, shop_id: int, *, livemode: bool) -> Sequence[Outstanding]:
    """What a shop has reserved and open now, for each currency in which there is any, in alphabetical order."""
    query = sa.select(payments.c.currency, payments.c.status, sa.func.count(), sa.func.sum(payments.c.amount))
    query = query.where(
        payments.c.shop_id == shop_id, payments.c.closed_at.is_(None), payments.c.livemode == livemode
    ).group_by(payments.c.currency, payments.c.status)
    found: dict[str, Outstanding] = {}
    for currency, status, number, amount in tx.execute(query):
        total, nothing = Money(int(amount), currency), Money(0, currency)
        before = found.get(currency, Outstanding(0, nothing, 0, nothing))
        if status == PaymentStatus.AUTHORIZED.value:
            found[currency] = replace(before, holds=before.holds + number, reserved=before.reserved + total)
        else:
            found[currency] = replace(before, requests=before.requests + number, open=before.open + total)
    return [found[currency] for currency in sorted(found)]


def settled_otherwise(
    tx: sa.Connection, shop_id: int, period: Period, *, livemode: bool
) -> Mapping[str, tuple[int, Money]]:
    """Number and sum of the requests that ended in a period because the shop was paid otherwise, by currency."""
    query = sa.select(payments.c.currency, sa.func.count(), sa.func.sum(payments.c.amount))
    query = query.where(
        payments.c.shop_id == shop_id,
        payments.c.livemode == livemode,
        _SETTLED,
        payments.c.closed_at >= period.since,
        payments.c.closed_at < period.until,
    )
    rows = tx.execute(query.group_by(payments.c.currency))
    return {currency: (number, Money(int(amount), currency)) for currency, number, amount in rows}


def count_open_in_chat(tx: sa.Connection, shop_id: int, chat_id: int) -> int:
    """The number of a shop's open requests in a chat, and of refunds that await approval there."""
    count = sa.select(sa.func.count())
    open_ = payments.c.closed_at.is_(None)
    requests = count.where(payments.c.shop_id == shop_id, payments.c.chat_id == chat_id, open_)
    ends = refunds.c.next_check_at.is_not(None)  # so that the index over pending refunds serves
    refunds_awaiting = count.where(
        ends, refunds.c.shop_id == shop_id, refunds.c.chat_id == chat_id, refunds.c.status == "awaiting_approval"
    )
    found: int = tx.execute(requests).scalar_one() + tx.execute(refunds_awaiting).scalar_one()
    return found


def create_params(tx: sa.Connection, payment_id: str) -> str:
    """The frozen parameters of the call that creates the intent, as JSON."""
    params: str = tx.execute(_PARAMS, {"key": payment_id}).scalar_one()
    return params


def attempt_params(tx: sa.Connection, payment_id: str, number: int) -> str:
    """The frozen parameters of one attempt, as JSON."""
    which = (attempts.c.payment_id == payment_id) & (attempts.c.number == number)
    params: str = tx.execute(sa.select(attempts.c.params).where(which)).scalar_one()
    return params


def attempt_exists_for(tx: sa.Connection, cause: str) -> bool:
    """Whether this button press has started an attempt before."""
    query = sa.select(attempts.c.number).where(attempts.c.trigger_key == cause)
    return tx.execute(query).first() is not None


def due(tx: sa.Connection, until: datetime, *, limit: int = 100) -> Sequence[str]:
    """The ids of payments whose next check is due by then, the longest overdue first.

    So are those whose next check is far ahead: it was scheduled under a wrong clock.
    """
    limits = {"until": until, "far": until + FAR_AHEAD, "most": limit}
    return list(tx.execute(_DUE, limits).scalars())


def next_due_at(tx: sa.Connection) -> datetime | None:
    """When the next payment is due to be checked."""
    found: datetime | None = tx.execute(_NEXT_DUE).scalar()
    return found


def count_unfinished(tx: sa.Connection, *, livemode: bool) -> int:
    """The number of open payments and of refunds under way in this Stripe mode."""
    still_open = sa.select(sa.func.count()).select_from(payments)
    still_open = still_open.where(payments.c.closed_at.is_(None), payments.c.livemode == livemode)
    on_the_way = sa.select(sa.func.count()).select_from(refunds.join(payments))
    on_the_way = on_the_way.where(refunds.c.next_check_at.is_not(None), payments.c.livemode == livemode)
    on_the_way = on_the_way.where(refunds.c.status.in_([status.value for status in RESERVING_STATUSES]))
    return sum([tx.execute(query).scalar_one() for query in (still_open, on_the_way)])


def audit_entries(tx: sa.Connection, payment_id: str) -> Sequence[AuditEntry]:
    """The audit log of a payment, oldest first."""
    query = sa.select(audit_log).where(audit_log.c.payment_id == payment_id).order_by(audit_log.c.id)
    found = tx.execute(query).mappings().all()
    return [
        AuditEntry(row["id"], row["at"], row["actor"], row["action"], json.loads(row["detail"]), None) for row in found
    ]


def _by(tx: sa.Connection, column: str, key: str) -> Payment | None:
    return payment_rows.get_payment_by(tx, column, key)


def _payment(tx: sa.Connection, condition: sa.ColumnElement[bool]) -> Payment | None:
    return payment_rows.payment_where(tx, condition)


# A literal, for SQLite uses a partial index only where the statement itself has the index's condition.
_SETTLED = payments.c.cancellation_reason == sa.literal_column("'settled'")
_SCHEDULED = payments.c.next_check_at.is_not(None)
_DUE = (
    sa.select(payments.c.id)
    .where(
        _SCHEDULED
        & (
            (payments.c.next_check_at <= sa.bindparam("until", type_=payments.c.next_check_at.type))
            | (payments.c.next_check_at > sa.bindparam("far", type_=payments.c.next_check_at.type))
        )
    )
    .order_by(payments.c.next_check_at)
    .limit(sa.bindparam("most"))
)
_NEXT_DUE = sa.select(payments.c.next_check_at).where(_SCHEDULED).order_by(payments.c.next_check_at).limit(1)
_PARAMS = sa.select(payments.c.create_params).where(payments.c.id == sa.bindparam("key"))
