"""The three witnesses of a run, put together by payment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

from bot.sandbox.fake_stripe import ObjectStore
from bot.sandbox.fake_telegram import TranscriptEntry
from tests.invariants import database_rows, stripe_ledger
from tests.invariants import transcript as checker_chat
from tests.invariants.database_rows import Book, Row
from tests.invariants.stripe_ledger import Move, Turn
from tests.invariants.transcript import Act, Claim, Said

MOST_ATTEMPTS = 8


@dataclass(frozen=True)
class Evidence:
    """What is read: nothing but this. `owners` are those of the settings, `deaths` when the process died.

    `approval_above` is the amount, in minor units, above which the settings want two people for a refund.
    """

    ledger: ObjectStore
    transcript: Sequence[TranscriptEntry]
    database: str
    owners: frozenset[int]
    deaths: tuple[datetime, ...] = ()
    approval_above: int | None = None


@dataclass(frozen=True)
class Case:
    """One payment: its row, its intents at Stripe and what came to hold of them, what was said and done about it."""

    row: Row
    attempts: list[Row]
    history: list[Row]
    card: Row
    intents: list[str]
    turns: list[Turn]
    refunds: list[Row]
    moves: list[Move]
    disputes: list[Move]
    claims: list[Claim]
    acts: list[Act]
    answers: list[Act]

    @property
    def name(self) -> str:
        return f"#{self.row['reference']}"

    def said(self, kind: str, *states: str) -> list[Claim]:
        """The claims of one kind, of these states only if there are any."""
        return [c for c in self.claims if c.kind == kind and (not states or c.state in states)]

    def may_end(self, at: datetime) -> bool:
        """Whether by then somebody wanted the request ended, its time was over, or its attempts were used."""
        wanted = any(act.data.startswith("c:") or act.text.startswith("/cancel") for act in self.acts if act.at < at)
        used = len([turn for turn in self.turns if turn.state == "open"]) >= MOST_ATTEMPTS
        return wanted or used or at >= database_rows.time(self.row["expires_at"]) or bool(self.taps("release", at))

    def taps(self, what: str, by: datetime) -> list[Act]:
        """Who had said by then that a hold is to be taken or let go: each has tapped a message that says so."""
        return [act for act in self.answers if act.at < by and act.text == what]

    @property
    def outcomes(self) -> list[tuple[str, int]]:
        """What became of refunds and is to be told: at Stripe, or in the book for those that did not get there."""
        ours = [(row["status"], row["amount"]) for row in self.refunds if row["status"] in {"rejected", "expired"}]
        return [(move.state, move.amount) for move in self.moves] + ours

    def began_by(self, number: int) -> str:
        """Where an attempt was begun, as far as the book knows: in the chat, or on the page."""
        return next((str(row["origin"]) for row in self.attempts if row["number"] == number), "chat")

    def first(self, state: str) -> datetime | None:
        """When a state came to hold."""
        return next((turn.at for turn in self.turns if turn.state == state), None)


class File:
    """All that the three witnesses say, put together by payment."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.ledger = evidence.ledger
        self.book: Book = database_rows.read(evidence.database)
        self.said: list[Said] = checker_chat.said(evidence.transcript)
        self.acts: list[Act] = checker_chat.acts(evidence.transcript)
        self.toasts = checker_chat.toasts(evidence.transcript)
        self.claims = list(checker_chat.claims(self.said, self.acts))

    @cached_property
    def cases(self) -> list[Case]:
        """Every payment in the book."""
        return [self._case(row) for row in self.book.payments]

    @cached_property
    def set_aside(self) -> list[Row]:
        """The mails that wait for a human."""
        return [mail for mail in self.book.mail if mail["state"] == "dead"]

    def is_given_up(self, key: str) -> bool:
        """Whether the mail with a key that begins so was set aside, and the owner has a word about it."""
        return any(mail["key"].startswith(key) and self.is_told(mail) for mail in self.set_aside)

    def is_told(self, mail: Row) -> bool:
        """Whether the owner has a word about a mail that was set aside; one is enough for all versions of a card."""
        told = [s.text for s in self.said if s.chat in self.evidence.owners and "could not finish" in s.text]
        same = [
            row["id"] for row in self.set_aside if row["payload"] == mail["payload"] and row["kind"] == mail["kind"]
        ]
        return any(f"See job {number} (" in text for text in told for number in same)

    def _case(self, row: Row) -> Case:
        intents = stripe_ledger.intents_of(self.ledger, row["id"])
        turns = [turn for intent in intents for turn in stripe_ledger.turns(self.ledger, intent)]
        claims = [claim for claim in self.claims if claim.ref == row["reference"]]
        acts = [act for act in self.acts if _is_about(act, row)]
        attempts, history = self.book.attempts_of(row["id"]), self.book.history_of(row["id"])
        moves = [move for intent in intents for move in stripe_ledger.refund_moves(self.ledger, intent)]
        contests = [move for intent in intents for move in stripe_ledger.dispute_moves(self.ledger, intent)]
        refunds, answers = self.book.refunds_of(row["id"]), list(self._answers(claims))
        return Case(
            row,
            attempts,
            history,
            self.book.card_of(row["id"]),
            intents,
            turns,
            refunds,
            moves,
            contests,
            claims,
            acts,
            answers,
        )

    def _answers(self, claims: Sequence[Claim]) -> Iterator[Act]:
        """The taps that said yes to taking a hold or to letting it go, with `text` which of both."""
        for claim in claims:
            if claim.kind != "question":
                continue
            what = "capture" if claim.said.text.startswith("Charge ") else "release"
            yes = str(claim.said.buttons[0].get("callback_data"))
            yield from (replace(act, text=what) for act in self.acts if act.data == yes)


def _is_about(act: Act, row: Row) -> bool:
    """Whether somebody acted on this payment: a button of its card, a command that names it or replies to it."""
    if act.data:
        return act.data[1:] == f":{row['id']}"
    return row["reference"] in act.text.upper() or (act.text.strip() == "/cancel" and act.chat == row["chat_id"])
