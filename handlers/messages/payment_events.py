"""What a change of a payment tells the chat: the card when its looks change, and each fact once as a notice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

from handlers.messages.outbox_message import lane_of
from storage.models.job import Draft, Mail
from storage.models.payment import AttemptOutcome, CancelReason, Origin, Payment, PaymentStatus

TOLD_BY_THE_CARD = frozenset({CancelReason.BY_MERCHANT, CancelReason.RELEASED, CancelReason.REFUSED})
"""Ends that somebody in the chat just asked for, or that the card says a moment after he asked."""


@dataclass(frozen=True)
class Fact:
    """Something worth a sound: `name` is unique for the payment, `number` the attempt it is about (0: none).

    `about` is the refund, dispute or warning that it is about, if it is about one.
    """

    name: str
    number: int = 0
    about: str = ""

    @property
    def key(self) -> str:
        """The name within the payment, such as `attempt:2:failed` or `refund_failed:REFUND`."""
        if self.about:
            return f"{self.name}:{self.about}"
        return f"attempt:{self.number}:{self.name}" if self.number else self.name


def announce(before: Payment, after: Payment) -> tuple[Draft, ...]:
    """The card as one mail if it has to be shown anew, then a mail for each fact."""
    mails = [card_due(after)] if _looks_different(before, after) else []
    return (*mails, *(told(after, fact) for fact in facts(before, after)))


def told(payment: Payment, fact: Fact) -> Draft:
    """The mail that tells a fact, as a reply to the card."""
    body = {"payment": payment.id, "name": fact.name, "number": fact.number, "about": fact.about}
    lane = lane_of(payment.place.chat_id)
    return Draft(f"{payment.id}:{fact.key}", lane, "notice", json.dumps(body).encode())


def card_due(payment: Payment) -> Draft:
    """The mail that has the card shown in this version or a newer one."""
    key = f"{payment.id}:card:{payment.version}"
    return Draft(key, lane_of(payment.place.chat_id), "card", json.dumps({"payment": payment.id}).encode())


def facts(before: Payment, after: Payment) -> Iterator[Fact]:
    """What has become true by the change."""
    if after.status is not before.status:
        match after.status:
            case PaymentStatus.SUCCEEDED:
                yield Fact("succeeded")
            case PaymentStatus.AUTHORIZED:
                yield Fact("authorized")
            case PaymentStatus.CANCELED if after.canceled_because not in TOLD_BY_THE_CARD:
                yield Fact("canceled")
    if after.status is PaymentStatus.AUTHORIZED and after.reminded > before.reminded:
        yield Fact(f"hold_ends_{after.reminded}")
    if after.capture_number > before.capture_number and not after.is_final:
        yield Fact("capture_refused", about=str(before.capture_number))
    elif _wish_was_dropped(before, after):
        yield Fact("wish_dropped", about=str(after.version))
    attempt, earlier = after.attempt, before.attempt
    changed = (attempt.number, attempt.outcome) != (earlier.number, earlier.outcome)
    if changed and attempt.outcome is AttemptOutcome.FAILED:
        yield Fact("failed", attempt.number)
    if changed and attempt.outcome is AttemptOutcome.LAPSED and attempt.origin is Origin.CHAT:
        yield Fact("lapsed", attempt.number)


def _wish_was_dropped(before: Payment, after: Payment) -> bool:
    """Whether what somebody asked for is not done after all, and nothing else came of it either."""
    dropped = before.capture_by is not None and after.capture_by is None
    if after.status is not before.status:  # what came of it is told instead
        return False
    return dropped or (before.cancel_by is not None and after.cancel_by is None)


def fact_of(mail: Mail) -> tuple[str, Fact]:
    """The payment's id and the fact that a notice is about."""
    said = json.loads(mail.body)
    return said["payment"], Fact(said["name"], said["number"], said.get("about", ""))


def still_holds(payment: Payment, fact: Fact) -> bool:
    """Whether a notice may still be sent: news of an attempt, a hold or a wish is stale once the payment went on.

    That money came, or that the request is over, never is.
    """
    if fact.name.startswith("hold_ends") or fact.name == "authorized":
        return payment.status is PaymentStatus.AUTHORIZED
    if fact.name in {"capture_refused", "wish_dropped"}:
        return not payment.is_final and payment.capture_by is None and payment.cancel_asked is None
    if not fact.number:
        return True
    outcome = {"failed": AttemptOutcome.FAILED, "lapsed": AttemptOutcome.LAPSED}[fact.name]
    return payment.is_payable and payment.attempt.number == fact.number and payment.attempt.outcome is outcome


def _looks_different(before: Payment, after: Payment) -> bool:
    """Whether the card says something else; a version that rose alone asks for the card to be shown again.

    What was only just asked of Stripe is not worth an edit: the answer comes in a moment, or trouble does.
    """
    if after.attempt.outcome is AttemptOutcome.ASKED and not (after.trouble or after.cancel_asked):
        return False
    return _shown(before) != _shown(after) or replace(after, version=before.version) == before


def _shown(payment: Payment) -> tuple[object, ...]:
    attempt = payment.attempt
    trouble = payment.trouble if payment.waits_for_stripe else None
    return (payment.status, attempt.number, attempt.outcome, attempt.link, attempt.code, trouble)
