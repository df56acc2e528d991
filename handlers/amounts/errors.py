"""Why an amount that somebody typed is not taken, one class for each sentence that he is told."""

from __future__ import annotations

from storage.errors import PaymentError
from storage.models.money import Money


class AmountRefused(PaymentError):
    """What was typed is not an amount that Kvit can ask for."""

    code = "error.amount_format"


class AmountMissing(AmountRefused):
    """No amount was typed."""

    code = "error.amount_missing"


class AmountUnreadable(AmountRefused):
    """What was typed cannot be read as one amount."""

    code = "error.amount_format"


class AmountSigned(AmountRefused):
    """The amount has a plus or a minus."""

    code = "error.amount_sign"


class AmountExponent(AmountRefused):
    """The amount has an exponent."""

    code = "error.amount_exponent"


class AmountForeignDigits(AmountRefused):
    """The amount has digits other than 0 to 9."""

    code = "error.amount_digits"


class AmountTooFine(AmountRefused):
    """The amount has more than two decimals."""

    code = "error.amount_decimals"


class AmountZero(AmountRefused):
    """The amount is zero."""

    code = "error.amount_zero"


class AmountTooSmall(AmountRefused):
    """The amount is below the least that Stripe charges."""

    code = "error.amount_too_small"

    def __init__(self, minimum: Money) -> None:
        super().__init__(minimum=minimum)
        self.minimum = minimum


class AmountTooLarge(AmountRefused):
    """The amount is above the limit."""

    code = "error.amount_too_large"

    def __init__(self, limit: Money) -> None:
        super().__init__(limit=limit)
        self.limit = limit


class CurrencyUnknown(AmountRefused):
    """The currency is none of those that Kvit takes."""

    code = "error.currency_unknown"

    def __init__(self, written: str) -> None:
        super().__init__(written=written)
        self.written = written


class CurrencyNeeded(AmountRefused):
    """Kroner were typed where the shop has no krone of its own."""

    code = "error.currency_needed"


class CurrencyTwice(AmountRefused):
    """More than one currency was typed."""

    code = "error.currency_twice"


class CurrencyDiffers(AmountRefused):
    """The currency is another than the payment's own."""

    code = "error.currency_differs"

    def __init__(self, currency: str) -> None:
        super().__init__(currency=currency)
        self.currency = currency


class TextTooLong(AmountRefused):
    """The text after the amount is longer than a card can show."""

    code = "error.text_too_long"

    def __init__(self, longest: int) -> None:
        super().__init__(longest=longest)
        self.longest = longest
