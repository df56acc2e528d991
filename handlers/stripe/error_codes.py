"""From Stripe's error codes to the message that explains them: failed attempts, rejected and waiting requests."""

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
"""Message keys by Stripe's `code` or `decline_code`. Stripe adds codes; those not listed get `reason.other`."""

NOT_ENABLED = frozenset(
    {"payment_method_unactivated", "capability_not_active", "payment_method_not_available", "account_invalid"}
)
"""Codes of a request that the account's settings at Stripe do not allow."""

CLOCK_DIFFERS = "clock_differs"
"""Our own code: our clock and Stripe's differ, so nothing is canceled because its time is over."""

INTENT_MISMATCH = "mismatch"
"""Our own code: the intent is not the one that was requested."""

PERMISSION_ERROR = "permission"
"""The API key lacks a permission. Retries fail until the operator grants it."""

AUTH_ERRORS = frozenset({"authentication", PERMISSION_ERROR})
"""Stripe rejected the API key, or its permissions."""


def failure_message_key(code: str | None) -> str:
    """The message key for an attempt that failed with this `code` or `decline_code`."""
    return FAILURE_MESSAGES.get(code or "", "reason.other")


def rejection_message_key(code: str | None) -> str:
    """The message key for a request that Stripe rejected for good."""
    if code in NOT_ENABLED:
        return "rejection.not_enabled"
    if code in {"amount_too_small", "amount_too_large"}:
        return f"rejection.{code}"
    return "rejection.other"


def error_message_key(code: str | None) -> str:
    """The message key for a request that waits until Stripe accepts it."""
    if code in AUTH_ERRORS:
        return "last_error.key"
    return "last_error.mismatch" if code == INTENT_MISMATCH else "last_error.unreachable"
