"""Errors that users can cause, each with the key of the message that explains it, and errors of the database."""

from __future__ import annotations

from typing import ClassVar


class UserError(Exception):
    """The action was rejected, and no money moved.

    The first line of the class's docstring is the text for the log. `message_key` is the message for the user, `params`
    fill its placeholders.
    """

    message_key: ClassVar[str] = "error.rejected"

    def __init__(self, **params: object) -> None:
        super().__init__((type(self).__doc__ or "").strip().splitlines()[0])
        self.params = params


class UnknownPayment(UserError):
    """No payment of this shop has that reference."""

    message_key = "error.unknown_payment"


class PermissionDenied(UserError):
    """The user's role does not allow this."""

    message_key = "error.permission_denied"


class PaymentClosed(UserError):
    """The payment is closed and cannot be changed."""

    message_key = "error.payment_closed"


class AlreadyPaid(UserError):
    """The payment is paid and cannot be canceled."""

    message_key = "error.already_paid"


class AttemptStillActive(UserError):
    """An earlier attempt has not ended at Stripe, so another one cannot be confirmed yet."""

    message_key = "error.attempt_still_active"


class StripeUnavailable(UserError):
    """Stripe did not answer; the request is stored and is retried."""

    message_key = "error.stripe_unavailable"


class NothingPaid(UserError):
    """No money was received on the payment, so none can be refunded."""

    message_key = "error.nothing_paid"


class HoldNotRefundable(UserError):
    """The money is only reserved: a hold is released, not refunded."""

    message_key = "error.hold_not_refundable"


class RefundExceedsBalance(UserError):
    """The refund is larger than the refundable amount."""

    message_key = "error.refund_exceeds_balance"


class NothingRefundable(UserError):
    """Everything that was received is refunded, or reserved for refunds."""

    message_key = "error.nothing_refundable"


class TakenByDispute(UserError):
    """The customer's bank took the rest of the money in a dispute: `lost`, of the payment `ref`."""

    message_key = "error.taken_by_dispute"


class BlockedByDispute(UserError):
    """The customer disputes the payment, and Stripe allows no refund until that is decided."""

    message_key = "error.blocked_by_dispute"


class RefundAlreadyRequested(UserError):
    """An earlier refund request of the user for this payment still waits for an admin."""

    message_key = "error.refund_already_requested"


class RefundableAmountChanged(UserError):
    """The refundable amount has changed since the refund was requested, so the approver saw another one."""

    message_key = "error.refundable_amount_changed"


class RefundAlreadyDecided(UserError):
    """The refund has been approved or declined already."""

    message_key = "error.refund_already_decided"


class RefundExpired(UserError):
    """The refund was not approved in time."""

    message_key = "error.refund_expired"


class TooManyRefundRequests(UserError):
    """The person has asked the admins for refunds as often as is allowed within 24 hours."""

    message_key = "error.too_many_refund_requests"


class SecondApproverInvited(UserError):
    """The two approvers are connected by invitations, so they may be one person with two accounts."""

    message_key = "error.second_approver_invited"


class SecondApproverRequired(UserError):
    """A refund of this size needs the approval of a second admin."""

    message_key = "error.second_approver_required"


class RefundLimitExceeded(UserError):
    """The user would exceed the shop's limit for refunds that one person approves within 24 hours."""

    message_key = "error.refund_limit_exceeded"


class WrongStripeMode(UserError):
    """The payment belongs to the other mode of Stripe (test or live), which our key cannot access."""

    message_key = "error.wrong_stripe_mode"


class CancellationPending(UserError):
    """The cancellation is requested, and Stripe has not confirmed it yet."""

    message_key = "error.cancellation_pending"


class HoldAlreadyDecided(UserError):
    """A capture or release of the hold by another user is pending."""

    message_key = "error.hold_already_decided"


class NoHold(UserError):
    """No money is reserved for the payment, so there is nothing to capture or release."""

    message_key = "error.no_hold"


class PaymentIsAuthorized(UserError):
    """The customer has reserved the money: a hold is released, not canceled."""

    message_key = "error.payment_is_authorized"


class InvalidTransition(Exception):
    """A decision returned a status that may not follow the current one."""


class DatabaseUnavailable(Exception):
    """The database is locked, full or unreachable; nothing was written."""


class UnsupportedDatabase(Exception):
    """The server is not a PostgreSQL on which Kvit works; the text is for the operator."""
