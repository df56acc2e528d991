"""Finds a shop's payments by words, amount, state and requester, newest first."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from storage import payment_rows
from storage.models.payment import AttemptStatus, CancellationReason, Payment, PaymentStatus
from storage.schema.payments import attempts, payments
from storage.schema.search import payment_words

WORD = re.compile(r"\w+")
MAX_WORD = 40
"""Characters of a word that are stored and compared."""

MAX_BEGINNINGS = 10
"""Words with the typed beginning that are searched for, in alphabetical order."""

ENOUGH = 200
"""Payments of a word that are counted to see which word of a search is the rarest."""

Position = tuple[datetime, str]


@dataclass(frozen=True)
class Term:
    """One part of a search, which each payment found has to meet by any of these.

    `beginnings` are beginnings of words, `words` whole words, `states` keys of `STATES`. `currency` restricts the
    payments to one currency.
    """

    beginnings: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    currency: str | None = None


def words_in(text: str) -> list[str]:
    """The words of a text in the form in which they are stored: `Åse` and `ÅSE` are both `åse`."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return [word[:MAX_WORD] for word in WORD.findall(folded)]


def amount_word(minor: int) -> str:
    """The word that stands for an amount in minor units."""
    return f"amount:{minor}"


def requester_word(user_id: int) -> str:
    """The word that stands for the person who requested a payment."""
    return f"by:{user_id}"


def add_payment(tx: sa.Connection, payment: Payment) -> None:
    """Store the words of a new payment."""
    _add(tx, payment, _words_of(payment))


def update_payment(tx: sa.Connection, payment: Payment) -> None:
    """Store the words of a payment whose note has changed."""
    tx.execute(payment_words.delete().where(payment_words.c.payment_id == payment.id))
    _add(tx, payment, _words_of(payment))


def find(
    tx: sa.Connection,
    shop_id: int,
    readings: Iterable[Sequence[Term]],
    *,
    livemode: bool,
    limit: int,
    before: Position | None = None,
) -> Sequence[Payment]:
    """The newest payments that meet all terms of one of the readings, of those before a position.

    The position of a payment is `(created_at, id)`.
    """
    found: set[Position] = set()
    search = _Search(tx, shop_id, livemode, limit, before)
    for terms in readings:
        known = [_Known(search.stored_words(term), term.states, term.currency) for term in terms]
        if known and all(term.words or term.states for term in known):
            found |= search.run(known)
    ids = [payment_id for _, payment_id in sorted(found, reverse=True)[:limit]]
    loaded = payment_rows.payments_by(tx, payment_rows.PAYMENTS.where(payments.c.id.in_(ids)))
    return sorted(loaded, key=lambda payment: (payment.created_at, payment.id), reverse=True)


@dataclass(frozen=True)
class _Known:
    """A term with the stored words that it stands for."""

    words: tuple[str, ...]
    states: tuple[str, ...]
    currency: str | None

    def condition(self, shop_id: int) -> sa.ColumnElement[bool]:
        """Whether a payment meets the term."""
        either = [STATES[state] for state in self.states]
        if self.words:
            its = (payment_words.c.shop_id == shop_id) & payment_words.c.word.in_(self.words)
            its &= payment_words.c.created_at == payments.c.created_at
            its &= payment_words.c.payment_id == payments.c.id
            either.append(sa.exists().where(its).correlate(payments))
        met = sa.or_(*either)
        return met if self.currency is None else met & (payments.c.currency == self.currency)


class _Search:
    """One search: it walks the payments of the rarest word, and checks each for the other terms."""

    def __init__(self, tx: sa.Connection, shop_id: int, livemode: bool, limit: int, before: Position | None) -> None:
        self._tx = tx
        self._shop_id = shop_id
        self._livemode = livemode
        self._limit = limit
        self._before = before

    def stored_words(self, term: Term) -> tuple[str, ...]:
        """The whole words of a term, and those stored that have one of its beginnings."""
        found = dict.fromkeys(term.words)
        for beginning in term.beginnings:
            after, end = beginning, beginning + "\U0010ffff"
            query = sa.select(sa.func.min(payment_words.c.word)).where(payment_words.c.shop_id == self._shop_id)
            for number in range(MAX_BEGINNINGS):
                later = payment_words.c.word >= after if number == 0 else payment_words.c.word > after
                word: str | None = self._tx.execute(query.where(later, payment_words.c.word < end)).scalar()
                if word is None:
                    break
                found[word] = None
                after = word
        return tuple(found)

    def run(self, terms: Sequence[_Known]) -> set[Position]:
        """The positions of the newest payments that meet all terms."""
        rarest = min(terms, key=self._frequency)
        others = [term.condition(self._shop_id) for term in terms if term is not rarest]
        if rarest.currency is not None:
            others.append(payments.c.currency == rarest.currency)
        found: set[Position] = set()
        for word in rarest.words:
            at, key = payment_words.c.created_at, payment_words.c.payment_id
            its = (payment_words.c.shop_id == self._shop_id) & (payment_words.c.word == word)
            found |= self._walk(payment_words.join(payments, payments.c.id == key), at, key, [its, *others])
        for state in rarest.states:
            its = (payments.c.shop_id == self._shop_id) & STATES[state]
            found |= self._walk(payments, payments.c.created_at, payments.c.id, [its, *others])
        return found

    def _walk(
        self,
        rows: sa.FromClause,
        at: sa.ColumnElement[datetime],
        key: sa.ColumnElement[str],
        conditions: Sequence[sa.ColumnElement[bool]],
    ) -> set[Position]:
        query = sa.select(at, key).select_from(rows).where(*conditions, payments.c.livemode == self._livemode)
        if self._before is not None:
            query = query.where(sa.tuple_(at, key) < sa.tuple_(*self._before, types=[at.type, key.type]))
        query = query.order_by(at.desc(), key.desc()).limit(self._limit)
        return {(created_at, payment_id) for created_at, payment_id in self._tx.execute(query)}

    def _frequency(self, term: _Known) -> int:
        """How many payments meet a term by a word, as far as that is worth counting; a state is met by many."""
        if term.states:
            return ENOUGH * (MAX_BEGINNINGS + 1)
        counted = 0
        for word in term.words:
            its = (payment_words.c.shop_id == self._shop_id) & (payment_words.c.word == word)
            some: sa.Select[Any] = sa.select(sa.literal_column("1")).select_from(payment_words).where(its).limit(ENOUGH)
            counted += self._tx.execute(sa.select(sa.func.count()).select_from(some.subquery())).scalar_one()
        return counted


def _words_of(payment: Payment) -> set[str]:
    its = {amount_word(payment.amount.minor), requester_word(payment.created_by)}
    return its.union(*(words_in(text) for text in (payment.reference, payment.description, payment.note)))


def _add(tx: sa.Connection, payment: Payment, words: set[str]) -> None:
    row = {"shop_id": payment.shop_id, "created_at": payment.created_at, "payment_id": payment.id}
    tx.execute(payment_words.insert(), [{**row, "word": word} for word in sorted(words)])


def _attempt_is(status: AttemptStatus) -> sa.ColumnElement[bool]:
    newest = (attempts.c.payment_id == payments.c.id) & (attempts.c.number == payments.c.attempt_number)
    return payments.c.closed_at.is_(None) & sa.exists().where(newest, attempts.c.status == status.value).correlate(
        payments
    )


_OVER = [CancellationReason.EXPIRED.value, CancellationReason.ATTEMPTS_EXHAUSTED.value]
_CANCELED = payments.c.status == PaymentStatus.CANCELED.value
_NO_CANCEL = [*_OVER, CancellationReason.REJECTED.value, CancellationReason.SETTLED.value]

STATES: dict[str, sa.ColumnElement[bool]] = {
    "open": payments.c.closed_at.is_(None) & (payments.c.status != PaymentStatus.AUTHORIZED.value),
    "paid": payments.c.status == PaymentStatus.SUCCEEDED.value,
    "reserved": payments.c.status == PaymentStatus.AUTHORIZED.value,
    # A literal, for SQLite uses a partial index only where the statement itself has the index's condition.
    "refunded": payments.c.amount_refunded > sa.literal_column("0"),
    "disputed": payments.c.dispute_status.is_not(None),
    "failed": _attempt_is(AttemptStatus.FAILED),
    "expired": _attempt_is(AttemptStatus.EXPIRED),
    "ended": _CANCELED & payments.c.cancellation_reason.in_(_OVER),
    "settled": _CANCELED & (payments.c.cancellation_reason == CancellationReason.SETTLED.value),
    "canceled": _CANCELED & payments.c.cancellation_reason.not_in(_NO_CANCEL),
}
"""The states that can be searched for, as a merchant names them."""
