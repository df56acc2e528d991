"""The evidence of a run, grouped by payment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

from bot.sandbox.fake_stripe import ObjectStore
from bot.sandbox.fake_telegram import TranscriptEntry
from tests.invariants import database_rows, stripe_ledger, transcript
from tests.invariants.database_rows import DatabaseRows, Row
from tests.invariants.stripe_ledger import PaymentChange, StatusChange
from tests.invariants.transcript import BotMessage, Statement, UserAction

MAX_ATTEMPTS = 8
UNSEEN: Row = {"origin": "chat", "opened_at": None, "returned_at": None}
DISPUTE_OVER = frozenset({"won", "warning_closed", "prevented"})
"""Statuses of a dispute after which the shop has the money."""


@dataclass(frozen=True)
class Evidence:
    """All that the checker reads.

    `database` is the file's path, `owners` the owners in the settings, `crashes` when the process crashed.
    `approval_above` is the amount, in minor units, above which the settings require two approvals of a refund.
    """

    ledger: ObjectStore
    transcript: Sequence[TranscriptEntry]
    database: str
    owners: frozenset[int]
    crashes: tuple[datetime, ...] = ()
    approval_above: int | None = None


@dataclass(frozen=True)
class PaymentCase:
    """One payment: its rows, its intents and their changes at Stripe, the statements and user actions about it."""

    row: Row
    attempts: list[Row]
    audit_entries: list[Row]
    message_row: Row
    intents: list[str]
    changes: list[PaymentChange]
    refunds: list[Row]
    refund_changes: list[StatusChange]
    dispute_changes: list[StatusChange]
    movements: list[Row]
    statements: list[Statement]
    actions: list[UserAction]
    confirmations: list[UserAction]

    @property
    def name(self) -> str:
        return f"#{self.row['reference']}"

    def statements_of(self, kind: str, *states: str) -> list[Statement]:
        """The statements of one kind; with `states` only those of these states."""
        return [each for each in self.statements if each.kind == kind and (not states or each.state in states)]

    def may_be_canceled(self, at: datetime) -> bool:
        """Whether by then a user ended the request, it had expired, or its attempts were used up."""
        ended = any(_is_cancellation(action) for action in self.actions if action.at < at)
        exhausted = len([change for change in self.changes if change.state == "open"]) >= MAX_ATTEMPTS
        expired = at >= database_rows.to_datetime(self.row["expires_at"])
        return ended or exhausted or expired or bool(self.confirmed("release", at))

    def confirmed(self, what: str, by: datetime) -> list[UserAction]:
        """The button presses that confirmed by then to `capture` or `release` a hold."""
        return [action for action in self.confirmations if action.at < by and action.text == what]

    def cancellations(self, by: datetime) -> list[UserAction]:
        """The commands and button presses that ended the request by then."""
        return [action for action in self.actions if _is_cancellation(action) and action.at < by]

    @property
    def refund_outcomes(self) -> list[tuple[str, int]]:
        """Status and amount of all that is announced about refunds; those not sent have their status from our rows."""
        unsent = [(row["status"], row["amount"]) for row in self.refunds if row["status"] in {"rejected", "expired"}]
        return [(change.status, change.amount) for change in self.refund_changes] + unsent

    def passed_unseen(self, number: int) -> bool:
        """Whether no customer saw an attempt, and the payment message has the link of the page instead.

        That is: none began it on the page, opened it there or came back from it, as the database says.
        """
        row = next((row for row in self.attempts if row["number"] == number), UNSEEN)
        has_page = any(
            str(self.row["page_token"]) in str(each.message) for each in self.statements_of("payment_message")
        )
        return has_page and row["origin"] == "chat" and row["opened_at"] is None and row["returned_at"] is None

    def is_disputed(self, at: datetime | None = None, *, ever: bool = False) -> bool:
        """Whether a dispute was open or lost by then, or at any time before; without `at` at the end."""
        statuses: dict[str, str] = {}
        for change in self.dispute_changes:
            if at is None or change.at <= at:
                if ever and change.status not in DISPUTE_OVER:
                    return True
                statuses[change.id] = change.status
        return any(status not in DISPUTE_OVER for status in statuses.values())

    def first(self, state: str) -> datetime | None:
        """When the payment first had this state."""
        return next((change.at for change in self.changes if change.state == state), None)


class CaseFile:
    """The evidence, parsed and grouped by payment."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.ledger = evidence.ledger
        self.rows: DatabaseRows = database_rows.read(evidence.database)
        self.messages: list[BotMessage] = transcript.bot_messages(evidence.transcript)
        self.actions: list[UserAction] = transcript.user_actions(evidence.transcript)
        self.callback_answers = transcript.callback_answers(evidence.transcript)
        self.statements = list(transcript.statements(self.messages, self.actions))

    @cached_property
    def cases(self) -> list[PaymentCase]:
        """One case for each payment in the database."""
        return [self._case(row) for row in self.rows.payments]

    @cached_property
    def dead_jobs(self) -> list[Row]:
        """The dead-lettered jobs."""
        return [job for job in self.rows.jobs if job["state"] == "dead"]

    def is_given_up(self, key_prefix: str) -> bool:
        """Whether a job with this prefix of its key is dead-lettered and an owner was notified."""
        return any(job["key"].startswith(key_prefix) and self.is_reported(job) for job in self.dead_jobs)

    def is_reported(self, job: Row) -> bool:
        """Whether an owner was notified of a dead-lettered job; one notification covers all versions of a message."""
        alerts = [m.text for m in self.messages if m.chat in self.evidence.owners and "could not finish" in m.text]
        same = [row["id"] for row in self.dead_jobs if row["payload"] == job["payload"] and row["kind"] == job["kind"]]
        return any(f"See job {number} (" in text for text in alerts for number in same)

    def _case(self, row: Row) -> PaymentCase:
        ledger, intents = self.ledger, stripe_ledger.intents_of(self.ledger, row["id"])
        statements = [each for each in self.statements if each.reference == row["reference"]]
        return PaymentCase(
            row=row,
            attempts=self.rows.attempts_of(row["id"]),
            audit_entries=self.rows.audit_entries_of(row["id"]),
            message_row=self.rows.payment_message_of(row["id"]),
            intents=intents,
            changes=[change for intent in intents for change in stripe_ledger.payment_changes(ledger, intent)],
            refunds=self.rows.refunds_of(row["id"]),
            refund_changes=[change for intent in intents for change in stripe_ledger.refund_changes(ledger, intent)],
            dispute_changes=[change for intent in intents for change in stripe_ledger.dispute_changes(ledger, intent)],
            movements=self.rows.movements_of(row["id"]),
            statements=statements,
            actions=[action for action in self.actions if _is_about(action, row)],
            confirmations=list(self._confirmations(statements)),
        )

    def _confirmations(self, statements: Sequence[Statement]) -> Iterator[UserAction]:
        """The presses of the first button of a hold's prompt, with `text` set to capture or release."""
        for statement in statements:
            if statement.kind != "prompt":
                continue
            what = {"Charge": "capture", "Release": "release"}.get(statement.message.text.partition(" ")[0], "")
            data = str(statement.message.buttons[0].get("callback_data"))
            yield from (replace(action, text=what) for action in self.actions if action.data == data)


def _is_cancellation(action: UserAction) -> bool:
    return action.data.startswith("c:") or action.text.startswith(("/cancel", "/settle"))


def _is_about(action: UserAction, row: Row) -> bool:
    """Whether it is a button of the payment's message, or a command that names or replies to the payment."""
    if action.data:
        return action.data[1:] == f":{row['id']}"
    named = row["reference"] in action.text.upper()
    return named or (action.text.strip() == "/cancel" and action.chat == row["chat_id"])
