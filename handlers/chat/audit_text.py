"""The text of audit log entries: who did it, what it was, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handlers.access.membership import display_name, role_name
from handlers.i18n import SafeHtml, html, text
from storage.audit_log import AuditEntry
from storage.models.money import CURRENCIES, Money
from storage.models.payment import PaymentStatus
from storage.models.shop import Role

ACTORS = {
    "customer": "actor.customer",
    "stripe": "actor.stripe",
    "reconciler": "actor.reconciler",
    "system": "actor.system",
}

ACTION_MESSAGES = {
    "requested": "log.requested",
    "attempt_requested": "log.attempt_requested",
    "attempt_started": "log.attempt_started",
    "link_opened": "log.link_opened",
    "customer_returned": "log.customer_returned",
    "attempt_rejected": "log.attempt_rejected",
    "cancel_requested": "log.cancel_requested",
    "settle_requested": "log.settle_requested",
    "note_changed": "log.note_changed",
    "cancel_rejected": "log.cancel_rejected",
    "canceled": "log.canceled",
    "capture_requested": "log.capture_requested",
    "capture_rejected": "log.capture_rejected",
    "captured": "log.captured",
    "hold_expiring": "log.hold_expiring",
    "request_withdrawn": "log.request_withdrawn",
    "expired": "log.expired",
    "synced": "log.synced",
    "found_at_stripe": "log.found_at_stripe",
    "not_found_at_stripe": "log.not_found_at_stripe",
    "wrong_stripe_mode": "log.wrong_stripe_mode",
    "stripe_slow": "log.stripe_slow",
    "stripe_rejected": "log.stripe_rejected",
    "stripe_auth_error": "log.stripe_auth_error",
    "stripe_unreachable": "log.stripe_unreachable",
    "exported": "log.exported",
    "refund_requested": "log.refund_requested",
    "refund_approved": "log.refund_approved",
    "refund_declined": "log.refund_declined",
    "refund_expired": "log.refund_expired",
    "refund_sent": "log.refund_sent",
    "refund_synced": "log.refund_synced",
    "refund_rejected": "log.refund_rejected",
    "refund_abandoned": "log.refund_rejected",
    "refund_insufficient_balance": "log.refund_insufficient_balance",
    "refund_not_found_at_stripe": "log.refund_not_found_at_stripe",
    "refund_retried": "log.refund_retried",
    "dispute_synced": "log.dispute_synced",
    "fraud_warning": "log.fraud_warning",
    "shop_created": "log.shop_created",
    "chat_linked": "log.chat_linked",
    "chat_unlinked": "log.chat_unlinked",
}
"""Messages of actions that need no detail; `OTHER` is for an unknown action."""

OTHER = "log.other"
LOOKS = frozenset({"synced", "canceled", "captured", "attempt_started", "found_at_stripe"})
"""Actions that applied a response of Stripe: the payment's resulting state is shown as well."""


def actor_name(language: str, actor: str, names: Mapping[int, str]) -> str:
    """Who acted: a member by name and Telegram ID, all others in words."""
    kind, _, number = actor.partition(":")
    if kind == "user" and number.isdecimal():
        return display_name(names.get(int(number), ""), int(number))
    return text(language, ACTORS[actor]) if actor in ACTORS else actor


def describe_entry(language: str, line: AuditEntry) -> SafeHtml:
    """What was done, with its detail where that says more."""
    known, detail = line.action, line.detail
    match known:
        case "setting_changed":
            value = str(detail.get("value", ""))
            return html(language, "log.setting_changed", setting=f"{detail['setting']} {value}".strip())
        case "invited" | "joined":
            role = _role(language, detail)
            return html(language, "log.invited" if known == "invited" else "log.joined", role=role)
        case "invitation_voided":
            return html(language, "log.invitation_voided", role=_role(language, detail))
        case "revoked":
            return html(language, "log.revoked", user=detail["user"], role=_role(language, detail))
        case "denied":
            tried = f"/{detail['command']}" if detail.get("command") else None
            return html(language, "log.denied", command=tried) if tried else html(language, "log.denied_button")
    said = html(language, ACTION_MESSAGES[known]) if known in ACTION_MESSAGES else html(language, OTHER, action=known)
    return SafeHtml(" · ".join([said, *_more(language, line)]))


def state_message_key(detail: Mapping[str, Any]) -> str:
    """The message id for the payment's state after the entry."""
    status = detail.get("status")
    if status in {PaymentStatus.CREATED, PaymentStatus.OPEN}:
        return f"history.{detail.get('attempt_status')}"
    return f"history.{status}_now"


def _more(language: str, line: AuditEntry) -> list[SafeHtml]:
    amount, currency = line.detail.get("amount"), line.detail.get("currency")
    if isinstance(amount, int) and currency in CURRENCIES:
        return [html(language, "log.amount", amount=Money(amount, currency))]
    return [html(language, state_message_key(line.detail))] if line.action in LOOKS else []


def _role(language: str, detail: Mapping[str, Any]) -> str:
    return role_name(language, Role[str(detail["role"]).upper()])
