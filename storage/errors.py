"""Why Kvit says no: refusals with a code for the person and a sentence for the operator."""

from __future__ import annotations

from typing import ClassVar


class PaymentError(Exception):
    """Something was refused; no money moved because of it.

    The class docstring is the operator's message. `code` is the key of the sentence that the person reads,
    `holes` are the values of that sentence.
    """

    code: ClassVar[str] = "error.refused"

    def __init__(self, **holes: object) -> None:
        super().__init__((type(self).__doc__ or "").strip().splitlines()[0])
        self.holes = holes


class UnknownPayment(PaymentError):
    """No payment of this shop has that reference."""

    code = "error.unknown_payment"


class NotAllowed(PaymentError):
    """The person has no role that may do this here."""

    code = "error.not_allowed"


class AlreadyFinal(PaymentError):
    """The payment has ended; nothing can be changed any more."""

    code = "error.already_final"


class AlreadyPaid(PaymentError):
    """The customer has paid meanwhile; a paid request cannot be canceled."""

    code = "error.already_paid"


class StillEnding(PaymentError):
    """An earlier attempt has not ended at Stripe, so a fresh one may not be confirmed yet."""

    code = "error.still_ending"


class StripeUnavailable(PaymentError):
    """Stripe did not answer; what was asked is stored and is tried again."""

    code = "error.stripe_unavailable"


class NothingPaid(PaymentError):
    """Nothing was received on the payment, so nothing can go back."""

    code = "error.nothing_paid"


class RefundOfHold(PaymentError):
    """The money is only reserved: it is let go, not refunded."""

    code = "error.refund_of_hold"


class RefundExceedsBalance(PaymentError):
    """More would be refunded than is left of what was received."""

    code = "error.refund_exceeds_balance"


class NothingLeft(PaymentError):
    """Everything that was received went back already, or is on its way."""

    code = "error.nothing_left"


class LostToDispute(PaymentError):
    """What had not gone back the customer's bank took in a dispute: `lost`, of the payment `ref`."""

    code = "error.lost_to_dispute"


class DisputeForbids(PaymentError):
    """The customer disputes the payment at his bank, and Stripe allows no refund beside that."""

    code = "error.dispute_forbids"


class AlreadyAsked(PaymentError):
    """The person's earlier wish about the payment still waits for an admin."""

    code = "error.already_asked"


class RefundChanged(PaymentError):
    """What can go back has changed since the refund was asked for, so what was shown is not true any more."""

    code = "error.refund_changed"


class RefundDecided(PaymentError):
    """Somebody has decided about this refund before."""

    code = "error.refund_decided"


class RefundExpired(PaymentError):
    """Nobody approved the refund in time."""

    code = "error.refund_expired"


class SecondPersonNeeded(PaymentError):
    """Somebody else has to approve a refund of this size."""

    code = "error.second_person_needed"


class OverRefundLimit(PaymentError):
    """The person would have approved more within 24 hours than the shop allows."""

    code = "error.over_refund_limit"


class OtherMode(PaymentError):
    """The payment was made in Stripe's other mode, test or live, which our key does not reach."""

    code = "error.other_mode"


class BeingCanceled(PaymentError):
    """It is to be canceled, and Stripe has not said yet that it is."""

    code = "error.being_canceled"


class HoldDecided(PaymentError):
    """Somebody else has had the reserved money taken, or let go, and it is on its way."""

    code = "error.hold_decided"


class NotAHold(PaymentError):
    """No money is reserved for the payment, so there is none to take or to let go."""

    code = "error.not_a_hold"


class HoldStands(PaymentError):
    """The customer has reserved the money; that is let go, not canceled."""

    code = "error.hold_stands"


class StaleTransition(Exception):
    """The payment changed between the look and the write; look again."""


class ImpossibleTransition(Exception):
    """A decision tried to leave a state by a way that the table of states does not have."""


class DatabaseUnavailable(Exception):
    """The database is locked, full or out of reach; nothing was written."""
