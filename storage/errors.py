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


class StaleTransition(Exception):
    """The payment changed between the look and the write; look again."""


class ImpossibleTransition(Exception):
    """A decision tried to leave a state by a way that the table of states does not have."""


class DatabaseUnavailable(Exception):
    """The database is locked, full or out of reach; nothing was written."""
