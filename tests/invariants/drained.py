"""Invariants 14 and S2: in the end nothing waits or is held, and what was asked of Stripe was written before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from tests.invariants.case_file import Case, File
from tests.invariants.database_rows import time
from tests.invariants.stripe_ledger import ROOT

FINAL = frozenset({"succeeded", "canceled"})
WANTED = {
    "confirm": {"attempt_requested"},
    "cancel": {"cancel_requested", "expired"},
    "capture": {"capture_requested"},
}


def judge(file: File) -> Iterator[str]:
    """What does not hold."""
    yield from _mail(file)
    for case in file.cases:
        yield from _pending(case)
        yield from _unwritten(file, case)


def _mail(file: File) -> Iterator[str]:
    for mail in file.book.mail:
        name = f"{mail['queue']} {mail['key']} ({mail['kind']})"
        if mail["lease"] is not None:
            yield f"14: {name} is still leased"
        elif mail["state"] == "pending":
            yield f"14: {name} still waits: {mail['reason'] or 'nothing was tried'}"
        elif mail["state"] == "dead" and not mail["key"].startswith("alert:") and not file.is_told(mail):
            yield f"14: {name} was set aside and no owner has a word about it: {mail['reason']}"


def _pending(case: Case) -> Iterator[str]:
    row = case.row
    if row["status"] == "created":
        yield f"14: {case.name} still waits for its intent"
    if row["status"] not in FINAL and row["cancel_requested"]:
        yield f"14: {case.name} still waits to be canceled"
    if row["status"] not in FINAL and row["capture_requested_by"]:
        yield f"14: {case.name} still waits to be taken"
    if row["status"] not in FINAL and row["next_check_at"] is None:
        yield f"14: nobody will look at {case.name} again, which is {row['status']}"
    for attempt in case.attempts:
        if attempt["status"] == "requested" or (attempt["status"] == "active" and row["status"] in FINAL):
            yield f"14: attempt {attempt['number']} of {case.name} is still {attempt['status']}"


def _unwritten(file: File, case: Case) -> Iterator[str]:
    """Each thing that was asked of Stripe has its line in the history, older than the request."""
    for what, actions in WANTED.items():
        paths = {f"{ROOT}/{intent}/{what}" for intent in case.intents}
        first: dict[str, datetime] = {}
        for request in file.ledger.requests:
            if request.path in paths:
                first.setdefault(str(request.idempotency_key), request.at)
        written = [time(line["at"]) for line in case.history if line["action"] in actions]
        for number, at in enumerate(first.values(), start=1):
            if sum(line < at for line in written) < (number if what == "confirm" else 1):
                yield f"S2: the {what} {number} of {case.name} was not written down before"
    made = [r.at for r in file.ledger.requests if r.params.get("metadata", {}).get("kvit_payment") == case.row["id"]]
    if made and not any(line["action"] == "requested" and time(line["at"]) < made[0] for line in case.history):
        yield f"S2: the intent of {case.name} was not written down before"
