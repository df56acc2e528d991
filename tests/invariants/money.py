"""Invariants 1 to 5: one charge per request, nothing orphaned, altered or out of date, and no confirm too many."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.invariants.case_file import MAX_ATTEMPTS, CaseFile, PaymentCase
from tests.invariants.stripe_ledger import ROOT, confirm_requests, open_attempt_at, successful_charges
from tests.invariants.transcript import UserAction, first_amount
from tests.support.world import PAY_LABELS

PAY = re.compile(r"/(?:pay|hold) (\d+)(?:[.,](\d\d))?(?: (DKK|EUR|NOK|SEK))?(?: (?!\d).*)?", re.DOTALL)
PAYMENT_STATUS = {
    "requires_payment_method": "open",
    "requires_action": "open",
    "requires_capture": "authorized",
    "succeeded": "succeeded",
    "canceled": "canceled",
    "processing": "processing",
}
ATTEMPT_STATUS = {
    "approved": "succeeded",
    "declined": "failed",
    "expired": "expired",
    "canceled": "canceled",
    None: "active",
}


def check(case_file: CaseFile) -> Iterator[str]:
    """Yields violations."""
    yield from _requests(case_file)
    yield from _orphans(case_file)
    yield from _params(case_file)
    for case in case_file.cases:
        yield from _one_charge(case_file, case)
        yield from _fidelity(case_file, case)
        yield from _convergence(case_file, case)
        yield from _confirms(case_file, case)
        yield from _cancellations(case_file, case)


def _requests(case_file: CaseFile) -> Iterator[str]:
    """Each /pay without an error or a prompt as answer has exactly one payment, and each payment has its command."""
    payment_messages = {
        (statement.message.chat, statement.message.message_id)
        for statement in case_file.statements
        if statement.kind == "payment_message"
    }
    answered = {(m.chat, m.reply_to) for m in case_file.messages if (m.chat, m.message_id) not in payment_messages}
    request_keys = [row["request_key"] for row in case_file.rows.payments]
    for action in case_file.actions:
        count = request_keys.count(_request_key(action))
        if PAY.fullmatch(action.text) and count != 1 and (action.chat, action.message_id) not in answered:
            yield f"1: {action.text!r} created {count} payments"
    commands = {_request_key(action) for action in case_file.actions if action.text}
    for row in case_file.rows.payments:
        if row["request_key"].startswith("message:") and row["request_key"] not in commands:
            yield f"1: no command requested #{row['reference']}"


def _orphans(case_file: CaseFile) -> Iterator[str]:
    stored = {row["id"]: row["intent_id"] for row in case_file.rows.payments}
    for intent_id, intent in case_file.ledger.intents.items():
        payment_id = intent["metadata"].get("kvit_payment")
        if stored.get(payment_id) != intent_id:
            yield f"2: the intent {intent_id} is not stored with its payment {payment_id}"
    for payment_id, intent_id in stored.items():
        if intent_id is not None and intent_id not in case_file.ledger.intents:
            yield f"2: the payment {payment_id} has the intent {intent_id}, which Stripe does not have"


def _params(case_file: CaseFile) -> Iterator[str]:
    """A retry sends the same parameters with the same key."""
    sent: dict[str, object] = {}
    for request in case_file.ledger.requests:
        key = request.idempotency_key
        if key is not None and request.params and sent.setdefault(key, request.params) != request.params:
            yield f"1: the key {key} was sent again with other parameters"


def _one_charge(case_file: CaseFile, case: PaymentCase) -> Iterator[str]:
    if len(case.intents) > 1:
        yield f"1: {case.name} has {len(case.intents)} intents"
    if len(charges := successful_charges(case_file.ledger, case.intents)) > 1:
        yield f"1: {case.name} was charged {len(charges)} times"


def _fidelity(case_file: CaseFile, case: PaymentCase) -> Iterator[str]:
    """Amount, currency and chat are the same in the command, in the database, at Stripe and in all messages."""
    row = case.row
    stored = (row["amount"], row["currency"])
    commands = [action for action in case_file.actions if PAY.fullmatch(action.text)]
    for action in (command for command in commands if _request_key(command) == row["request_key"]):
        if (typed := _typed_amount(action, case_file.rows.currency_of_shop(row["shop_id"]))) != stored:
            yield f"3: {case.name} was requested as {typed} and stored as {stored}"
        if action.chat != row["chat_id"]:
            yield f"3: {case.name} was requested in chat {action.chat} and stored for chat {row['chat_id']}"
    for intent_id in case.intents:
        intent = case_file.ledger.intents[intent_id]
        if (at_stripe := (intent["amount"], intent["currency"].upper())) != stored:
            yield f"3: {case.name} is {stored} in the database and {at_stripe} at Stripe"
    for statement in (*case.statements_of("payment_message"), *case.statements_of("notification")):
        if (shown := first_amount(statement.message.text)) != stored:
            yield f"3: {case.name} is {stored}, but its {statement.kind} shows {shown}"
        for button in statement.message.buttons:
            if button["text"].startswith(PAY_LABELS) and first_amount(button["text"]) != stored:
                yield f"3: {case.name} is {stored}, but its button shows {button['text']!r}"


def _convergence(case_file: CaseFile, case: PaymentCase) -> Iterator[str]:
    row = case.row
    for intent_id in case.intents[:1]:
        intent, attempts = case_file.ledger.intents[intent_id], case_file.ledger.attempts[intent_id]
        if row["status"] != PAYMENT_STATUS[intent["status"]]:
            yield f"4: {case.name} is {row['status']} in the database and {intent['status']} at Stripe"
        received, at_stripe = row["amount_received"], intent["amount_received"]
        if received != at_stripe:
            yield f"4: {case.name} received {received} in the database and {at_stripe} at Stripe"
        ours, theirs = [each["status"] for each in case.attempts], [ATTEMPT_STATUS.get(a.outcome) for a in attempts]
        if ours != theirs:
            yield f"4: the attempts of {case.name} are {ours} in the database and {theirs} at Stripe"
    if not case.intents and row["status"] != "canceled":
        yield f"4: {case.name} is {row['status']} in the database and has no intent at Stripe"


def _confirms(case_file: CaseFile, case: PaymentCase) -> Iterator[str]:
    """No confirm while an attempt is open, none without a request of its own, and at most eight attempts."""
    requested = [action.at for action in case.actions if action.data.startswith("n:")]
    on_page = sum(row["origin"] == "page" for row in case.attempts)
    for intent_id in case.intents:
        confirms = confirm_requests(case_file.ledger, intent_id)
        for confirm in confirms:
            if (attempt := open_attempt_at(case_file.ledger, intent_id, confirm.at)) is not None:
                yield f"5: {case.name} was confirmed while its attempt {attempt.number} was open"
        for number, confirm in enumerate(confirms, start=1):
            if number > sum(at < confirm.at for at in requested) + on_page:
                yield f"5: {case.name} was confirmed {number} times without a request"
        if len(case_file.ledger.attempts[intent_id]) > MAX_ATTEMPTS:
            yield f"5: {case.name} had {len(case_file.ledger.attempts[intent_id])} attempts"


def _cancellations(case_file: CaseFile, case: PaymentCase) -> Iterator[str]:
    """An intent is canceled only on request, after expiry, or when its attempts are used up."""
    paths = {f"{ROOT}/{intent_id}/cancel" for intent_id in case.intents}
    for request in case_file.ledger.requests:
        if request.path in paths and not case.may_be_canceled(request.at):
            yield f"8: {case.name} was canceled without a request"


def _request_key(action: UserAction) -> str:
    return f"message:{action.chat}:{action.message_id}"


def _typed_amount(action: UserAction, currency: str) -> tuple[int, str]:
    found = PAY.fullmatch(action.text)
    assert found is not None
    return int(found[1]) * 100 + int(found[2] or 0), found[3] or currency
