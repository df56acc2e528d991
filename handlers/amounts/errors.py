"""Why a typed amount is rejected: one error for each message."""

from __future__ import annotations

from storage.errors import UserError
from storage.models.money import Money


class AmountError(UserError):
    """The typed text is not an amount that can be requested."""

    message_key = "error.unreadable_amount"


class MissingAmount(AmountError):
    """There is no amount."""

    message_key = "error.missing_amount"


class UnreadableAmount(AmountError):
    """The text cannot be parsed as one amount."""

    message_key = "error.unreadable_amount"


class SignedAmount(AmountError):
    """The amount has a sign."""

    message_key = "error.signed_amount"


class ExponentAmount(AmountError):
    """The amount has an exponent."""

    message_key = "error.exponent_amount"


class NonAsciiDigits(AmountError):
    """The amount has digits other than 0 to 9."""

    message_key = "error.non_ascii_digits"


class TooManyDecimals(AmountError):
    """The amount has more than two decimals."""

    message_key = "error.too_many_decimals"


class ZeroAmount(AmountError):
    """The amount is zero."""

    message_key = "error.zero_amount"


class AmountTooSmall(AmountError):
    """The amount is below Stripe's minimum charge."""

    message_key = "error.amount_too_small"

    def __init__(self, minimum: Money) -> None:
        super().__init__(minimum=minimum)
        self.minimum = minimum


class AmountTooLarge(AmountError):
    """The amount is above the limit."""

    message_key = "error.amount_too_large"

    def __init__(self, limit: Money) -> None:
        super().__init__(limit=limit)
        self.limit = limit


class UnknownCurrency(AmountError):
    """The currency is not supported."""

    message_key = "error.unknown_currency"

    def __init__(self, written: str) -> None:
        super().__init__(written=written)
        self.written = written


class CurrencyRequired(AmountError):
    """The currency is `kr`, and the shop's own is no krone."""

    message_key = "error.currency_required"


class ConflictingCurrencies(AmountError):
    """There is more than one currency."""

    message_key = "error.conflicting_currencies"


class WrongCurrency(AmountError):
    """The currency is not the payment's."""

    message_key = "error.currency_mismatch"

    def __init__(self, currency: str) -> None:
        super().__init__(currency=currency)
        self.currency = currency


class DescriptionTooLong(AmountError):
    """The text after the amount is too long."""

    message_key = "error.description_too_long"

    def __init__(self, longest: int) -> None:
        super().__init__(longest=longest)
        self.longest = longest
