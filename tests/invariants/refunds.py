"""Invariants 2 to 4, 6, 7, 11 to 14 and S2 for refunds and disputes, each as of its own time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime

from tests.invariants import refund_texts
from tests.invariants.case_file import CaseFile, PaymentCase
from tests.invariants.database_rows import Row, to_datetime
from tests.invariants.notifications import NOTIFY_WITHIN
from tests.invariants.stripe_ledger import (
    UNSUCCESSFUL_REFUND_STATUSES,
    StatusChange,
    amount_in_refunds,
    refund_requests,
)
from tests.invariants.transcript import Statement, first_amount

UNDER_WAY = frozenset({"pending", "requires_action"})
AWAITING_DECISION = frozenset({"draft", "awaiting_approval"})
CHECKED_AGAIN = frozenset({"approved", *UNDER_WAY})
DECIDED_HERE = frozenset({"rejected", "expired"})
"""Refunds that did not get to Stripe."""

MAX_LISTED_REFUNDS = 6


def check(case_file: CaseFile) -> Iterator[str]:
    """Yields violations."""
    yield from _orphans(case_file)
    for case in case_file.cases:
        yield from _conservation(case_file, case)
        yield from _one_refund_per_draft(case_file, case)
        yield from _convergence(case)
        yield from _payment_messages(case_file, case)
        yield from _notifications(case_file, case)
        yield from _disputes(case_file, case)
        yield from _pending(case_file, case)
        yield from _unaudited(case_file, case)


def _orphans(case_file: CaseFile) -> Iterator[str]:
    """Each refund at Stripe has a row, and each stored Stripe id exists."""
    stored = {row["stripe_id"] for row in case_file.rows.refunds if row["stripe_id"] is not None}
    for refund_id in case_file.ledger.refunds.keys() - stored:
        yield f"2: the refund {refund_id} is not in the database"
    for refund_id in stored - case_file.ledger.refunds.keys():
        yield f"2: the database has a refund {refund_id}, which Stripe does not have"


def _conservation(case_file: CaseFile, case: PaymentCase) -> Iterator[str]:
    """Refunds that did not fail never exceed what was received, at any time."""
    received = sum(case_file.ledger.intents[intent]["amount_received"] for intent in case.intents)
    for change in case.refund_changes:
        if (refunded := amount_in_refunds(case.refund_changes, change.at)) > received:
            yield f"6: {refunded} of {case.name} was refunded at {change.at:%H:%M:%S.%f}, and {received} was received"


def _one_refund_per_draft(case_file: CaseFile, case: PaymentCase) -> Iterator[str]:
    """Each refund of ours has its own approved draft with the same amount; each draft has at most one refund."""
    drafts = {row["id"]: row for row in case.refunds}
    refunds_of_draft: Counter[str] = Counter()
    for refund_id, refund in case_file.ledger.refunds.items():
        draft_id = refund["metadata"].get("kvit_refund")
        if refund["payment_intent"] not in case.intents or draft_id is None:
            continue
        refunds_of_draft[draft_id] += 1
        row = drafts.get(draft_id)
        if row is None or row["reserved_at"] is None or row["requested_by"] is None:
            yield f"6: the refund {refund_id} of {case.name} has no approved draft"
            continue
        at_stripe = (refund["amount"], refund["currency"].upper())
        if at_stripe != (row["amount"], row["currency"]):
            yield f"3: a refund of {case.name} is {row['amount']} in the database and {at_stripe} at Stripe"
        yield from _draft_buttons(case, row)
    for draft_id, number in refunds_of_draft.items():
        if number > 1:
            yield f"6: a draft of {case.name} became {number} refunds ({draft_id})"


def _draft_buttons(case: PaymentCase, row: Row) -> Iterator[str]:
    """The button that approves a refund shows its amount."""
    stored = (row["amount"], row["currency"])
    for statement in case.statements_of("refund_draft"):
        for button in statement.message.buttons:
            if button.get("callback_data") == f"y:{row['id']}" and first_amount(button["text"]) != stored:
                yield f"3: a refund of {case.name} is {stored}, but its button shows {button['text']!r}"


def _convergence(case: PaymentCase) -> Iterator[str]:
    """At the end each refund, and their sums, are the same in the database and at Stripe."""
    latest = {change.id: change for change in case.refund_changes}
    for row in case.refunds:
        change = latest.get(row["stripe_id"])
        if change is not None and change.status != row["status"]:
            yield f"4: a refund of {case.name} is {row['status']} in the database and {change.status} at Stripe"
    stored = (case.row["amount_refunded"], case.row["amount_refund_pending"])
    succeeded = sum(change.amount for change in latest.values() if change.status == "succeeded")
    under_way = sum(change.amount for change in latest.values() if change.status in UNDER_WAY)
    if stored != (succeeded, under_way):
        at_stripe = (succeeded, under_way)
        yield f"4: refunded and pending of {case.name} are {stored} in the database and {at_stripe} at Stripe"


def _payment_messages(case_file: CaseFile, case: PaymentCase) -> Iterator[str]:
    """A payment message lists no refund before Stripe has it so; the last version lists all as they are."""
    for statement in case.statements_of("payment_message"):
        at = statement.message.at
        held = Counter((change.status, change.amount) for change in case.refund_changes if change.at <= at)
        for (status, amount), number in Counter(refund_texts.listed_refunds(statement.message.text)).items():
            if number > held[status, amount]:
                listed = f"lists {amount} as {status} at {at:%H:%M:%S.%f}"
                yield f"7: the payment message of {case.name} {listed}, too early"
    if not case_file.is_given_up(f"{case.row['id']}:message:"):
        yield from _last_payment_message(case)


def _last_payment_message(case: PaymentCase) -> Iterator[str]:
    recorded = (case.message_row["chat_id"], case.message_row["message_id"])
    messages = [each.message for each in case.statements_of("payment_message")]
    versions = [message for message in messages if (message.chat, message.message_id) == recorded]
    if not versions or len(case.refunds) > MAX_LISTED_REFUNDS:
        return
    latest = {change.id: (change.status, change.amount) for change in case.refund_changes}
    listed, at_stripe = refund_texts.listed_refunds(versions[-1].text), list(latest.values())
    if Counter(listed) != Counter(at_stripe):
        yield f"12: the payment message of {case.name} lists {listed} at the end, and Stripe has {at_stripe}"
    if case.dispute_changes and ("⚖️" not in versions[-1].text):
        yield f"12: the payment message of {case.name} does not mention its dispute at the end"


def _notifications(case_file: CaseFile, case: PaymentCase) -> Iterator[str]:
    """Each status of a refund is announced, and not before it was reached."""
    announced = Counter[tuple[str, int]]()
    for statement in sorted(case.statements, key=lambda each: each.message.at):
        status, found = statement.state.removeprefix("refund_"), first_amount(statement.message.text)
        if not statement.state.startswith("refund_") or found is None:
            continue
        announced[status, found[0]] += statement.kind == "refund_notification"
        yield from _untrue(case, statement, status, found[0])
    expected = Counter[tuple[str, int]]()
    for number, change in enumerate(case.refund_changes):
        if not _is_superseded(case.refund_changes, number) and not _is_given_up(case_file, case, change):
            expected[change.status, change.amount] += 1
    expected.update((status, amount) for status, amount in case.refund_outcomes if status in DECIDED_HERE)
    for (status, amount), number in expected.items():
        is_excused = status in DECIDED_HERE and _need_not_be_announced(case_file, case, status)
        if announced[status, amount] < number and not is_excused:
            sent = announced[status, amount]
            yield f"11: {number} refunds of {amount} of {case.name} were {status}, and {sent} are announced"


def _untrue(case: PaymentCase, statement: Statement, status: str, amount: int) -> Iterator[str]:
    at = statement.message.at
    untrue = f"7: {amount} of {case.name} was called {status} at {at:%H:%M:%S.%f}, which was not true"
    if status in {"succeeded", "pending", "requires_action", "failed", "canceled"}:
        held = [
            change
            for change in case.refund_changes
            if (change.status, change.amount) == (status, amount) and change.at <= at
        ]
        if not held:
            yield untrue
        elif statement.kind == "refund_notification" and status in UNSUCCESSFUL_REFUND_STATUSES:
            yield from _refundable_after_failure(case, statement, held[0].at)
    if status == "rejected":
        rejected = [row for row in case.refunds if (row["status"], row["amount"]) == ("rejected", amount)]
        if not rejected:
            yield untrue


def _refundable_after_failure(case: PaymentCase, statement: Statement, since: datetime) -> Iterator[str]:
    """The amount that a failure names as refundable was so at some time since, unless the payment is disputed."""
    at, text = statement.message.at, statement.message.text
    if "The customer has disputed this payment" in text:
        if not any(change.at <= at for change in case.dispute_changes):
            yield f"7: a failure mentions a dispute about {case.name}, and there was none"
        return
    named, received = refund_texts.refundable_amount(text), case.row["amount_received"]
    times = [since, *(change.at for change in case.refund_changes if since <= change.at <= at)]
    refundable = [received - amount_in_refunds(case.refund_changes, time) for time in times]
    if "by other refunds in the meantime" in text:
        is_reserved = any(row["reserved_at"] is not None for row in case.refunds)
        if min(refundable) and not is_reserved:
            yield f"7: a failure says that all of {case.name} is refunded, and {min(refundable)} was not"
        return
    if named is None or not 0 < named <= max(refundable):
        yield f"7: a failure says that {named} of {case.name} is refundable, and {max(refundable)} was"


def _is_superseded(changes: Sequence[StatusChange], number: int) -> bool:
    """Whether the refund or dispute changed again before the notification was due."""
    change = changes[number]
    return any(later.id == change.id and later.at <= change.at + NOTIFY_WITHIN for later in changes[number + 1 :])


def _is_given_up(case_file: CaseFile, case: PaymentCase, change: StatusChange) -> bool:
    row = next((row for row in case.refunds if row["stripe_id"] == change.id), None)
    return row is not None and case_file.is_given_up(f"{case.row['id']}:refund_{change.status}:{row['id']}")


def _need_not_be_announced(case_file: CaseFile, case: PaymentCase, status: str) -> bool:
    """Whether the notification was given up, or the draft expired before another user saw it."""
    rows = [row for row in case.refunds if row["status"] == status]
    if status == "expired" and all(row["approved_by"] is None and not _was_sent_to_approver(case, row) for row in rows):
        return True
    return any(case_file.is_given_up(f"{case.row['id']}:refund_{status}:{row['id']}") for row in rows)


def _was_sent_to_approver(case: PaymentCase, row: Row) -> bool:
    messages = [each.message for each in case.statements_of("refund_draft")]
    drafts = [message for message in messages if f"y:{row['id']}" in str(message.buttons)]
    return any("asks to refund" in message.text for message in drafts)


def _disputes(case_file: CaseFile, case: PaymentCase) -> Iterator[str]:
    """Each status of a dispute is announced in the chat, and not before it was reached."""
    for statement in case.statements:
        status, at = statement.state.removeprefix("dispute_"), statement.message.at
        held = any(change.status == status and change.at <= at for change in case.dispute_changes)
        announces = statement.kind in {"refund_notification", "admin_details"}
        if announces and statement.state.startswith("dispute_") and not held:
            yield f"13: a dispute about {case.name} was called {status}, which was not true"
    for number, change in enumerate(case.dispute_changes):
        sent = case.statements_of("refund_notification", f"dispute_{change.status}")
        is_announced = any(each.message.at >= change.at for each in sent)
        is_given_up = case_file.is_given_up(f"{case.row['id']}:dispute:{change.id}:{change.status}")
        if not (is_announced or is_given_up or _is_superseded(case.dispute_changes, number)):
            yield f"11: no message that the dispute about {case.name} is {change.status}"


def _pending(case_file: CaseFile, case: PaymentCase) -> Iterator[str]:
    """No refund is still to be sent or decided, and those under way have a scheduled check."""
    last = max((message.at for message in case_file.messages), default=None)
    for row in case.refunds:
        if row["status"] == "approved":
            yield f"14: a refund of {case.name} is still to be sent"
        if row["status"] in CHECKED_AGAIN and row["next_check_at"] is None:
            yield f"14: a refund of {case.name} is {row['status']} and no check is scheduled"
        is_expired = last is not None and row["expires_at"] and to_datetime(row["expires_at"]) < last
        if row["status"] in AWAITING_DECISION and is_expired:
            yield f"14: a draft of {case.name} is still {row['status']} after it expired"


def _unaudited(case_file: CaseFile, case: PaymentCase) -> Iterator[str]:
    """Before a refund is sent, the audit log has its approval and that it is sent."""
    for row in case.refunds:
        sent = refund_requests(case_file.ledger, row["id"])
        entries = [entry for entry in case.audit_entries if json.loads(entry["detail"]).get("refund") == row["id"]]
        for action in ("refund_approved", "refund_sent"):
            recorded = [to_datetime(entry["at"]) for entry in entries if entry["action"] == action]
            if sent and not any(at < sent[0].at for at in recorded):
                yield f"S2: a refund of {case.name} was sent without an earlier audit entry {action!r}"
