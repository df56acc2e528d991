"""The words of a notice: what has just become true, in the shop's language, for a reply to the card."""

from __future__ import annotations

from handlers.i18n import html
from handlers.messages.payment_events import Fact
from handlers.messages.payment_message import View
from handlers.stripe.error_codes import failure_key
from handlers.telegram.messenger import Letter
from storage.models.payment import CancelReason, Payment


def notice(payment: Payment, fact: Fact, view: View) -> Letter:
    """What a fact says about the payment as it is now."""
    language = view.shop.language
    holes = {"ref": payment.ref, "amount": payment.amount, "wallet": view.wallet}
    if fact.name in {"failed", "lapsed"}:
        key = f"notice.page_{fact.name}" if view.public_url else f"notice.{fact.name}"
        return Letter(html(language, key, why=html(language, failure_key(payment.attempt.code)), **holes))
    if fact.name == "canceled":
        reason = payment.canceled_because or CancelReason.BY_STRIPE
        return Letter(html(language, f"notice.canceled_{reason}", **holes))
    return Letter(html(language, f"notice.{fact.name}", **holes))
