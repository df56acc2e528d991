"""Invariants 9, 10, 11 and 13: notifications are complete, true, sent once, and sent to the right chat."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from bot.sandbox.fake_telegram.transcript import LOST
from tests.invariants.case_file import CaseFile, PaymentCase
from tests.invariants.stripe_ledger import PaymentChange
from tests.invariants.transcript import BotMessage, Statement, first_amount, nonces

NOTIFY_WITHIN = timedelta(seconds=121)
"""Two reconciliations. If the payment goes on within this time, the notification of an attempt may be left out."""

NOTIFIED_STATES = frozenset({"paid", "reserved", "failed", "expired", "canceled"})
ENDED_ATTEMPT = frozenset({"failed", "expired"})
REQUESTED_IN_CHAT = frozenset({"requested", "released", "rejected"})
NOT_ABOUT_PAYMENT_STATE = frozenset({"refund_notification", "admin_details", "refund_draft", "prompt"})
PAID_MEANWHILE = "The customer has already paid, so nothing was changed. To pay the money back, use /refund."


class Repeat(NamedTuple):
    """`extra` more messages of one kind than there are reasons, in `chat`, sent from `first` to `last`.

    `unconfirmed` of them had a response that was lost or not read.
    """

    what: str
    extra: int
    first: datetime
    last: datetime
    unconfirmed: int
    chat: int


def check(case_file: CaseFile) -> Iterator[str]:
    """Yields violations."""
    yield from _wrong_chats(case_file)
    yield from _too_often(case_file)
    for case in case_file.cases:
        yield from _missing(case_file, case)
        yield from _untrue(case)
        yield from _untrue_callback_answers(case_file, case)


def repeated(case_file: CaseFile) -> list[Repeat]:
    """The payment messages, notifications and answers that were sent more often than there was a reason."""
    found: list[Repeat] = []
    for case in case_file.cases:
        groups: dict[str, list[BotMessage]] = defaultdict(list)
        for statement in case.statements:
            if not statement.message.edit:
                groups[_subject(statement)].append(statement.message)
        for subject, sent in groups.items():
            if (extra := len(sent) - _allowed_times(case, subject)) > 0:
                unconfirmed = sum(_unconfirmed(sent, case_file.evidence.crashes))
                first, last = sent[0], sent[-1]
                found.append(Repeat(f"{case.name}, {subject}", extra, first.at, last.at, unconfirmed, first.chat))
    return found


def _unconfirmed(sent: Sequence[BotMessage], crashes: Sequence[datetime]) -> Iterator[bool]:
    """For each message, whether its sender could not know that it arrived, apart from responses lost in a crash."""
    ends = [*(message.at for message in sent[1:]), datetime.max.replace(tzinfo=UTC)]
    for message, next_at in zip(sent, ends, strict=True):
        lost_in_crash = message.fault == LOST and any(message.at <= crash <= next_at for crash in crashes)
        yield message.outcome_unknown and not lost_in_crash


def _subject(statement: Statement) -> str:
    """What is sent once: the payment message, the notification of a state, or the answer to one message."""
    message = statement.message
    match statement.kind:
        case "payment_message":
            return "payment_message"
        case "notification":
            return _state(statement)
        case "refund_notification":
            return f"{statement.state} of {first_amount(message.text)}"
        case "refund_draft" | "prompt" | "admin_details":
            return f"{statement.kind} {_buttons(message)} in {message.chat}, {statement.state}"
        case _ if message.reply_to is None:  # to a button press, which it does not name
            return f"answer {message.message_id} in {message.chat}"
        case _:
            return f"answer to {message.reply_to}"


def _allowed_times(case: PaymentCase, subject: str) -> int:
    """Once, but once for each ended attempt, each refund, and each approver of a refund."""
    if subject.startswith("refund_draft "):
        return max([int(row["approvals_needed"]) for row in case.refunds if f"y:{row['id']}" in subject], default=1)
    if subject.startswith(("refund_", "capture_rejected")):
        currency = case.row["currency"]
        subjects = [f"refund_{status} of {(amount, currency)}" for status, amount in case.refund_outcomes]
        return max(1, subjects.count(subject))
    return max(1, sum(change.state == subject for change in case.changes)) if subject in ENDED_ATTEMPT else 1


def _buttons(message: BotMessage) -> str:
    return " ".join(str(button.get("callback_data", "")) for button in message.buttons)


def _too_often(case_file: CaseFile) -> Iterator[str]:
    crashes = case_file.evidence.crashes
    for case in case_file.cases:
        sent = {statement.message.message_id for statement in case.statements_of("payment_message")}
        counted = case.message_row["send_attempts"]
        if not case.message_row["is_deleted"] and len(sent) > counted:
            yield f"10: {case.name} has {len(sent)} payment messages, and {counted} are counted"
    after_crash = Counter[int]()
    for repeat in repeated(case_file):
        unexplained = repeat.extra - repeat.unconfirmed
        after_crash[repeat.chat] += max(0, unexplained)
        if unexplained > sum(repeat.first <= crash <= repeat.last for crash in crashes):
            yield f"10: {repeat.what} was sent {repeat.extra} times too often"
    for number in after_crash.values():
        if number > len(crashes):
            yield f"10: {number} messages were repeated after {len(crashes)} crashes"


def _wrong_chats(case_file: CaseFile) -> Iterator[str]:
    """References, tokens, links and amounts are only in the shop's chats, notifications only in the payment's chat."""
    for case in case_file.cases:
        row = case.row
        allowed = case_file.rows.chats_of_shop(row["shop_id"], case_file.evidence.owners)
        links = {change.attempt.nonce for change in case.changes if change.attempt is not None}
        amount = f"{row['amount'] // 100:,}.{row['amount'] % 100:02}"
        for message in case_file.messages:
            shown = case.name in message.text or row["page_token"] in _content(message) or amount in message.text
            if message.chat not in allowed and (shown or links & nonces(message)):
                yield f"9: {case.name} appears in chat {message.chat}, which does not belong to its shop"
        for kind in ("payment_message", "notification", "refund_notification"):
            for statement in case.statements_of(kind):
                if statement.message.chat != case.message_row["chat_id"]:
                    yield f"9: a {kind} of {case.name} is in chat {statement.message.chat}"


def _missing(case_file: CaseFile, case: PaymentCase) -> Iterator[str]:
    for number, change in enumerate(case.changes):
        if change.state not in NOTIFIED_STATES or _is_notified(case, change) or _is_superseded(case, number):
            continue
        if not case_file.is_given_up(_job_key(case, change)):
            yield f"11: no message that {case.name} was {change.state} at {change.at:%H:%M:%S.%f}"


def _is_notified(case: PaymentCase, change: PaymentChange) -> bool:
    """Whether a message announces it; an end requested in the chat may be shown by payment message or answer."""
    if change.state == "canceled" and case.row["cancellation_reason"] in REQUESTED_IN_CHAT:
        return any(each.state == "canceled" and each.message.at >= change.at for each in case.statements)
    if change.state == "expired" and case.passed_unseen(change.number):
        return True
    until = _next_attempt_at(case, change)
    sent = [each.message.at for each in case.statements_of("notification") if _state(each) == change.state]
    return any(change.at <= at and (until is None or at < until) for at in sent)


def _next_attempt_at(case: PaymentCase, change: PaymentChange) -> datetime | None:
    """When the next attempt began; later notifications are about that one."""
    if change.state not in ENDED_ATTEMPT:
        return None
    return next((later.at for later in case.changes if later.state == "open" and later.at > change.at), None)


def _is_superseded(case: PaymentCase, number: int) -> bool:
    """Whether the payment changed again, or a user acted, before the notification was due."""
    change = case.changes[number]
    if change.state not in ENDED_ATTEMPT:
        return False
    after = [*(later.at for later in case.changes[number + 1 :]), *(action.at for action in case.actions)]
    return any(change.at <= at <= change.at + NOTIFY_WITHIN for at in after)


def _untrue(case: PaymentCase) -> Iterator[str]:
    """Each notification and answer was true when it was sent, and no end follows *paid*."""
    paid = min((each.message.at for each in case.statements if each.state == "paid"), default=None)
    for statement in sorted(case.statements, key=lambda each: each.message.at):
        state, at = _state(statement), statement.message.at
        if statement.kind in NOT_ABOUT_PAYMENT_STATE or state.startswith("refund_"):
            continue
        held = any(change.state == state and change.at <= at for change in case.changes)
        if statement.kind != "payment_message" and state and not held:
            yield f"13: {case.name} was called {state} at {at:%H:%M:%S.%f}, which was not true"
        if paid is not None and at > paid and state in ENDED_ATTEMPT | {"canceled"}:
            yield f"13: {case.name} was called {state} after it was called paid"


def _untrue_callback_answers(case_file: CaseFile, case: PaymentCase) -> Iterator[str]:
    queries = {action.query for action in case.actions if action.query}
    paid = case.first("paid")
    for at, query, text in case_file.callback_answers:
        if query in queries and text == PAID_MEANWHILE and (paid is None or paid > at):
            yield f"13: a button press was answered that {case.name} was paid, which was not true"


def _state(statement: Statement) -> str:
    """The state in Stripe's terms, which has one for all ends."""
    return "canceled" if statement.state == "ended" else statement.state


def _job_key(case: PaymentCase, change: PaymentChange) -> str:
    """The key of the notification's job."""
    name = {"paid": "succeeded", "reserved": "authorized"}.get(change.state, change.state)
    payment_id = case.row["id"]
    return f"{payment_id}:attempt:{change.number}:{name}" if change.state in ENDED_ATTEMPT else f"{payment_id}:{name}"


def _content(message: BotMessage) -> str:
    return message.text + "".join(str(button) for button in message.buttons)
