"""Invariants 1 to 5: one charge for a request, nothing orphaned, altered or stale, and no confirm too many."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.invariants.case_file import MOST_ATTEMPTS, Case, File
from tests.invariants.stripe_ledger import ROOT, charges, confirms, open_at
from tests.invariants.transcript import Act, amount
from tests.support.world import PAY_LABELS

PAY = re.compile(r"/(?:pay|hold) (\d+)(?:[.,](\d\d))?(?: (DKK|EUR|NOK|SEK))?(?: (?!\d).*)?", re.DOTALL)
STATUS = {
    "requires_payment_method": "open",
    "requires_action": "open",
    "requires_capture": "authorized",
    "succeeded": "succeeded",
    "canceled": "canceled",
    "processing": "processing",
}
OUTCOMES = {"approved": "succeeded", "declined": "failed", "expired": "expired", "canceled": "canceled", None: "active"}


def judge(file: File) -> Iterator[str]:
    """What does not hold."""
    yield from _asked(file)
    yield from _orphans(file)
    yield from _frozen(file)
    for case in file.cases:
        yield from _one_charge(file, case)
        yield from _faithful(file, case)
        yield from _converged(file, case)
        yield from _confirmed(file, case)
        yield from _canceled(file, case)


def _asked(file: File) -> Iterator[str]:
    """Each /pay that was not answered with a refusal or a question has its one row, and each row its message."""
    cards = {(claim.said.chat, claim.said.message_id) for claim in file.claims if claim.kind == "card"}
    answered = {(s.chat, s.reply_to) for s in file.said if (s.chat, s.message_id) not in cards}
    sources = [row["request_key"] for row in file.book.payments]
    for act in file.acts:
        rows = sources.count(_source(act))
        if PAY.fullmatch(act.text) and rows != 1 and (act.chat, act.message_id) not in answered:
            yield f"1: {act.text!r} made {rows} payments"
    asked = {_source(act) for act in file.acts if act.text}
    for row in file.book.payments:
        if row["request_key"].startswith("message:") and row["request_key"] not in asked:
            yield f"1: nobody asked for #{row['reference']}"


def _orphans(file: File) -> Iterator[str]:
    known = {row["id"]: row["intent_id"] for row in file.book.payments}
    for key, intent in file.ledger.intents.items():
        named = intent["metadata"].get("kvit_payment")
        if known.get(named) != key:
            yield f"2: the intent {key} is not in the book as that of its payment {named}"
    for named, key in known.items():
        if key is not None and key not in file.ledger.intents:
            yield f"2: the book has an intent {key} of {named}, which Stripe does not know"


def _frozen(file: File) -> Iterator[str]:
    """What is sent again is what was sent before, to the letter."""
    sent: dict[str, object] = {}
    for request in file.ledger.requests:
        key = request.idempotency_key
        if key is not None and request.params and sent.setdefault(key, request.params) != request.params:
            yield f"1: the key {key} came again with something else"


def _one_charge(file: File, case: Case) -> Iterator[str]:
    if len(case.intents) > 1:
        yield f"1: {case.name} has {len(case.intents)} intents"
    if len(taken := charges(file.ledger, case.intents)) > 1:
        yield f"1: {case.name} was charged {len(taken)} times"


def _faithful(file: File, case: Case) -> Iterator[str]:
    """What was typed, what was written, what Stripe was asked for and what is shown are the same money and chat."""
    row = case.row
    ours = (row["amount"], row["currency"])
    typed = [act for act in file.acts if _source(act) == row["request_key"] and PAY.fullmatch(act.text)]
    for act in typed:
        if (read := _reading(act, file.book.currency_of(row["shop_id"]))) != ours:
            yield f"3: {case.name} was asked for as {read}, and written as {ours}"
        if act.chat != row["chat_id"]:
            yield f"3: {case.name} was asked for in chat {act.chat}, and written for {row['chat_id']}"
    for key in case.intents:
        intent = file.ledger.intents[key]
        if (theirs := (intent["amount"], intent["currency"].upper())) != ours:
            yield f"3: {case.name} is {ours} in the book and {theirs} at Stripe"
    for claim in (*case.said("card"), *case.said("notice")):
        if (shown := amount(claim.said.text)) != ours:
            yield f"3: {case.name} is {ours}, and its {claim.kind} says {shown}"
        for button in claim.said.buttons:
            if button["text"].startswith(PAY_LABELS) and amount(button["text"]) != ours:
                yield f"3: {case.name} is {ours}, and its button says {button['text']!r}"


def _converged(file: File, case: Case) -> Iterator[str]:
    row = case.row
    for key in case.intents[:1]:
        intent, attempts = file.ledger.intents[key], file.ledger.attempts[key]
        if row["status"] != STATUS[intent["status"]]:
            yield f"4: {case.name} is {row['status']} in the book and {intent['status']} at Stripe"
        if row["amount_received"] != intent["amount_received"]:
            yield f"4: {case.name} received {row['amount_received']} by the book, {intent['amount_received']} by Stripe"
        ours, theirs = [each["status"] for each in case.attempts], [OUTCOMES.get(a.outcome) for a in attempts]
        if ours != theirs:
            yield f"4: the attempts of {case.name} are {ours} in the book and {theirs} at Stripe"
    if not case.intents and row["status"] != "canceled":
        yield f"4: {case.name} is {row['status']} in the book, and Stripe has no intent of it"


def _confirmed(file: File, case: Case) -> Iterator[str]:
    """Nothing is confirmed over an open attempt, without a tap of its own, or too often."""
    wanted = [act.at for act in case.acts if act.data.startswith("n:")]
    by_page = sum(row["origin"] == "page" for row in case.attempts)
    for key in case.intents:
        asked = confirms(file.ledger, key)
        for request in asked:
            if (attempt := open_at(file.ledger, key, request.at)) is not None:
                yield f"5: {case.name} was confirmed while its attempt {attempt.number} was open"
        for number, request in enumerate(asked, start=1):
            if number > sum(at < request.at for at in wanted) + by_page:
                yield f"5: {case.name} was confirmed {number} times, which nobody wanted"
        if len(file.ledger.attempts[key]) > MOST_ATTEMPTS:
            yield f"5: {case.name} had {len(file.ledger.attempts[key])} attempts"


def _canceled(file: File, case: Case) -> Iterator[str]:
    """An intent is canceled because somebody wanted it, its time was over, or its attempts were used."""
    paths = {f"{ROOT}/{key}/cancel" for key in case.intents}
    for request in file.ledger.requests:
        if request.path in paths and not case.may_end(request.at):
            yield f"8: {case.name} was canceled, which nobody wanted"


def _source(act: Act) -> str:
    return f"message:{act.chat}:{act.message_id}"


def _reading(act: Act, currency: str) -> tuple[int, str]:
    found = PAY.fullmatch(act.text)
    assert found is not None
    return int(found[1]) * 100 + int(found[2] or 0), found[3] or currency
