"""What texts about refunds, holds and disputes state, and about which payment."""

from __future__ import annotations

import re
from typing import NamedTuple

REF = r"#(?P<ref>[A-Z][0-9][0-9A-Z]{2,6})"
AMOUNT = r"(?P<amount>(?:DKK|EUR|NOK|SEK)\s[\d,]+\.\d\d)"
_NOTIFICATIONS = {
    "refund_succeeded": rf"↩️ Refunded: {AMOUNT} of {REF}",
    "refund_pending": rf"↩️ {REF}: the refund of {AMOUNT} has started",
    "refund_requires_action": rf"↩️ {REF}: to get {AMOUNT} back",
    "refund_failed": rf"❌ {REF}: the refund of {AMOUNT} failed",
    "refund_canceled": rf"🚫 {REF}: the refund of {AMOUNT} was cancelled at Stripe",
    "refund_rejected": rf"❌ {REF}: {AMOUNT} was not refunded",
    "refund_expired": rf"⌛ {REF}: nobody approved the refund of {AMOUNT}",
    "refund_insufficient_balance": rf"⚠️ {REF}: Stripe did not refund {AMOUNT}",
    "capture_rejected": rf"❌ {REF}: Stripe did not charge the reserved {AMOUNT}",
    "hold_expiring_1": rf"⏰ {REF}: the reservation of {AMOUNT} ends within 24 hours",
    "hold_expiring_2": rf"⏰ {REF}: the reservation of {AMOUNT} ends within an hour",
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
_PATTERNS = [
    (kind, state, re.compile(text))
    for kind, texts in (("refund_notification", _NOTIFICATIONS), ("answer", _ANSWERS))
    for state, text in texts.items()
]
_LISTED_STATUSES = {
    "refunded": "succeeded",
    "refund not finished yet": "pending",
    "refund failed": "failed",
    "refund cancelled": "canceled",
}
_REFUND_LINE = re.compile(rf"^(?:↩️|❌|🚫) {AMOUNT}: (?P<status>{'|'.join(_LISTED_STATUSES)})", re.MULTILINE)
_REFUNDABLE = re.compile(rf"{AMOUNT} can (?:still )?be refunded")


class Sentence(NamedTuple):
    """`kind` is refund_notification (sent once, unasked), admin_details (to admins) or answer (to who acted)."""

    kind: str
    state: str
    reference: str


def read(text: str) -> Sentence | None:
    """Returns what a message states about a refund, hold or dispute, or None if it is about something else."""
    for kind, state, pattern in _PATTERNS:
        if found := pattern.match(text):
            has_details = state.startswith("dispute_") and "\n" in text
            return Sentence("admin_details" if has_details else kind, state, found["ref"])
    return None


def listed_refunds(text: str) -> list[tuple[str, int]]:
    """The refunds that a payment message lists: status, and amount in minor units."""
    return [(_LISTED_STATUSES[found["status"]], to_minor(found["amount"])) for found in _REFUND_LINE.finditer(text)]


def refundable_amount(text: str) -> int | None:
    """The amount that a message names as refundable, in minor units."""
    found = _REFUNDABLE.search(text)
    return None if found is None else to_minor(found["amount"])


def to_minor(amount: str) -> int:
    """Converts an amount as shown in messages to minor units."""
    return int(re.sub(r"\D", "", amount))
