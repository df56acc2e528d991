"""What a line of the history says to people: who did it, what it was, and what came of it."""

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
    "sweep": "actor.sweep",
    "kvit": "actor.kvit",
}

ACTION_MESSAGES = {
    "requested": "log.requested",
    "attempt asked": "log.attempt_asked",
    "attempt begun": "log.attempt_begun",
    "attempt refused": "log.attempt_refused",
    "cancel asked": "log.cancel_asked",
    "cancel refused": "log.cancel_refused",
    "canceled": "log.canceled",
    "capture asked": "log.capture_asked",
    "capture refused": "log.capture_refused",
    "captured": "log.captured",
    "hold ends soon": "log.hold_ends_soon",
    "wish withdrawn": "log.wish_withdrawn",
    "time is over": "log.time_is_over",
    "looked": "log.looked",
    "found at stripe": "log.found",
    "not found at stripe": "log.not_found",
    "other mode": "log.other_mode",
    "stripe is slow": "log.stripe_slow",
    "stripe refused": "log.stripe_refused",
    "stripe refuses the key": "log.stripe_key",
    "stripe unreachable": "log.stripe_unreachable",
    "refund asked": "log.refund_asked",
    "refund approved": "log.refund_approved",
    "refund declined": "log.refund_declined",
    "refund expired": "log.refund_expired",
    "refund sent": "log.refund_sent",
    "refund looked": "log.refund_looked",
    "refund refused": "log.refund_refused",
    "refund given up": "log.refund_refused",
    "refund short of balance": "log.refund_short",
    "refund not found at stripe": "log.refund_not_found",
    "refund tried again": "log.refund_again",
    "dispute looked": "log.dispute_looked",
    "fraud warning": "log.fraud_warning",
    "shop opened": "log.shop_opened",
    "chat tied": "log.chat_tied",
    "chat untied": "log.chat_untied",
}
"""What is said of an action that needs nothing of its detail; `OTHER` of one that is not known here."""

OTHER = "log.other"
LOOKS = frozenset({"looked", "canceled", "captured", "attempt begun", "found at stripe"})
"""Answers of Stripe: what they made of the payment is said as well."""


def actor_name(language: str, actor: str, names: Mapping[int, str]) -> str:
    """Who did it: a member by name and number, everybody else in plain words."""
    kind, _, number = actor.partition(":")
    if kind == "user" and number.isdecimal():
        return display_name(names.get(int(number), ""), int(number))
    return text(language, ACTORS[actor]) if actor in ACTORS else actor


def describe_entry(language: str, line: AuditEntry) -> SafeHtml:
    """What was done, with its detail where that says more."""
    known, detail = line.action, line.detail
    match known:
        case "setting changed":
            value = str(detail.get("value", ""))
            return html(language, "log.setting_changed", setting=f"{detail['setting']} {value}".strip())
        case "invited" | "joined":
            role = _role(language, detail)
            return html(language, "log.invited" if known == "invited" else "log.joined", role=role)
        case "revoked":
            return html(language, "log.revoked", user=detail["user"], role=_role(language, detail))
        case "refused":
            tried = f"/{detail['command']}" if detail.get("command") else None
            return html(language, "log.refused", command=tried) if tried else html(language, "log.refused_button")
    said = html(language, ACTION_MESSAGES[known]) if known in ACTION_MESSAGES else html(language, OTHER, action=known)
    return SafeHtml(" · ".join([said, *_more(language, line)]))


def state_message_key(detail: Mapping[str, Any]) -> str:
    """The key of the sentence for how a payment stood after what the line tells of."""
    status = detail.get("status")
    if status in {PaymentStatus.CREATED, PaymentStatus.OPEN}:
        return f"history.{detail.get('outcome')}"
    return f"history.{status}_now"


def _more(language: str, line: AuditEntry) -> list[SafeHtml]:
    amount, currency = line.detail.get("amount"), line.detail.get("currency")
    if isinstance(amount, int) and currency in CURRENCIES:
        return [html(language, "log.amount", amount=Money(amount, currency))]
    return [html(language, state_message_key(line.detail))] if line.action in LOOKS else []


def _role(language: str, detail: Mapping[str, Any]) -> str:
    return role_name(language, Role[str(detail["role"]).upper()])
