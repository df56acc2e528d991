"""Records Stripe's balance transactions and payouts as they were reported, and links them to movements when read.

A row is never changed: what Stripe changed is a new row, and the newest row of an object counts. So a movement whose
fee is not known yet, or whose payout fails, needs no change of its own row.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from storage.database.database import lock_table
from storage.models.balance import (
    ENDED_UNPAID,
    FEE_TYPES,
    PAID,
    PAYOUT,
    PAYOUT_TYPES,
    BalanceTransaction,
    FeeDetail,
    Fees,
    Payout,
    Settlement,
)
from storage.models.money import any_money
from storage.movements import Period, of_period
from storage.schema.balance import balance_transactions, payout_items, payouts
from storage.schema.movements import movements
from storage.schema.shops import shops

_OF_THE_ACCOUNT = sorted(FEE_TYPES | PAYOUT_TYPES)


def record_transactions(
    tx: sa.Connection,
    found: Sequence[BalanceTransaction],
    *,
    livemode: bool,
    now: datetime,
    payout_id: str | None = None,
) -> int:
    """Record what Stripe reported, and that `payout_id` paid it out; returns how many rows were new."""
    lock_table(tx, balance_transactions)
    known = _newest_transactions(tx, [each.stripe_id for each in found])
    shop_id, recorded = _only_shop(tx), 0
    for each in found:
        before = known.get(each.stripe_id)
        if before is None or before[1] != each:
            owner = shop_id if before is None else before[0]
            tx.execute(_NEW, {**_to_row(each), "shop_id": owner, "livemode": livemode, "recorded_at": now})
            known[each.stripe_id] = (owner, each)
            recorded += 1
    if payout_id is not None:
        _record_items(tx, payout_id, list(dict.fromkeys(each.stripe_id for each in found)), now)
    return recorded


def record_payout(tx: sa.Connection, payout: Payout, *, livemode: bool, now: datetime) -> bool:
    """Record what Stripe reported of a payout; False if it is known already."""
    lock_table(tx, payouts)
    known = _newest_payout_row(tx, payout.stripe_id)
    if known is not None and _to_payout(known) == payout:
        return False
    owner = _only_shop(tx) if known is None else known["shop_id"]
    tx.execute(_NEW_PAYOUT, {**asdict(payout), "shop_id": owner, "livemode": livemode, "recorded_at": now})
    return True


def get_payout(tx: sa.Connection, payout_id: str) -> Payout | None:
    """The payout as Stripe last reported it."""
    row = _newest_payout_row(tx, payout_id)
    return None if row is None else _to_payout(row)


def sources_of_payment(tx: sa.Connection, payment_id: str) -> Sequence[str]:
    """The ids of the charge, refunds and disputes by which a payment's money moved."""
    query = sa.select(movements.c.source).where(movements.c.payment_id == payment_id).order_by(movements.c.id)
    return list(dict.fromkeys(tx.execute(query).scalars()))


def settlement_columns() -> list[sa.ColumnElement[Any]]:
    """The columns of a balance transaction, for `to_transaction`."""
    return [balance_transactions.c[name].label(f"settled_{name}") for name in _FIELDS]


def settles_movement() -> sa.ColumnElement[bool]:
    """The condition under which a balance transaction is the one of a movement: at most one is.

    It is about the same charge, refund or dispute and moves money in the same direction. Should there be several, the
    first is meant, and the others are rows of their own.
    """
    return sa.and_(
        balance_transactions.c.source == movements.c.source,
        balance_transactions.c.direction == sa.case((movements.c.amount < 0, -1), else_=1),
        _is_about_a_movement(),
    )


def to_transaction(row: sa.RowMapping) -> BalanceTransaction | None:
    """The balance transaction in a row with `settlement_columns`, None if there is none."""
    if row["settled_stripe_id"] is None:
        return None
    fields = {name: row[f"settled_{name}"] for name in _FIELDS}
    details = tuple(FeeDetail(**detail) for detail in json.loads(fields["fee_details"]))
    return BalanceTransaction(**{**fields, "fee_details": details})


def settlements(tx: sa.Connection, found: Sequence[BalanceTransaction]) -> dict[str, Settlement]:
    """Each transaction with its payout, by its id. Of several payouts one that did not fail counts, then the newest."""
    paid = (
        sa.select(payout_items.c.transaction_id, payouts)
        .select_from(payout_items.join(payouts, payouts.c.stripe_id == payout_items.c.payout_id))
        .where(payout_items.c.transaction_id.in_([each.stripe_id for each in found]), _is_newest(payouts))
    )
    own = sa.select(payouts).where(payouts.c.stripe_id.in_(_payouts_among(found)), _is_newest(payouts))
    by_transaction: dict[str, list[Payout]] = {}
    for row in tx.execute(paid).mappings():
        by_transaction.setdefault(row["transaction_id"], []).append(_to_payout(row))
    by_id = {row["stripe_id"]: _to_payout(row) for row in tx.execute(own).mappings()}
    return {
        each.stripe_id: _settlement(each, by_transaction.get(each.stripe_id, []), by_id.get(each.source or ""))
        for each in found
    }


def list_account_transactions(
    tx: sa.Connection, shop_id: int, period: Period, *, livemode: bool, after: tuple[datetime, int] | None, limit: int
) -> Sequence[tuple[int, BalanceTransaction]]:
    """The transactions of a period that belong to no movement: fees, payouts, and what other programs did.

    By time, at most `limit`, each with its row's number; `after` is time and number of the last one read. Those of an
    account that several shops share belong to none of them.
    """
    query = (
        sa.select(balance_transactions.c.id, *settlement_columns())
        .where(_account_transactions(shop_id, period, livemode))
        .order_by(balance_transactions.c.created_at, balance_transactions.c.id)
        .limit(limit)
    )
    if after is not None:
        place = sa.tuple_(balance_transactions.c.created_at, balance_transactions.c.id)
        query = query.where(place > sa.tuple_(*map(sa.literal, after)))
    found = [(row["id"], to_transaction(row)) for row in tx.execute(query).mappings()]
    return [(number, each) for number, each in found if each is not None]


@dataclass(frozen=True)
class PeriodFees:
    """Stripe's fees of a period by settlement currency; `unknown` movements have no balance transaction yet."""

    sums: Sequence[Fees]
    unknown: int


def fees_of_period(tx: sa.Connection, shop_id: int, period: Period, *, livemode: bool) -> PeriodFees:
    """Stripe's fees for the movements of a period, and its other fees of that period."""
    settled = balance_transactions.c
    columns = (sa.func.count(), sa.func.sum(settled.fee), sa.func.sum(settled.tax), sa.func.sum(settled.net))
    of_movements = (
        sa.select(settled.currency, *columns)
        .select_from(movements.outerjoin(balance_transactions, settles_movement()))
        .where(of_period(shop_id, period, livemode=livemode))
        .group_by(settled.currency)
    )
    alone = (
        sa.select(settled.currency, *columns)
        .where(_account_transactions(shop_id, period, livemode), settled.type.in_(sorted(FEE_TYPES)))
        .group_by(settled.currency)
    )
    sums: dict[str, tuple[int, int, int]] = {}
    unknown = 0
    for currency, number, fee, tax, net in tx.execute(of_movements):
        if currency is None:
            unknown = number
        else:
            sums[currency] = (int(fee), int(tax), int(net))
    for currency, _, _, tax, net in tx.execute(alone):
        known = sums.get(currency, (0, 0, 0))
        sums[currency] = (known[0] - int(net), known[1] + int(tax), known[2] + int(net))
    return PeriodFees([_to_fees(currency, *sums[currency]) for currency in sorted(sums)], unknown)


def paid_out(tx: sa.Connection, shop_id: int, period: Period, *, livemode: bool, limit: int) -> Sequence[Payout]:
    """The payouts that arrived in a period, newest first, at most `limit`."""
    query = sa.select(payouts).where(
        payouts.c.shop_id == shop_id,
        payouts.c.livemode == livemode,
        payouts.c.arrival_on >= period.since,
        payouts.c.arrival_on < period.until,
        payouts.c.status == PAID,
        _is_newest(payouts),
    )
    query = query.order_by(payouts.c.arrival_on.desc(), payouts.c.id.desc()).limit(limit)
    return [_to_payout(row) for row in tx.execute(query).mappings()]


def _is_newest(table: sa.Table) -> sa.ColumnElement[bool]:
    """Whether a row of balance transactions or payouts is the last that was recorded of its object."""
    newer = table.alias()
    return ~sa.exists().where(newer.c.stripe_id == table.c.stripe_id, newer.c.id > table.c.id).correlate(table)


def _is_about_a_movement() -> sa.ColumnElement[bool]:
    """Newest, not of the account, and the first of those with the same source and direction."""
    first = balance_transactions.alias()
    earlier = sa.or_(
        first.c.created_at < balance_transactions.c.created_at,
        sa.and_(
            first.c.created_at == balance_transactions.c.created_at,
            first.c.stripe_id < balance_transactions.c.stripe_id,
        ),
    )
    is_first = ~sa.exists().where(
        first.c.source == balance_transactions.c.source,
        first.c.direction == balance_transactions.c.direction,
        first.c.type.not_in(_OF_THE_ACCOUNT),
        earlier,
    ).correlate(balance_transactions)
    return sa.and_(balance_transactions.c.type.not_in(_OF_THE_ACCOUNT), is_first, _is_newest(balance_transactions))


def _account_transactions(shop_id: int, period: Period, livemode: bool) -> sa.ColumnElement[bool]:
    of_a_movement = sa.exists().where(settles_movement()).correlate(balance_transactions)
    return sa.and_(
        balance_transactions.c.shop_id == shop_id,
        balance_transactions.c.livemode == livemode,
        balance_transactions.c.created_at >= period.since,
        balance_transactions.c.created_at < period.until,
        _is_newest(balance_transactions),
        ~of_a_movement,
    )


def _newest_transactions(
    tx: sa.Connection, stripe_ids: Sequence[str]
) -> dict[str, tuple[int | None, BalanceTransaction]]:
    query = sa.select(balance_transactions.c.shop_id, *settlement_columns())
    query = query.where(balance_transactions.c.stripe_id.in_(stripe_ids)).order_by(balance_transactions.c.id)
    found: dict[str, tuple[int | None, BalanceTransaction]] = {}
    for row in tx.execute(query).mappings():
        if (known := to_transaction(row)) is not None:
            found[known.stripe_id] = (row["shop_id"], known)
    return found


def _newest_payout_row(tx: sa.Connection, payout_id: str) -> sa.RowMapping | None:
    query = sa.select(payouts).where(payouts.c.stripe_id == payout_id).order_by(payouts.c.id.desc()).limit(1)
    return tx.execute(query).mappings().first()


def _record_items(tx: sa.Connection, payout_id: str, transaction_ids: Sequence[str], now: datetime) -> None:
    known = sa.select(payout_items.c.transaction_id).where(
        payout_items.c.transaction_id.in_(transaction_ids), payout_items.c.payout_id == payout_id
    )
    there = set(tx.execute(known).scalars())
    for each in transaction_ids:
        if each not in there:
            tx.execute(_NEW_ITEM, {"transaction_id": each, "payout_id": payout_id, "recorded_at": now})


def _only_shop(tx: sa.Connection) -> int | None:
    """The shop, if there is only one: what is of the whole Stripe account is then its own."""
    found = tx.execute(sa.select(shops.c.id).limit(2)).scalars().all()
    return found[0] if len(found) == 1 else None


def _payouts_among(found: Sequence[BalanceTransaction]) -> list[str]:
    return [each.source for each in found if each.source is not None and each.type == PAYOUT]


def _settlement(transaction: BalanceTransaction, by: Sequence[Payout], own: Payout | None) -> Settlement:
    if own is not None and transaction.type == PAYOUT:
        by = [own]
    if not by:
        return Settlement(transaction)
    payout = max(by, key=lambda one: (one.status not in ENDED_UNPAID, one.created_at, one.stripe_id))
    return Settlement(transaction, payout.stripe_id, payout.arrival_on if payout.status == PAID else None)


def _to_fees(currency: str, fee: int, tax: int, net: int) -> Fees:
    return Fees(any_money(fee, currency), any_money(tax, currency), any_money(net, currency))


def _to_row(found: BalanceTransaction) -> dict[str, Any]:
    fields = {name: getattr(found, name) for name in _FIELDS}
    details = json.dumps([asdict(detail) for detail in found.fee_details], sort_keys=True)
    return {**fields, "fee_details": details, "direction": found.direction, "tax": found.tax}


def _to_payout(row: sa.RowMapping) -> Payout:
    return Payout(**{name: row[name] for name in _PAYOUT_FIELDS})


_FIELDS = tuple(BalanceTransaction.__dataclass_fields__)
_PAYOUT_FIELDS = tuple(Payout.__dataclass_fields__)
_NEW, _NEW_PAYOUT, _NEW_ITEM = (table.insert().inline() for table in (balance_transactions, payouts, payout_items))
