"""Judges a run by its three witnesses alone: Stripe's ledger, the chat's transcript and the database, once it is quiet.

Each message is judged at its own time. What is allowed all the same is said here, and nothing else is:

- a message whose answer was cut off on the way, or went unread (the transcript says so), may be there once more;
- each death of the process may leave one message in each chat there once more, for whatever answer died with it;
- a card whose posting was given up, which the owner was told, may be missing or show what it showed last;
- news of a failed or lapsed attempt may be left out where somebody went on within two sweeps of it.
"""

from __future__ import annotations

from tests.invariants import authority, drained, money, notifications, payment_messages, refunds
from tests.invariants.case_file import Evidence, File

__all__ = ["Evidence", "given_up", "repeats", "violations"]


def violations(evidence: Evidence) -> list[str]:
    """What does not hold, in plain words, each with the number of its invariant; nothing if all is well."""
    file = File(evidence)
    judges = (money, payment_messages, notifications, drained, refunds, authority)
    return [line for judge in judges for line in judge.judge(file)]


def given_up(evidence: Evidence) -> list[str]:
    """What was set aside for a human, by box and kind."""
    return [f"{mail['queue']} ({mail['kind']}): {mail['reason']}" for mail in File(evidence).set_aside]


def repeats(evidence: Evidence) -> int:
    """How many messages stand there once more than they should, allowed or not."""
    return sum(repeat.extra for repeat in notifications.repeated(File(evidence)))
