"""Invariants 14 and S2: nothing is pending at the end, and each request to Stripe has an earlier audit entry."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from tests.invariants.case_file import CaseFile, PaymentCase
from tests.invariants.database_rows import to_datetime
from tests.invariants.stripe_ledger import ROOT

TERMINAL = frozenset({"succeeded", "canceled"})
AUDIT_ACTIONS = {
    "confirm": {"attempt_requested"},
    "cancel": {"cancel_requested", "expired"},
    "capture": {"capture_requested"},
}


def check(case_file: CaseFile) -> Iterator[str]:
    """Yields violations."""
    yield from _jobs(case_file)
    for case in case_file.cases:
        yield from _pending(case)
        yield from _unaudited(case_file, case)


def _jobs(case_file: CaseFile) -> Iterator[str]:
    for job in case_file.rows.jobs:
        name = f"{job['queue']} {job['key']} ({job['kind']})"
        if job["lease"] is not None:
            yield f"14: {name} is still leased"
        elif job["state"] == "pending":
            yield f"14: {name} is still pending: {job['reason'] or 'no attempt was made'}"
        elif job["state"] == "dead" and not job["key"].startswith("alert:") and not case_file.is_reported(job):
            yield f"14: {name} is dead and no owner was notified: {job['reason']}"


def _pending(case: PaymentCase) -> Iterator[str]:
    row = case.row
    if row["status"] == "created":
        yield f"14: {case.name} still has no intent"
    if row["status"] not in TERMINAL and row["cancel_requested"]:
        yield f"14: {case.name} is still to be canceled"
    if row["status"] not in TERMINAL and row["capture_requested_by"]:
        yield f"14: {case.name} is still to be captured"
    if row["status"] not in TERMINAL and row["next_check_at"] is None:
        yield f"14: {case.name} is {row['status']} and no check is scheduled"
    for attempt in case.attempts:
        if attempt["status"] == "requested" or (attempt["status"] == "active" and row["status"] in TERMINAL):
            yield f"14: attempt {attempt['number']} of {case.name} is still {attempt['status']}"


def _unaudited(case_file: CaseFile, case: PaymentCase) -> Iterator[str]:
    """Each request that changes something at Stripe has an audit entry older than itself."""
    for what, actions in AUDIT_ACTIONS.items():
        paths = {f"{ROOT}/{intent}/{what}" for intent in case.intents}
        first_sent: dict[str, datetime] = {}
        for request in case_file.ledger.requests:
            if request.path in paths:
                first_sent.setdefault(str(request.idempotency_key), request.at)
        recorded = [to_datetime(entry["at"]) for entry in case.audit_entries if entry["action"] in actions]
        for number, at in enumerate(first_sent.values(), start=1):
            if sum(entry < at for entry in recorded) < (number if what == "confirm" else 1):
                yield f"S2: {what} {number} of {case.name} has no earlier audit entry"
    payment_id, requests = case.row["id"], case_file.ledger.requests
    created = [r.at for r in requests if r.params.get("metadata", {}).get("kvit_payment") == payment_id]
    requested = [to_datetime(entry["at"]) for entry in case.audit_entries if entry["action"] == "requested"]
    if created and not any(at < created[0] for at in requested):
        yield f"S2: the intent of {case.name} has no earlier audit entry"
