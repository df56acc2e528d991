"""Invariant 12: every version of a card says what Stripe held by then, in Stripe's order, and the last one the last."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

from tests.invariants.case_file import MOST_ATTEMPTS, Case, File
from tests.invariants.database_rows import time
from tests.invariants.stripe_ledger import Turn
from tests.invariants.transcript import Claim, nonces

NOWHERE = -1
"""Nothing that Stripe said was shown yet."""

FINAL = frozenset({"paid", "paid again", "partly refunded", "refunded", "canceled"})
OVER = frozenset({"failed", "expired"})
OURS = frozenset({"creating", "requested", "error", "canceling", "capturing", "rejected"})
"""States that say what Kvit waits for, and nothing that Stripe said."""

AT_STRIPE = {"aging": "open", "ended": "canceled"}
LAST_WORDS = {"canceled": {"canceled", "ended"}, "open": {"open", "aging"}, "paid again": {"paid"}}


def judge(file: File) -> Iterator[str]:
    """What does not hold."""
    for case in file.cases:
        shown = sorted(case.said("card"), key=lambda claim: (claim.said.message_id, claim.said.at))
        for _, versions in groupby(shown, key=lambda claim: claim.said.message_id):
            yield from _in_order(case, versions)
        if not file.is_given_up(f"{case.row['id']}:message:"):
            yield from _last(case)


def _in_order(case: Case, versions: Iterator[Claim]) -> Iterator[str]:
    """Walk along Stripe's turns with the versions of one message; each must find one, and none may go back."""
    place = NOWHERE
    for claim in versions:
        found = _place(case, claim, place)
        if found is None:
            yield f"12: the card of {case.name} says {claim.state} at {claim.said.at:%H:%M:%S.%f}, which is not so"
        else:
            place = found


def _place(case: Case, claim: Claim, place: int) -> int | None:
    """The first turn, not before `place`, that a version may be about; None if there is none."""
    if claim.state in OURS:
        return place if _may_wait(case, claim, place) else None
    state = AT_STRIPE.get(claim.state, claim.state)
    for number, turn in enumerate(case.turns):
        same = turn.state.removesuffix(" again") == state and turn.at <= claim.said.at
        if number >= place and same and _fits(case, claim, turn):
            return number
    return None


def _fits(case: Case, claim: Claim, turn: Turn) -> bool:
    """What a version says beyond the state: its link is the attempt's and fresh, or is not, or the time is over."""
    at = claim.said.at
    match claim.state:
        case "open":
            return turn.attempt is not None and nonces(claim.said) == {turn.attempt.nonce} and at <= turn.fresh_until
        case "aging":
            return turn.fresh_until <= at
        case "ended":
            return at >= time(case.row["expires_at"]) or len(case.attempts) >= MOST_ATTEMPTS
        case "partly refunded":
            left = re.escape(_shown(case.row["amount_received"] - turn.back))
            return re.search(rf"Total after refund: \D*{left}\.$", claim.said.text, re.MULTILINE) is not None
        case _:
            return not nonces(claim.said)


def _shown(minor: int) -> str:
    """An amount of money as a card shows it, without its currency."""
    return f"{minor // 100:,}.{minor % 100:02}"


def _may_wait(case: Case, claim: Claim, place: int) -> bool:
    """Whether Kvit may say that it waits, after what the card said before."""
    if place != NOWHERE and case.turns[place].state in FINAL:
        return False
    at = claim.said.at
    match claim.state:
        case "creating":
            return place == NOWHERE
        case "rejected":
            return not case.intents
        case "requested":
            return any(turn.state in OVER and turn.at <= at for turn in case.turns)
        case "canceling":
            return case.may_end(at)
        case "capturing":
            return place != NOWHERE and case.turns[place].state == "reserved" and bool(case.taps("capture", at))
        case _:
            return True


def _last(case: Case) -> Iterator[str]:
    """What the card of record says in the end is what Stripe said last."""
    where = (case.card["chat_id"], case.card["message_id"])
    versions = [claim for claim in case.said("card") if (claim.said.chat, claim.said.message_id) == where]
    if not versions:
        yield f"12: {case.name} has no card"
        return
    state = case.turns[-1].state if case.turns else "rejected"
    if versions[-1].state not in LAST_WORDS.get(state, {state}):
        yield f"12: the card of {case.name} says {versions[-1].state} in the end, and Stripe {state}"
