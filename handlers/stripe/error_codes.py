"""Stripe's codes in plain words: which sentence tells why an attempt failed, was refused, or has to wait."""

from __future__ import annotations

FAILURE_MESSAGES = {
    "payment_intent_authentication_failure": "reason.broken_off",
    "payment_method_customer_decline": "reason.broken_off",
    "payment_method_provider_decline": "reason.declined",
    "card_declined": "reason.declined",
    "generic_decline": "reason.declined",
    "do_not_honor": "reason.declined",
    "insufficient_funds": "reason.no_funds",
    "card_velocity_exceeded": "reason.no_funds",
    "withdrawal_count_limit_exceeded": "reason.no_funds",
    "expired_card": "reason.card_expired",
    "lost_card": "reason.declined",
    "stolen_card": "reason.declined",
    "payment_method_not_available": "reason.provider",
    "payment_method_provider_timeout": "reason.provider",
    "processing_error": "reason.provider",
    "payment_intent_payment_attempt_failed": "reason.declined",
}
"""An open list: Stripe adds codes, so whatever is not here is told in general words."""

NOT_ENABLED = frozenset(
    {"payment_method_unactivated", "capability_not_active", "payment_method_not_available", "account_invalid"}
)
INTENT_MISMATCH = "mismatch"
"""Our own code for an intent that is not the one that was asked for."""

AUTH_ERRORS = frozenset({"authentication", "permission"})
"""Stripe did not take our key, or not for this."""


def failure_message_key(code: str | None) -> str:
    """The sentence for an attempt that failed with Stripe's `code` or `decline_code`."""
    return FAILURE_MESSAGES.get(code or "", "reason.other")


def rejection_message_key(code: str | None) -> str:
    """The sentence for a request that Stripe did not take at all."""
    if code in NOT_ENABLED:
        return "rejection.not_enabled"
    if code in {"amount_too_small", "amount_too_large"}:
        return f"rejection.{code}"
    return "rejection.other"


def error_message_key(code: str | None) -> str:
    """The sentence for a request that waits for Stripe."""
    if code in AUTH_ERRORS:
        return "last_error.key"
    return "last_error.mismatch" if code == INTENT_MISMATCH else "last_error.unreachable"


PERMISSION_ERROR = "permission"
"""The code of a refusal that does not pass before somebody gives the key more rights."""
