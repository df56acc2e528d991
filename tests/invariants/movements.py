"""The movements add up to Stripe's ledger: each change of money is one row, with Stripe's amount and time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from tests.invariants.case_file import CaseFile, PaymentCase
from tests.invariants.database_rows import Row, to_datetime

RECEIVED = frozenset({"payment", "capture"})
REFUNDED = frozenset({"refund", "refund_failed"})
DISPUTED = frozenset({"dispute", "dispute_won"})


def check(case_file: CaseFile) -> Iterator[str]:
    """Yields violations."""
    known = {row["id"] for row in case_file.rows.payments}
    for row in case_file.rows.movements:
        if row["payment_id"] not in known:
            yield f"4: a movement of {row['amount']} belongs to no payment"
    yield from _credit_notes(case_file.rows.movements)
    for case in case_file.cases:
        yield from _sums(case_file, case)
        yield from _rows(case_file, case)


def _credit_notes(movements: list[Row]) -> Iterator[str]:
    """Each refund and each failure of one has a number, and a shop's numbers in a mode have no gap."""
    series: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row in movements:
        if row["kind"] in REFUNDED:
            series[row["shop_id"], row["livemode"]].append(row["credit_note_number"] or 0)
    for (shop, _), numbers in series.items():
        if sorted(numbers) != list(range(1, len(numbers) + 1)):
            yield f"4: the credit notes of shop {shop} are numbered {sorted(numbers)}"


def _sums(case_file: CaseFile, case: PaymentCase) -> Iterator[str]:
    """What was received, refunded and disputed is the same in the movements and at Stripe."""
    ledger = case_file.ledger
    refunds = [each for each in ledger.refunds.values() if each["payment_intent"] in case.intents]
    disputes = [each for each in ledger.disputes.values() if each["payment_intent"] in case.intents]
    at_stripe = {
        "received": sum(ledger.intents[intent]["amount_received"] for intent in case.intents),
        "refunded": -sum(each["amount"] for each in refunds if each["status"] == "succeeded"),
        "disputed": sum(moved["amount"] for each in disputes for moved in each["balance_transactions"]),
    }
    ours = {
        name: sum(row["amount"] for row in case.movements if row["kind"] in kinds)
        for name, kinds in (("received", RECEIVED), ("refunded", REFUNDED), ("disputed", DISPUTED))
    }
    if ours != at_stripe:
        yield f"4: the movements of {case.name} are {ours}, and at Stripe it is {at_stripe}"


def _rows(case_file: CaseFile, case: PaymentCase) -> Iterator[str]:
    """Each movement is recorded once, for its payment, and refunds have Stripe's time."""
    for (kind, stripe_id), number in Counter((row["kind"], row["stripe_id"]) for row in case.movements).items():
        if number > 1:
            yield f"4: the {kind} {stripe_id} of {case.name} moved money {number} times"
    for row in case.movements:
        same = ("shop_id", "currency", "livemode")
        if [row[name] for name in same] != [case.row[name] for name in same]:
            yield f"3: a {row['kind']} of {case.name} is recorded for another shop, currency or mode"
        if row["kind"] == "refund":
            yield from _refund_time(case_file, case, row)


def _refund_time(case_file: CaseFile, case: PaymentCase, row: Row) -> Iterator[str]:
    refund = case_file.ledger.refunds.get(row["stripe_id"])
    if refund is not None and int(to_datetime(row["at"]).timestamp()) != refund["created"]:
        yield f"4: a refund of {case.name} is dated {to_datetime(row['at'])}, which is not Stripe's time"
