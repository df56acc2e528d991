"""Why Kvit says no: refusals with a code for the person and a sentence for the operator."""

from __future__ import annotations

from typing import ClassVar


class UserError(Exception):
    """Something was refused; no money moved because of it.

    The class docstring is the operator's message. `code` is the key of the sentence that the person reads,
    `holes` are the values of that sentence.
    """

    message_key: ClassVar[str] = "error.rejected"

    def __init__(self, **params: object) -> None:
        super().__init__((type(self).__doc__ or "").strip().splitlines()[0])
        self.params = params


class UnknownPayment(UserError):
    """No payment of this shop has that reference."""

    message_key = "error.unknown_payment"


class PermissionDenied(UserError):
    """The person has no role that may do this here."""

    message_key = "error.permission_denied"


class PaymentClosed(UserError):
    """The payment has ended; nothing can be changed any more."""

    message_key = "error.payment_closed"


class AlreadyPaid(UserError):
    """The customer has paid meanwhile; a paid request cannot be canceled."""

    message_key = "error.already_paid"


class AttemptStillActive(UserError):
    """An earlier attempt has not ended at Stripe, so a fresh one may not be confirmed yet."""

    message_key = "error.attempt_still_active"


class StripeUnavailable(UserError):
    """Stripe did not answer; what was asked is stored and is tried again."""

    message_key = "error.stripe_unavailable"


class NothingPaid(UserError):
    """Nothing was received on the payment, so nothing can go back."""

    message_key = "error.nothing_paid"


class HoldNotRefundable(UserError):
    """The money is only reserved: it is let go, not refunded."""

    message_key = "error.hold_not_refundable"


class RefundExceedsBalance(UserError):
    """More would be refunded than is left of what was received."""

    message_key = "error.refund_exceeds_balance"


class NothingRefundable(UserError):
    """Everything that was received went back already, or is on its way."""

    message_key = "error.nothing_refundable"


class TakenByDispute(UserError):
    """What had not gone back the customer's bank took in a dispute: `lost`, of the payment `ref`."""

    message_key = "error.taken_by_dispute"


class BlockedByDispute(UserError):
    """The customer disputes the payment at his bank, and Stripe allows no refund beside that."""

    message_key = "error.blocked_by_dispute"


class RefundAlreadyRequested(UserError):
    """The person's earlier wish about the payment still waits for an admin."""

    message_key = "error.refund_already_requested"


class RefundableAmountChanged(UserError):
    """What can go back has changed since the refund was asked for, so what was shown is not true any more."""

    message_key = "error.refundable_amount_changed"


class RefundAlreadyDecided(UserError):
    """Somebody has decided about this refund before."""

    message_key = "error.refund_already_decided"


class RefundExpired(UserError):
    """Nobody approved the refund in time."""

    message_key = "error.refund_expired"


class SecondApproverRequired(UserError):
    """Somebody else has to approve a refund of this size."""

    message_key = "error.second_approver_required"


class RefundLimitExceeded(UserError):
    """The person would have approved more within 24 hours than the shop allows."""

    message_key = "error.refund_limit_exceeded"


class WrongStripeMode(UserError):
    """The payment was made in Stripe's other mode, test or live, which our key does not reach."""

    message_key = "error.wrong_stripe_mode"


class CancellationPending(UserError):
    """It is to be canceled, and Stripe has not said yet that it is."""

    message_key = "error.cancellation_pending"


class HoldAlreadyDecided(UserError):
    """Somebody else has had the reserved money taken, or let go, and it is on its way."""

    message_key = "error.hold_already_decided"


class NoHold(UserError):
    """No money is reserved for the payment, so there is none to take or to let go."""

    message_key = "error.no_hold"


class PaymentIsAuthorized(UserError):
    """The customer has reserved the money; that is let go, not canceled."""

    message_key = "error.payment_is_authorized"


class StaleTransition(Exception):
    """The payment changed between the look and the write; look again."""


class InvalidTransition(Exception):
    """A decision tried to leave a state by a way that the table of states does not have."""


class DatabaseUnavailable(Exception):
    """The database is locked, full or out of reach; nothing was written."""
