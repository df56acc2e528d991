"""Invariant 12: each version of a payment message is true, and they follow Stripe's order to its last state."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import groupby

from tests.invariants.case_file import MAX_ATTEMPTS, CaseFile, PaymentCase
from tests.invariants.database_rows import to_datetime
from tests.invariants.stripe_ledger import PaymentChange
from tests.invariants.transcript import Statement, nonces

STRIPES_STEP = timedelta(seconds=1)
"""Stripe tells its times in whole seconds."""

NO_CHANGE_SHOWN = -1
"""The position before the first change at Stripe."""

FINAL = frozenset({"paid", "paid_again", "partly_refunded", "refunded", "canceled"})
ENDED_ATTEMPT = frozenset({"failed", "expired"})
PENDING_HERE = frozenset({"creating", "requested", "error", "canceling", "capturing", "rejected"})
"""Display states that name what Kvit waits for, and no change at Stripe."""

STATES_AT_STRIPE = {"ready": {"open"}, "waiting": {"open", "expired"}, "ending": {"open"}, "ended": {"canceled"}}
LAST_DISPLAY_STATES = {
    "canceled": {"canceled", "ended"},
    "open": {"ready", "waiting", "ending"},
    "expired": {"waiting", "expired"},
    "paid_again": {"paid"},
}


def check(case_file: CaseFile) -> Iterator[str]:
    """Yields violations."""
    for case in case_file.cases:
        shown = sorted(
            case.statements_of("payment_message"), key=lambda each: (each.message.message_id, each.message.at)
        )
        for _, versions in groupby(shown, key=lambda each: each.message.message_id):
            yield from _in_order(case, versions)
        if not case_file.is_given_up(f"{case.row['id']}:message:"):
            yield from _last(case)


def _in_order(case: PaymentCase, versions: Iterator[Statement]) -> Iterator[str]:
    """Matches the versions of one message with the changes at Stripe; each must match one, in order."""
    position = NO_CHANGE_SHOWN
    for version in versions:
        found = _position(case, version, position)
        if found is None:
            at = version.message.at
            yield f"12: the payment message of {case.name} shows {version.state} at {at:%H:%M:%S.%f}, which is not true"
        else:
            position = found


def _position(case: PaymentCase, version: Statement, position: int) -> int | None:
    """The first change, not before `position`, that a version may show; None if there is none."""
    if version.state in PENDING_HERE:
        return position if _may_be_pending(case, version, position) else None
    if version.state == "disputed":
        return position if case.is_disputed(version.message.at, ever=True) else None
    states = STATES_AT_STRIPE.get(version.state, {version.state})
    for number, change in enumerate(case.changes):
        same = change.state.removesuffix("_again") in states and change.at <= version.message.at
        if number >= position and same and _fits(case, version, change):
            return number
    return None


def _fits(case: PaymentCase, version: Statement, change: PaymentChange) -> bool:
    """Whether link, expiry and amounts of a version are those of the change."""
    at = version.message.at
    match version.state:
        case "ready":
            attempt = change.attempt
            return attempt is not None and nonces(version.message) == {attempt.nonce} and at <= change.link_usable_until
        case "waiting":
            is_over = change.state == "expired" or _may_count_as_over(case, change, at)
            return is_over and not nonces(version.message)
        case "ending":
            return _may_count_as_over(case, change, at)
        case "ended":
            return at >= to_datetime(case.row["expires_at"]) or len(case.attempts) >= MAX_ATTEMPTS
        case "partly_refunded":
            left = re.escape(_format_amount(case.row["amount_received"] - change.amount_refunded))
            return re.search(rf"Total after refund: \D*{left}\.$", version.message.text, re.MULTILINE) is not None
        case _:
            return not nonces(version.message)


def _may_count_as_over(case: PaymentCase, change: PaymentChange, at: datetime) -> bool:
    """Whether Kvit may take the link for unusable: it counts the first attempt from Stripe's second, others from their
    request."""
    assert change.attempt is not None
    began, number = change.attempt.started_at, change.attempt.number
    requested = [to_datetime(row["requested_at"]) for row in case.attempts if row["number"] == number > 1]
    return change.link_usable_until - (began - min([began - STRIPES_STEP, *requested])) <= at


def _format_amount(minor: int) -> str:
    """An amount as a payment message shows it, without its currency."""
    return f"{minor // 100:,}.{minor % 100:02}"


def _may_be_pending(case: PaymentCase, version: Statement, position: int) -> bool:
    """Whether Kvit may show that it waits, after the change shown before."""
    if position != NO_CHANGE_SHOWN and case.changes[position].state in FINAL:
        return False
    at = version.message.at
    match version.state:
        case "creating":
            return position == NO_CHANGE_SHOWN
        case "rejected":
            return not case.intents
        case "requested":
            return any(change.state in ENDED_ATTEMPT and change.at <= at for change in case.changes)
        case "canceling":
            return case.may_be_canceled(at)
        case "capturing":
            is_reserved = position != NO_CHANGE_SHOWN and case.changes[position].state == "reserved"
            return is_reserved and bool(case.confirmed("capture", at))
        case _:
            return True


def _last(case: PaymentCase) -> Iterator[str]:
    """The last version of the recorded message shows the last state at Stripe."""
    recorded = (case.message_row["chat_id"], case.message_row["message_id"])
    versions = [
        each
        for each in case.statements_of("payment_message")
        if (each.message.chat, each.message.message_id) == recorded
    ]
    if not versions:
        yield f"12: {case.name} has no payment message"
        return
    state = case.changes[-1].state if case.changes else "rejected"
    if case.is_disputed():
        if versions[-1].state != "disputed":
            yield f"12: the payment message of {case.name} is headed {versions[-1].state}, and it is disputed"
        return
    if versions[-1].state not in LAST_DISPLAY_STATES.get(state, {state}):
        yield f"12: the payment message of {case.name} shows {versions[-1].state} at the end, and Stripe has {state}"
