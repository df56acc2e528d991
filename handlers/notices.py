"""The words of a notice: what has just become true, in the shop's language, for a reply to the card."""

from __future__ import annotations

from handlers.announcements import Fact
from handlers.i18n import html
from handlers.ports import Letter
from handlers.reasons import failure_key
from storage.payment import CancelReason, Payment
from storage.people import Shop


def notice(payment: Payment, shop: Shop, fact: Fact, *, wallet: str) -> Letter:
    """What a fact says about the payment as it is now."""
    language = shop.language
    holes = {"ref": payment.ref, "amount": payment.amount, "wallet": wallet}
    if fact.name == "failed":
        return Letter(html(language, "notice.failed", why=html(language, failure_key(payment.attempt.code)), **holes))
    if fact.name == "canceled":
        reason = payment.canceled_because or CancelReason.BY_STRIPE
        return Letter(html(language, f"notice.canceled_{reason}", **holes))
    return Letter(html(language, f"notice.{fact.name}", **holes))
