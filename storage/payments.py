"""Writes payments: each change is one transaction with its audit log and the jobs that follow from it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from storage import movements, payment_rows, receipts, search
from storage.audit_log import HAPPENED_AT, record_for_payment
from storage.database.database import Database
from storage.errors import InvalidTransition
from storage.job_queue import JobQueue
from storage.models.job import NewJob
from storage.models.payment import TRANSITIONS, Payment
from storage.schema.payments import attempts, payment_messages, payments

JobsForChange = Callable[[Payment, Payment], tuple[NewJob, ...]]
NextCheck = Callable[[Payment, datetime], datetime | None]
Transition = Callable[[Payment], Payment]

PAYMENTS_CHANGED = "payments"
"""The event that is set when a payment changed, and with it perhaps its next check."""

_LETTERS = "ABCDEFGHJKMNPQRSTVWXYZ"
ALPHABET = "0123456789" + _LETTERS
"""Crockford's alphabet. A reference begins with a letter and a digit, so it never reads as an amount."""


class PaymentRepository:
    """Writes payments, attempts and payment messages. Its methods are units of work: pass them to `Database.write`.

    `announce` gives the jobs that follow from a change, `schedule` the time of the next check.
    """

    def __init__(self, db: Database, outbox: JobQueue, announce: JobsForChange, schedule: NextCheck) -> None:
        self._db = db
        self._outbox = outbox
        self._announce = announce
        self._schedule = schedule

    def create(self, tx: sa.Connection, payment: Payment, *, params: Callable[[Payment], str]) -> Payment:
        """Store the payment with its first attempt; the same request key returns the stored payment.

        `params` makes the frozen parameters once the payment has its reference.
        """
        known = payment_rows.get_payment_by(tx, "request_key", payment.request_key)
        if known is not None:
            return known
        payment = replace(payment, reference=_generate_reference(tx, payment.shop_id))
        payment = replace(payment, next_check_at=self._schedule(payment, payment.created_at))
        frozen = params(payment)
        tx.execute(_NEW_PAYMENT, {**payment_rows.payment_to_row(payment), "create_params": frozen})
        tx.execute(_NEW_ATTEMPT, {**payment_rows.of_attempt(payment), "params": frozen})
        tx.execute(_NEW_MESSAGE, payment_rows.new_message_row(payment))
        search.add_payment(tx, payment)
        record_for_payment(tx, payment, f"user:{payment.created_by}", "requested", {}, payment.created_at)
        self._db.wake_up(tx, PAYMENTS_CHANGED)
        return payment

    def update(
        self,
        tx: sa.Connection,
        payment_id: str,
        decide: Transition,
        *,
        now: datetime,
        actor: str,
        action: str,
        detail: dict[str, Any] | None = None,
        params: str | None = None,
    ) -> Payment:
        """Apply a pure decision to the newest state, and store the result, its audit log entry and its jobs.

        A decision that changes nothing stores at most the time of the next check. `params` are the frozen parameters
        of a new attempt.

        Raises:
            InvalidTransition: the decision changed the status in a way that `TRANSITIONS` does not have.
        """
        before = payment_rows.get_payment_for_update(tx, payment_id)
        if before is None:
            raise LookupError("no such payment")
        after = decide(before)
        after = replace(after, next_check_at=self._schedule(after, now))
        if after == before:
            return after
        self._db.wake_up(tx, PAYMENTS_CHANGED)
        if replace(after, next_check_at=before.next_check_at) == before:
            tx.execute(_one(payment_id).values(next_check_at=after.next_check_at))
            return after
        _check_transition(before, after)
        after = receipts.assign_number(tx, before, replace(after, version=before.version + 1))
        self._write(tx, before, after, params)
        self._db.notify_payment_changed(tx, payment_id)
        if after.note != before.note:
            search.update_payment(tx, after)
        if after.succeeded_at is not None and before.succeeded_at is None:
            movements.record_payment(tx, after, now=now)
            receipts.freeze(tx, after)
            detail = {**(detail or {}), HAPPENED_AT: after.succeeded_at.isoformat()}
        record_for_payment(tx, after, actor, action, detail or {}, now)
        self._outbox.enqueue_in(tx, *self._announce(before, after), now=now)
        return after

    def request_redraw(
        self, tx: sa.Connection, payment_id: str, *, now: datetime, ordering_key: str | None = None
    ) -> None:
        """Have the payment message shown again though nothing changed: its text depends on the time too.

        `ordering_key` replaces that of its chat.
        """
        before = payment_rows.get_payment_for_update(tx, payment_id)
        if before is None:
            return
        after = replace(before, version=before.version + 1)
        tx.execute(_one(payment_id).values(version=after.version))
        jobs = self._announce(before, after)
        if ordering_key is not None:
            jobs = tuple(replace(job, ordering_key=ordering_key) for job in jobs)
        self._outbox.enqueue_in(tx, *jobs, now=now)

    def mark_request_sent(self, tx: sa.Connection, payment: Payment, *, now: datetime) -> bool:
        """Record that Stripe is about to be asked to capture or cancel; False if that is not requested any more."""
        read = {f"read_{name}": getattr(payment, name) for name in _REQUEST}
        return bool(tx.execute(_MARK_SENT, {"key": payment.id, "now": now, **read}).rowcount)

    def postpone_check(self, tx: sa.Connection, payment_id: str, *, now: datetime) -> None:
        """Check the payment again in five minutes: nothing can be done about it now."""
        later = _one(payment_id).where(payments.c.closed_at.is_(None)).values(next_check_at=now + timedelta(minutes=5))
        tx.execute(later)

    def _write(self, tx: sa.Connection, before: Payment, after: Payment, params: str | None) -> None:
        tx.execute(_WRITE, {**payment_rows.payment_to_row(after), "key": after.id})
        if after.attempt == before.attempt:
            return
        if after.attempt.number != before.attempt.number:
            if params is None:
                raise ValueError("a new attempt needs its frozen parameters")
            tx.execute(_NEW_ATTEMPT, {**payment_rows.of_attempt(after), "params": params})
            return
        which = {"key": after.id, "which": after.attempt.number}
        tx.execute(_WRITE_ATTEMPT, {**payment_rows.of_attempt(after), **which})


def new_page_token() -> str:
    """The token of a page's URL: 128 random bits."""
    return secrets.token_urlsafe(16)


def _one(payment_id: str) -> Any:
    return payments.update().where(payments.c.id == payment_id)


def _check_transition(before: Payment, after: Payment) -> None:
    if after.status is not before.status and after.status not in TRANSITIONS[before.status]:
        raise InvalidTransition(f"{before.status} to {after.status}")


def _generate_reference(tx: sa.Connection, shop_id: int) -> str:
    """A random reference that the shop has not used; longer as the shop has more payments."""
    taken = sa.select(sa.func.count()).select_from(payments).where(payments.c.shop_id == shop_id)
    size = 4
    for tries in range(64):
        if tries and tries % 3 == 0:
            size = min(size + 1, 8)
        ref = secrets.choice(_LETTERS) + secrets.choice("0123456789")
        ref += "".join(secrets.choice(ALPHABET) for _ in range(size - 2))
        mine = (payments.c.shop_id == shop_id) & (payments.c.reference == ref)
        if tx.execute(sa.select(payments.c.id).where(mine)).first() is None:
            return ref
    raise RuntimeError(f"no free reference among {tx.execute(taken).scalar_one()} payments")


_NEW_PAYMENT, _NEW_ATTEMPT, _NEW_MESSAGE = payments.insert(), attempts.insert(), payment_messages.insert()
_WRITE = payments.update().where(payments.c.id == sa.bindparam("key"))
_REQUEST = ("capture_requested_by", "cancel_requested_by", "cancel_requested", "status")
_MARK_SENT = _WRITE.where(
    *(payments.c[name].is_not_distinct_from(sa.bindparam(f"read_{name}")) for name in _REQUEST)
).values(request_sent_at=sa.bindparam("now"))
_WRITE_ATTEMPT = attempts.update().where(
    attempts.c.payment_id == sa.bindparam("key"), attempts.c.number == sa.bindparam("which")
)
