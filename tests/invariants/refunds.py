"""Invariants 2 to 4, 6, 7, 10 to 14 and S2 for money that goes out: refunds and disputes, each at its own time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from tests.invariants import refund_texts
from tests.invariants.case_file import Case, File
from tests.invariants.database_rows import Row, time
from tests.invariants.notifications import HASTE
from tests.invariants.stripe_ledger import CAME_TO_NOTHING, Move, asked_for, not_failed
from tests.invariants.transcript import Claim, amount

UNDER_WAY = frozenset({"pending", "requires_action"})
OPEN = frozenset({"draft", "awaiting_approval"})
WAITING = frozenset({"approved", *UNDER_WAY})
MOST_LINES = 6


def judge(file: File) -> Iterator[str]:
    """What does not hold."""
    yield from _orphans(file)
    for case in file.cases:
        yield from _conserved(file, case)
        yield from _bound(file, case)
        yield from _converged(case)
        yield from _cards(file, case)
        yield from _news(file, case)
        yield from _disputes(file, case)
        yield from _pending(file, case)
        yield from _unwritten(file, case)


def _orphans(file: File) -> Iterator[str]:
    """Every refund of Stripe's has its row, and every row that names one is right."""
    rows = {row["stripe_id"]: row for row in file.book.refunds if row["stripe_id"] is not None}
    for key in file.ledger.refunds.keys() - rows.keys():
        yield f"2: the refund {key} is not in the book"
    for key in rows.keys() - file.ledger.refunds.keys():
        yield f"2: the book has a refund {key}, which Stripe does not know"


def _conserved(file: File, case: Case) -> Iterator[str]:
    """At no time was more on its way back than had been received."""
    taken = sum(file.ledger.intents[key]["amount_received"] for key in case.intents)
    for move in case.moves:
        if (back := not_failed(case.moves, move.at)) > taken:
            yield f"6: of {case.name} {back} went back at {move.at:%H:%M:%S.%f}, and {taken} was received"


def _bound(file: File, case: Case) -> Iterator[str]:
    """Each refund of ours has its own draft, which was approved and said as much; each draft has one refund."""
    drafts = {row["id"]: row for row in case.refunds}
    made: Counter[str] = Counter()
    for key, refund in file.ledger.refunds.items():
        draft_id = refund["metadata"].get("kvit_refund")
        if refund["payment_intent"] not in case.intents or draft_id is None:
            continue
        made[draft_id] += 1
        row = drafts.get(draft_id)
        if row is None or row["reserved_at"] is None or row["requested_by"] is None:
            yield f"6: the refund {key} of {case.name} has no approved draft"
            continue
        theirs = (refund["amount"], refund["currency"].upper())
        if theirs != (row["amount"], row["currency"]):
            yield f"3: a refund of {case.name} is {row['amount']} in the book and {theirs} at Stripe"
        yield from _shown(case, row)
    for draft_id, number in made.items():
        if number > 1:
            yield f"6: a draft of {case.name} became {number} refunds ({draft_id})"


def _shown(case: Case, row: Row) -> Iterator[str]:
    """The button that lets a refund go says how much."""
    for claim in case.said("draft"):
        for button in claim.said.buttons:
            wanted = (row["amount"], row["currency"])
            if button.get("callback_data") == f"y:{row['id']}" and amount(button["text"]) != wanted:
                yield f"3: a refund of {case.name} is {wanted}, and its button says {button['text']!r}"


def _converged(case: Case) -> Iterator[str]:
    """In the end the book says what Stripe says, of each refund and in sum."""
    theirs = {move.id: move for move in case.moves}
    for row in case.refunds:
        move = theirs.get(row["stripe_id"])
        if move is not None and move.state != row["status"]:
            yield f"4: a refund of {case.name} is {row['status']} in the book and {move.state} at Stripe"
    done = sum(move.amount for move in theirs.values() if move.state == "succeeded")
    going = sum(move.amount for move in theirs.values() if move.state in UNDER_WAY)
    if (case.row["amount_refunded"], case.row["amount_refund_pending"]) != (done, going):
        ours = f"{case.row['amount_refunded']} and {case.row['amount_refund_pending']}"
        yield f"4: of {case.name} {ours} went and goes back by the book, {done} and {going} by Stripe"


def _cards(file: File, case: Case) -> Iterator[str]:
    """A card lists no refund as done, begun or failed before Stripe had it so; in the end it lists them as they are."""
    for claim in case.said("card"):
        held = Counter((move.state, move.amount) for move in case.moves if move.at <= claim.said.at)
        for (state, minor), number in Counter(refund_texts.lines(claim.said.text)).items():
            if number > held[state, minor]:
                yield f"7: the card of {case.name} lists {minor} as {state} at {claim.said.at:%H:%M:%S.%f}, too early"
    if not file.is_given_up(f"{case.row['id']}:message:"):
        yield from _last_card(case)


def _last_card(case: Case) -> Iterator[str]:
    where = (case.card["chat_id"], case.card["message_id"])
    versions = [claim for claim in case.said("card") if (claim.said.chat, claim.said.message_id) == where]
    latest = {move.id: (move.state, move.amount) for move in case.moves}
    if not versions or len(case.refunds) > MOST_LINES:
        return
    if Counter(refund_texts.lines(versions[-1].said.text)) != Counter(latest.values()):
        listed = refund_texts.lines(versions[-1].said.text)
        yield f"12: the card of {case.name} lists {listed} in the end, and Stripe has {list(latest.values())}"
    if case.disputes and ("⚖️" not in versions[-1].said.text):
        yield f"12: the card of {case.name} says nothing of its dispute in the end"


def _news(file: File, case: Case) -> Iterator[str]:
    """Whatever became of a refund is told when it was so and not before, and all of it is."""
    told = Counter[tuple[str, int]]()
    for claim in sorted(case.claims, key=lambda claim: claim.said.at):
        state, found = claim.state.removeprefix("refund_"), amount(claim.said.text)
        if not claim.state.startswith("refund_") or found is None:
            continue
        told[state, found[0]] += claim.kind == "news"
        yield from _too_early(case, claim, state, found[0])
    wanted = Counter[tuple[str, int]]()
    for number, move in enumerate(case.moves):
        if not _overtaken(case.moves, number) and not _given_up(file, case, move):
            wanted[move.state, move.amount] += 1
    wanted.update((state, minor) for state, minor in case.outcomes if state in {"rejected", "expired"})
    for (state, minor), number in wanted.items():
        if told[state, minor] < number and not (state in {"rejected", "expired"} and _dropped(file, case, state)):
            yield f"11: {number} refunds of {minor} of {case.name} were {state}, and {told[state, minor]} are told"


def _too_early(case: Case, claim: Claim, state: str, minor: int) -> Iterator[str]:
    at = claim.said.at
    if state in {"succeeded", "pending", "requires_action", "failed", "canceled"}:
        held = [move for move in case.moves if (move.state, move.amount) == (state, minor) and move.at <= at]
        if not held:
            yield f"7: {minor} of {case.name} was called {state} at {at:%H:%M:%S.%f}, which was not so"
        elif claim.kind == "news" and state in CAME_TO_NOTHING:
            yield from _grown_again(case, claim, held[0].at)
    if state == "rejected" and not any(row["status"] == "rejected" and row["amount"] == minor for row in case.refunds):
        yield f"7: {minor} of {case.name} was called refused at {at:%H:%M:%S.%f}, which was not so"


def _grown_again(case: Case, claim: Claim, since: datetime) -> Iterator[str]:
    """What a failure says can be refunded is what Stripe would let go back at some time since; or it is disputed."""
    if "The customer has disputed this payment" in claim.said.text:
        if not any(move.at <= claim.said.at for move in case.disputes):
            yield f"7: a failure speaks of a dispute about {case.name}, and there was none"
        return
    at, said = claim.said.at, refund_texts.left(claim.said.text)
    taken = case.row["amount_received"]
    times = [since, *(move.at for move in case.moves if since <= move.at <= at)]
    most, least = (of(taken - not_failed(case.moves, time) for time in times) for of in (max, min))
    if "by other refunds in the meantime" in claim.said.text:
        on_its_way = any(row["reserved_at"] is not None for row in case.refunds)
        if least and not on_its_way:
            yield f"7: after a failure all of {case.name} is said to be back, and {least} was not"
        return
    if said is None or not 0 < said <= most:
        yield f"7: after a failure {said} of {case.name} is said to be left, and it was {most}"


def _overtaken(moves: list[Move], number: int) -> bool:
    """Whether the refund went on before the news had to be there."""
    move = moves[number]
    return any(later.id == move.id and later.at <= move.at + HASTE for later in moves[number + 1 :])


def _given_up(file: File, case: Case, move: Move) -> bool:
    row = next((row for row in case.refunds if row["stripe_id"] == move.id), None)
    return row is not None and file.is_given_up(f"{case.row['id']}:refund_{move.state}:{row['id']}")


def _dropped(file: File, case: Case, state: str) -> bool:
    """Whether news of our own refusals were given up, or never were to be told: a draft that nobody else saw."""
    rows = [row for row in case.refunds if row["status"] == state]
    if state == "expired" and all(row["approved_by"] is None and not _was_asked(case, row) for row in rows):
        return True
    return any(file.is_given_up(f"{case.row['id']}:refund_{state}:{row['id']}") for row in rows)


def _was_asked(case: Case, row: Row) -> bool:
    """Whether others were asked to approve it."""
    drafts = [claim for claim in case.said("draft") if f"y:{row['id']}" in str(claim.said.buttons)]
    return any("asks to refund" in claim.said.text for claim in drafts)


def _disputes(file: File, case: Case) -> Iterator[str]:
    """Each turn of a dispute is told in the chat, and not before it came."""
    for claim in case.claims:
        state = claim.state.removeprefix("dispute_")
        held = any(move.state == state and move.at <= claim.said.at for move in case.disputes)
        if claim.kind in {"news", "details"} and claim.state.startswith("dispute_") and not held:
            yield f"13: a dispute about {case.name} was called {state}, which was not so"
    for number, move in enumerate(case.disputes):
        told = [claim for claim in case.said("news", f"dispute_{move.state}") if claim.said.at >= move.at]
        given_up = file.is_given_up(f"{case.row['id']}:dispute:{move.id}:{move.state}")
        if not (told or given_up or _overtaken(case.disputes, number)):
            yield f"11: nobody was told that the dispute about {case.name} is {move.state}"


def _pending(file: File, case: Case) -> Iterator[str]:
    """Nothing is left to be done by us, and what Stripe still works on is looked at again."""
    last = max((said.at for said in file.said), default=None)
    for row in case.refunds:
        if row["status"] == "approved":
            yield f"14: a refund of {case.name} still waits to be asked for"
        if row["status"] in WAITING and row["next_check_at"] is None:
            yield f"14: nobody will look at a refund of {case.name} again, which is {row['status']}"
        if row["status"] in OPEN and last is not None and row["expires_at"] and time(row["expires_at"]) < last:
            yield f"14: a draft of {case.name} is still {row['status']} though its time is over"


def _unwritten(file: File, case: Case) -> Iterator[str]:
    """Before each request for a refund it stands in the history that it was approved, and that it goes out."""
    for row in case.refunds:
        asked = asked_for(file.ledger, row["id"])
        mine = [line for line in case.history if json.loads(line["detail"]).get("refund") == row["id"]]
        for action in ("refund_approved", "refund_sent"):
            written = [time(line["at"]) for line in mine if line["action"] == action]
            if asked and not any(at < asked[0].at for at in written):
                yield f"S2: a refund of {case.name} went out before {action!r} was written down"
