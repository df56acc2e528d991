"""Invariants 9, 10, 11 and 13: what is told is true, told once, told all of it, and told to nobody else."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from bot.sandbox.fake_telegram.transcript import LOST
from tests.invariants.case_file import Case, File
from tests.invariants.stripe_ledger import Turn
from tests.invariants.transcript import Claim, Said, amount, nonces

HASTE = timedelta(seconds=121)
"""Two sweeps: news of an attempt may come so late, and who went on before that needs none."""

LOUD = frozenset({"paid", "reserved", "failed", "expired", "canceled"})
OVER = frozenset({"failed", "expired"})
ASKED_IN_THE_CHAT = frozenset({"requested", "released", "rejected"})
MONEY_OUT = frozenset({"news", "details", "draft", "question"})
PAID_MEANWHILE = "The customer has already paid, so nothing was changed. To pay the money back, use /refund."


class Repeat(NamedTuple):
    """So many messages of one kind are there more than there is to say in a `chat`, sent from `first` to `last`."""

    what: str
    extra: int
    first: datetime
    last: datetime
    doubtful: int
    chat: int


def judge(file: File) -> Iterator[str]:
    """What does not hold."""
    yield from _told_elsewhere(file)
    yield from _told_twice(file)
    for case in file.cases:
        yield from _not_told(file, case)
        yield from _false(case)
        yield from _false_toasts(file, case)


def repeated(file: File) -> list[Repeat]:
    """The cards, notices and answers that stand there more often than there is something to say."""
    found: list[Repeat] = []
    for case in file.cases:
        groups: dict[str, list[Said]] = defaultdict(list)
        for claim in case.claims:
            if not claim.said.edit:
                groups[_fact(claim)].append(claim.said)
        for fact, sent in groups.items():
            if (extra := len(sent) - _worth(case, fact)) > 0:
                doubtful = sum(_unheard(sent, file.evidence.deaths))
                last = sent[-1].at
                found.append(Repeat(f"{case.name}, {fact}", extra, sent[0].at, last, doubtful, sent[0].chat))
    return found


def _unheard(sent: Sequence[Said], deaths: Sequence[datetime]) -> Iterator[bool]:
    """Of which whoever sent it cannot know that it arrived; a death before the next one explains a loss already."""
    ends = [*(message.at for message in sent[1:]), datetime.max.replace(tzinfo=UTC)]
    for message, next_at in zip(sent, ends, strict=True):
        died = message.fault == LOST and any(message.at <= death <= next_at for death in deaths)
        yield message.doubtful and not died


def _fact(claim: Claim) -> str:
    """What is said once: the card, the news of a state, or the answer to somebody's message."""
    match claim.kind:
        case "card":
            return "card"
        case "notice":
            return _state(claim)
        case "news":
            return f"{claim.state} of {amount(claim.said.text)}"
        case "draft" | "question" | "details":
            return f"{claim.kind} {_buttons(claim.said)} in {claim.said.chat}, {claim.state}"
        case _:
            return f"answer to {claim.said.reply_to}"


def _worth(case: Case, fact: str) -> int:
    """How often something may be said: once, but for the end of each attempt, each refund, and each who is asked."""
    if fact.startswith("draft "):
        return max([int(row["approvals_needed"]) for row in case.refunds if f"y:{row['id']}" in fact], default=1)
    if fact.startswith(("refund_", "capture_rejected")):
        return max(1, sum(fact == f"refund_{state} of {_currency(case, minor)}" for state, minor in case.outcomes))
    return max(1, sum(turn.state == fact for turn in case.turns)) if fact in OVER else 1


def _currency(case: Case, minor: int) -> tuple[int, str]:
    return minor, case.row["currency"]


def _buttons(message: Said) -> str:
    return " ".join(str(button.get("callback_data", "")) for button in message.buttons)


def _told_twice(file: File) -> Iterator[str]:
    for case in file.cases:
        posted = {claim.said.message_id for claim in case.said("card")}
        if not case.card["is_deleted"] and len(posted) > case.card["send_attempts"]:
            yield f"10: {case.name} has {len(posted)} cards, and {case.card['send_attempts']} are counted"
    deaths = Counter[int]()
    for repeat in repeated(file):
        unexplained = repeat.extra - repeat.doubtful
        deaths[repeat.chat] += max(0, unexplained)
        if unexplained > sum(repeat.first <= death <= repeat.last for death in file.evidence.deaths):
            yield f"10: {repeat.what} was said {repeat.extra} times too often"
    for number in deaths.values():
        if number > len(file.evidence.deaths):
            yield f"10: {number} messages were repeated by {len(file.evidence.deaths)} deaths"


def _told_elsewhere(file: File) -> Iterator[str]:
    """References, tokens, links and amounts of a payment stand in its shop's chats only, its news in its own."""
    for case in file.cases:
        row = case.row
        allowed = file.book.chats_of(row["shop_id"], file.evidence.owners)
        links = {turn.attempt.nonce for turn in case.turns if turn.attempt is not None}
        whole = f"{row['amount'] // 100:,}.{row['amount'] % 100:02}"
        for message in file.said:
            shown = case.name in message.text or row["page_token"] in _all(message) or whole in message.text
            if message.chat not in allowed and (shown or links & nonces(message)):
                yield f"9: {case.name} is spoken of in chat {message.chat}, which is not its shop's"
        for claim in (*case.said("card"), *case.said("notice"), *case.said("news")):
            if claim.said.chat != case.card["chat_id"]:
                yield f"9: a {claim.kind} of {case.name} is in chat {claim.said.chat}"


def _not_told(file: File, case: Case) -> Iterator[str]:
    for number, turn in enumerate(case.turns):
        if turn.state not in LOUD or _is_told(case, turn) or _is_overtaken(case, number):
            continue
        if not file.is_given_up(_key(case, turn)):
            yield f"11: nobody was told that {case.name} was {turn.state} at {turn.at:%H:%M:%S.%f}"


def _is_told(case: Case, turn: Turn) -> bool:
    """Whether there is a message about it; an end that was asked for in the chat may be told by card or answer."""
    if turn.state == "canceled" and case.row["cancellation_reason"] in ASKED_IN_THE_CHAT:
        return any(claim.state == "canceled" and claim.said.at >= turn.at for claim in case.claims)
    if turn.state == "expired" and case.began_by(turn.number) == "page":
        return True
    until = _next(case, turn)
    notices = [claim for claim in case.said("notice") if _state(claim) == turn.state]
    return any(turn.at <= claim.said.at and (until is None or claim.said.at < until) for claim in notices)


def _next(case: Case, turn: Turn) -> datetime | None:
    """When the next attempt began, after which news of this one are those of another."""
    if turn.state not in OVER:
        return None
    return next((later.at for later in case.turns if later.state == "open" and later.at > turn.at), None)


def _is_overtaken(case: Case, number: int) -> bool:
    """Whether something else happened, or somebody did something, before the news had to be there."""
    turn = case.turns[number]
    if turn.state not in OVER:
        return False
    after = [*(later.at for later in case.turns[number + 1 :]), *(act.at for act in case.acts)]
    return any(turn.at <= at <= turn.at + HASTE for at in after)


def _false(case: Case) -> Iterator[str]:
    """Each notice and answer was true when it was sent, and nothing is called over that was called paid."""
    paid = min((claim.said.at for claim in case.claims if claim.state == "paid"), default=None)
    told = dict.fromkeys(OVER, 0)
    for claim in sorted(case.claims, key=lambda claim: claim.said.at):
        state, at = _state(claim), claim.said.at
        if claim.kind in MONEY_OUT or state.startswith("refund_"):
            continue
        if claim.kind != "card" and state and not any(t.state == state and t.at <= at for t in case.turns):
            yield f"13: {case.name} was called {state} at {at:%H:%M:%S.%f}, which was not so"
        if paid is not None and at > paid and state in OVER | {"canceled"}:
            yield f"13: {case.name} was called {state} after it was called paid"
        if claim.kind == "notice" and state in OVER:
            told[state] += 1


def _false_toasts(file: File, case: Case) -> Iterator[str]:
    """What somebody who tapped is told."""
    taps = {act.query: act for act in case.acts if act.query}
    paid = case.first("paid")
    for at, query, words in file.toasts:
        if query in taps and words == PAID_MEANWHILE and (paid is None or paid > at):
            yield f"13: whoever tapped was told that {case.name} was paid, which was not so"


def _state(claim: Claim) -> str:
    """Stripe has one word for all ends."""
    return "canceled" if claim.state == "ended" else claim.state


def _key(case: Case, turn: Turn) -> str:
    """The key of the mail that was to tell it."""
    name = {"paid": "succeeded", "reserved": "authorized"}.get(turn.state, turn.state)
    return f"{case.row['id']}:attempt:{turn.number}:{name}" if turn.state in OVER else f"{case.row['id']}:{name}"


def _all(message: Said) -> str:
    return message.text + "".join(str(button) for button in message.buttons)
