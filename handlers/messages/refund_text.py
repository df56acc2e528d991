"""Texts about refunds, holds and disputes: lines of the payment message, notifications, details for admins."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from handlers import i18n
from handlers.i18n import SafeHtml, html, text
from handlers.messages.payment_change_jobs import PaymentEvent
from handlers.messages.refund_change_jobs import VISIBLE_STATUSES
from handlers.telegram.messenger import Button, Keyboard, Message
from storage.models.dispute import Dispute
from storage.models.money import Money
from storage.models.payment import Payment
from storage.models.refund import Refund, RefundStatus
from storage.models.shop import Shop
from storage.refunds import RefundLimits

MOST_LINES = 6
"""Refunds that a payment message lists at most; the sums above them include all."""

PENDING_REASONS = frozenset({"insufficient_funds", "charge_pending", "processing"})
REFUND_FAILURES = frozenset(
    {
        "lost_or_stolen_card",
        "expired_or_canceled_card",
        "charge_for_pending_refund_disputed",
        "insufficient_funds",
        "declined",
        "merchant_request",
        "balance_insufficient",
        "charge_already_refunded",
        "charge_disputed",
        "refund_disputed_payment",
        "charge_not_refundable",
        "authority_withdrawn",
        "refunded_meanwhile",
    }
)
"""Open lists of Stripe's; a value that is not here gets a general text."""

DISPUTE_REASONS = frozenset(
    {
        "credit_not_processed",
        "duplicate",
        "fraudulent",
        "general",
        "product_not_received",
        "product_unacceptable",
        "subscription_canceled",
        "unrecognized",
    }
)
DISPUTE_STATES = frozenset(
    {
        "warning_needs_response",
        "warning_under_review",
        "warning_closed",
        "needs_response",
        "under_review",
        "won",
        "lost",
        "prevented",
        "appeal_needs_response",
        "appeal_under_review",
    }
)
DASHBOARD = "https://dashboard.stripe.com/"
BALANCE = "balance/overview"
"""The page of the Dashboard on which money is added to the balance."""


def dated_if_earlier(said: SafeHtml, at: datetime | None, now: datetime, shop: Shop) -> SafeHtml:
    """The notification with Stripe's time of the event (aware UTC), if that was not today in the shop's time zone."""
    if at is None or at.astimezone(shop.tzinfo).date() == now.astimezone(shop.tzinfo).date():
        return said
    return SafeHtml(f"{said} · {i18n.escaped(i18n.format_datetime(shop.language, at, shop.time_zone))}")


def refund_lines(payment: Payment, refunds: Iterable[Refund], shop: Shop) -> list[str]:
    """The lines of a payment message about refunds and disputes."""
    language = shop.language
    lines: list[str] = []
    if payment.dispute_status:
        lines.append(html(language, f"message.disputed_{payment.dispute_status}"))
    shown = [refund for refund in refunds if refund.status in VISIBLE_STATUSES][-MOST_LINES:]
    lines += [
        html(language, f"message.refund_{refund.status}", amount=refund.amount, why=_why(refund, language))
        + _day_of(refund, shop)
        + (f". {html(language, 'refund.add_money')}" if waits_for_balance(refund) else "")
        for refund in shown
    ]
    return lines


def _day_of(refund: Refund, shop: Shop) -> str:
    """The day of a completed refund at Stripe."""
    if refund.status is not RefundStatus.SUCCEEDED or refund.refunded_at is None:
        return ""
    return f" · {i18n.escaped(i18n.format_date(shop.language, refund.refunded_at, shop.time_zone))}"


def hold_buttons(payment: Payment, language: str) -> tuple[tuple[Button, ...], ...]:
    """Capture and release, each with the amount; a press asks for confirmation first."""
    amount = i18n.money(language, payment.amount)
    return (
        (Button(text(language, "button.capture", amount=amount), data=f"k:{payment.id}", style="success"),),
        (Button(text(language, "button.release", amount=amount), data=f"r:{payment.id}"),),
    )


def refund_notification(
    payment: Payment, shop: Shop, event: PaymentEvent, refund: Refund, *, limits: RefundLimits, now: datetime
) -> Message:
    """What became of a refund, for the chat, and what can still be refunded."""
    language, left = shop.language, Money(limits.refundable, payment.amount.currency)
    unseen = event.name == "refund_expired" and refund.last_error is not None
    said = html(
        language,
        "notification.refund_expired_unseen" if unseen else f"notification.{event.name}",
        ref=payment.reference,
        amount=refund.amount,
        why=_why(refund, language),
        left=left,
        until=retry_until(refund, language, shop),
        next=html(language, _what_next(refund, limits), ref=payment.reference, left=left),
    )
    if waits_for_balance(refund) and event.name == "refund_pending":
        said = SafeHtml(f"{said} {html(language, 'refund.add_money')}")
    if refund.made_in_dashboard:
        said = SafeHtml(f"{said} {html(language, 'notification.made_in_dashboard')}")
    if refund.is_recovered:
        said = SafeHtml(f"{said} {html(language, 'notification.recovered')}")
    if event.name == "refund_succeeded":
        said = dated_if_earlier(said, refund.refunded_at, now, shop)
    keyboard = retry_button(refund, language) if event.name == "refund_insufficient_balance" else ()
    if keyboard or (waits_for_balance(refund) and event.name == "refund_pending"):
        keyboard = (*keyboard, *dashboard_button(payment, language, BALANCE))
    return Message(said, keyboard)


def waits_for_balance(refund: Refund) -> bool:
    """Whether Stripe sends the refund by itself once the shop's balance covers it."""
    return refund.status is RefundStatus.PENDING and refund.pending_reason == "insufficient_funds"


def _what_next(refund: Refund, limits: RefundLimits) -> str:
    """What to do about a refund that the customer did not get, so that it is not paid twice.

    If less can be refunded than this refund, something was refunded elsewhere since.
    """
    is_covered = limits.refundable < refund.amount.minor
    if limits.blocked_by_dispute or (is_covered and limits.lost_to_disputes > 0):
        return "not_refunded.in_dispute"
    if is_covered:
        return "not_refunded.part_back" if limits.refundable else "not_refunded.all_back"
    return "not_refunded.try_again"


def retry_until(refund: Refund, language: str, shop: Shop) -> str:
    """Until when it can be tried again, in the shop's time zone; nothing if that is over."""
    return i18n.format_time(language, refund.retry_until, shop.time_zone) if refund.retry_until else ""


def dispute_notification(payment: Payment, shop: Shop, dispute: Dispute, *, status: str, now: datetime) -> Message:
    """The dispute and its status, for the chat; the details go to the admins."""
    return Message(_dispute_news(payment, shop, dispute, status, now))


def _dispute_news(payment: Payment, shop: Shop, dispute: Dispute, status: str, now: datetime) -> SafeHtml:
    """What became of the dispute; a new one with its time at Stripe, if that was not today."""
    state = _known(status, DISPUTE_STATES, "open")
    said = html(shop.language, f"notification.dispute_{state}", ref=payment.reference, amount=dispute.amount)
    is_new = state.endswith("needs_response") or state == "open"
    return dated_if_earlier(said, dispute.created_at if is_new else None, now, shop)


def dispute_details(payment: Payment, shop: Shop, dispute: Dispute, *, status: str, now: datetime) -> Message:
    """What an admin has to know and do about a dispute."""
    language = shop.language
    reason = html(language, f"dispute.{_known(dispute.reason, DISPUTE_REASONS, 'other')}")
    lines = [_dispute_news(payment, shop, dispute, status, now), reason]
    if dispute.due_by is not None and not dispute.is_closed:
        by = i18n.format_datetime(language, dispute.due_by, shop.time_zone)
        lines.append(html(language, "dispute.due_by", by=by))
    lines.append(html(language, "dispute.link", shop=shop.name))
    return Message(SafeHtml("\n".join(lines)), dashboard_button(payment, language, f"payments/{payment.intent_id}"))


def fraud_warning_details(payment: Payment, shop: Shop) -> Message:
    """What an admin has to know about an early fraud warning."""
    said = html(shop.language, "warning.fraud", ref=payment.reference, amount=payment.amount, shop=shop.name)
    return Message(said, dashboard_button(payment, shop.language, f"payments/{payment.intent_id}"))


def dashboard_button(payment: Payment, language: str, page: str) -> Keyboard:
    """The button to a page of Stripe's Dashboard, in the payment's mode."""
    mode = "" if payment.livemode else "test/"
    return ((Button(text(language, "button.dashboard"), url=f"{DASHBOARD}{mode}{page}"),),)


def retry_button(refund: Refund, language: str) -> Keyboard:
    """The button that tries the refund again while it is still approved."""
    return ((Button(text(language, "button.retry"), data=f"t:{refund.id}", style="primary"),),)


def _why(refund: Refund, language: str) -> SafeHtml:
    """Why a refund waits or failed."""
    if refund.status is RefundStatus.PENDING:
        return html(language, f"pending.{_known(refund.pending_reason, PENDING_REASONS, 'processing')}")
    if refund.status is RefundStatus.APPROVED and refund.retry_until is not None:
        return html(language, "pending.insufficient_funds")
    return html(language, f"refund_failure.{_known(refund.failure_reason, REFUND_FAILURES, 'other')}")


def _known(word: str | None, words: frozenset[str], else_: str) -> str:
    return word if word in words else else_
