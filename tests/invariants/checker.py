"""Judges a run, once it is quiet, by three sources alone: Stripe's ledger, the chat's transcript and the database.

Each message is judged as of its own time. These deviations are allowed, and no others:

- a message whose response was lost or not read (the transcript says so) may be there once more;
- each crash of the process may leave one message in each chat there once more, for the response lost with it;
- a payment message that was given up and reported to the owner may be missing or show an old state;
- the notification of a failed or expired attempt may be left out where the payment went on within two reconciliations.
"""

from __future__ import annotations

from tests.invariants import authority, dates, drained, money, movements, notifications, payment_messages, refunds
from tests.invariants.case_file import CaseFile, Evidence

__all__ = ["Evidence", "given_up", "repeats", "violations"]


def violations(evidence: Evidence) -> list[str]:
    """All violations, each as `INVARIANT: text`; empty if every invariant holds."""
    case_file = CaseFile(evidence)
    modules = (money, movements, payment_messages, notifications, drained, refunds, authority, dates)
    return [line for module in modules for line in module.check(case_file)]


def given_up(evidence: Evidence) -> list[str]:
    """The dead-lettered jobs: queue, kind and reason."""
    return [f"{job['queue']} ({job['kind']}): {job['reason']}" for job in CaseFile(evidence).dead_jobs]


def repeats(evidence: Evidence) -> int:
    """How many messages were sent once too often, allowed or not."""
    return sum(repeat.extra for repeat in notifications.repeated(CaseFile(evidence)))
