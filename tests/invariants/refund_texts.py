"""What the words about refunds, holds and disputes claim: each sentence of the bot by what it says and of whom."""

from __future__ import annotations

import re
from typing import NamedTuple

REF = r"#(?P<ref>[A-Z][0-9][0-9A-Z]{2,6})"
AMOUNT = r"(?P<amount>(?:DKK|EUR|NOK|SEK)\s[\d,]+\.\d\d)"
_NEWS = {
    "refund_succeeded": rf"↩️ Refunded: {AMOUNT} of {REF}",
    "refund_pending": rf"↩️ {REF}: the refund of {AMOUNT} has started",
    "refund_requires_action": rf"↩️ {REF}: to get {AMOUNT} back",
    "refund_failed": rf"❌ {REF}: the refund of {AMOUNT} failed",
    "refund_canceled": rf"🚫 {REF}: the refund of {AMOUNT} was cancelled at Stripe",
    "refund_rejected": rf"❌ {REF}: {AMOUNT} was not refunded",
    "refund_expired": rf"⌛ {REF}: nobody approved the refund of {AMOUNT}",
    "refund_insufficient_balance": rf"⚠️ {REF}: Stripe did not refund {AMOUNT}",
    "capture_rejected": rf"❌ {REF}: Stripe did not charge the reserved {AMOUNT}",
    "hold_ends_1": rf"⏰ {REF}: the reservation of {AMOUNT} ends within 24 hours",
    "hold_ends_2": rf"⏰ {REF}: the reservation of {AMOUNT} ends within an hour",
    "dispute_needs_response": rf"⚖️ {REF}: the customer has disputed {AMOUNT} with their bank. The bank has taken",
    "dispute_under_review": rf"⚖️ {REF}: the bank has your answer to the dispute about {AMOUNT}",
    "dispute_won": rf"⚖️ {REF}: the shop won the dispute about {AMOUNT}",
    "dispute_lost": rf"⚖️ {REF}: the shop lost the dispute about {AMOUNT}",
    "dispute_warning_needs_response": rf"⚖️ {REF}: the customer's bank is asking about {AMOUNT}",
    "dispute_warning_closed": rf"⚖️ {REF}: the bank's question about {AMOUNT} is closed",
}
_ANSWERS = {
    "refund_approved": rf"⏳ Refund of {AMOUNT} of {REF}: approved",
    "refund_pending": rf"↩️ Refund of {AMOUNT} of {REF}: started at Stripe",
    "refund_succeeded": rf"↩️ Refund of {AMOUNT} of {REF}: done",
    "refund_failed": rf"❌ Refund of {AMOUNT} of {REF}: it failed",
    "refund_rejected": rf"❌ Refund of {AMOUNT} of {REF}: not made",
    "refund_declined": rf"🚫 (?:Refund of|The refund of) {AMOUNT} of {REF}(?:: | that you asked for was )declined",
    "paid": rf"✅ Charged: {AMOUNT} for {REF}",
    "canceled": rf"🚫 Released: {AMOUNT} for {REF}",
}
_SENTENCES = [
    (kind, state, re.compile(words))
    for kind, found in (("news", _NEWS), ("answer", _ANSWERS))
    for state, words in found.items()
]
_WHAT = {
    "refunded": "succeeded",
    "refund not finished yet": "pending",
    "refund failed": "failed",
    "refund cancelled": "canceled",
}
_LINE = re.compile(rf"^(?:↩️|❌|🚫) {AMOUNT}: (?P<what>{'|'.join(_WHAT)})", re.MULTILINE)
_LEFT = re.compile(rf"{AMOUNT} can (?:still )?be refunded")


class Sentence(NamedTuple):
    """`kind` is news (told once, of its own accord), details (for admins) or answer (to who acted)."""

    kind: str
    state: str
    ref: str


def read(text: str) -> Sentence | None:
    """What a message says of money that goes out; None if it is about something else."""
    for kind, state, pattern in _SENTENCES:
        if found := pattern.match(text):
            told_more = state.startswith("dispute_") and "\n" in text
            return Sentence("details" if told_more else kind, state, found["ref"])
    return None


def lines(text: str) -> list[tuple[str, int]]:
    """The refunds that a card lists: how each stands, and its amount in minor units."""
    return [(_WHAT[found["what"]], minor(found["amount"])) for found in _LINE.finditer(text)]


def left(text: str) -> int | None:
    """What a message says that can still be refunded, in minor units."""
    found = _LEFT.search(text)
    return None if found is None else minor(found["amount"])


def minor(amount: str) -> int:
    """An amount as a card shows it, in minor units."""
    return int(re.sub(r"\D", "", amount))
