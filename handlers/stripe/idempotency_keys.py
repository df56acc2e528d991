"""The idempotency keys of all requests to Stripe that change something.

A key is made of the identity of what it changes, so that a repetition after a crash has the same key. For confirm the
number in it is the attempt's; the other versions are stored and rise only after a final error, or after a search at
Stripe that found nothing.
"""

from __future__ import annotations

from storage.models.payment import Payment
from storage.models.refund import Refund


def create_key(payment: Payment) -> str:
    """For the request that creates and confirms the intent."""
    return f"create:{payment.id}:{payment.create_key_version}"


def confirm_key(payment: Payment) -> str:
    """For the confirm of the newest attempt.

    It holds the attempt's time (milliseconds), for in a restored database a number can be used again.
    """
    requested_at = round(payment.attempt.requested_at.timestamp() * 1000)
    return f"confirm:{payment.id}:{requested_at}:{payment.attempt.number}"


def cancel_key(payment: Payment) -> str:
    """For the request that cancels the intent, or releases a hold."""
    return f"cancel:{payment.id}:{payment.cancel_key_version}"


def capture_key(payment: Payment) -> str:
    """For the request that captures a hold."""
    return f"capture:{payment.id}:{payment.capture_key_version}"


def refund_key(refund: Refund) -> str:
    """For the request that makes a refund."""
    return f"refund:{refund.id}:{refund.key_version}"
