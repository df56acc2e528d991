"""Dates: what happened at Stripe carries Stripe's time, in the database and on the payment message."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from handlers import i18n
from tests.invariants.case_file import CaseFile, PaymentCase
from tests.invariants.database_rows import to_datetime

PAID_AT = re.compile(r"^Paid (?P<at>.*\d)\.$", re.MULTILINE)


def check(case_file: CaseFile) -> Iterator[str]:
    """Yields violations, each as `dates: text`."""
    ledger = case_file.ledger
    for case in case_file.cases:
        yield from _paid(case_file, case)
    for row in case_file.rows.refunds:
        yield from _differs("refund", row["id"], row["refunded_at"], ledger.refunds.get(row["stripe_id"] or ""))
    for row in case_file.rows.disputes:
        yield from _differs("dispute", row["id"], row["created_at"], ledger.disputes.get(row["id"]))


def _paid(case_file: CaseFile, case: PaymentCase) -> Iterator[str]:
    """The payment and its message have the second at which Stripe's ledger says that the money was received."""
    paid = case.first("paid")
    if paid is None or case.row["succeeded_at"] is None:
        return
    paid = paid.replace(microsecond=0)
    if to_datetime(case.row["succeeded_at"]) != paid:
        yield f"dates: {case.name} was paid at {paid}, and the database says {to_datetime(case.row['succeeded_at'])}"
    shop = next(row for row in case_file.rows.shops if row["id"] == case.row["shop_id"])
    expected = i18n.format_datetime("en", paid, shop["time_zone"])
    for statement in case.statements_of("payment_message", "paid", "partly_refunded", "refunded", "disputed"):
        shown = PAID_AT.search(statement.message.text.replace("\u00a0", " "))
        if shown is None or shown["at"] != expected.replace("\u00a0", " "):
            yield f"dates: the payment message of {case.name} does not say that it was paid at {expected}"


def _differs(what: str, name: str, micros: int | None, at_stripe: dict[str, int] | None) -> Iterator[str]:
    if at_stripe is None:
        return
    created = datetime.fromtimestamp(at_stripe["created"], UTC)
    if micros is None or to_datetime(micros) != created:
        yield f"dates: the {what} {name} is of {created}, and the database has another time"
