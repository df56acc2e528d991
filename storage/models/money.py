"""Money: integer minor units with a currency, never a float."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

CURRENCIES: tuple[str, ...] = ("DKK", "EUR", "SEK", "NOK")
"""The currencies that Stripe accepts for MobilePay. Each of them has two decimals."""

DECIMALS = 2

MIN_AMOUNT: dict[str, int] = {"DKK": 250, "EUR": 50, "NOK": 300, "SEK": 300}
"""Stripe's minimum charge in minor units (docs.stripe.com/currencies, "Minimum and maximum charge amounts")."""

MAX_AMOUNT = 99_999_999
"""Stripe's maximum charge in minor units of any currency (same page: eight digits)."""


class CurrencyMismatch(ValueError):
    """Amounts of two currencies were added, subtracted or compared."""


@dataclass(frozen=True, order=False)
class Money:
    """An amount of one currency: `minor` in minor units (øre, cent), `currency` in upper-case ISO letters.

    A difference may be negative; the amount of a request never is, see `handlers.amounts.parser`.

    Raises:
        TypeError: `minor` is not an int.
        ValueError: `currency` is not one of `CURRENCIES`.
    """

    minor: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.minor) is not int:
            raise TypeError("an amount is an int of minor units")
        if self.currency not in CURRENCIES:
            raise ValueError(f"currency must be one of {', '.join(CURRENCIES)}")

    @property
    def decimal(self) -> Decimal:
        """The amount in whole kroner or euro, exact and with two decimals."""
        return Decimal(self.minor).scaleb(-DECIMALS)

    def __add__(self, other: Money) -> Money:
        return Money(self.minor + self._check_currency(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.minor - self._check_currency(other), self.currency)

    def __lt__(self, other: Money) -> bool:
        return self.minor < self._check_currency(other)

    def __le__(self, other: Money) -> bool:
        return self.minor <= self._check_currency(other)

    def __gt__(self, other: Money) -> bool:
        return self.minor > self._check_currency(other)

    def __ge__(self, other: Money) -> bool:
        return self.minor >= self._check_currency(other)

    def __str__(self) -> str:
        """The form for logs and files: `125.00 DKK`."""
        return f"{self.decimal:.{DECIMALS}f} {self.currency}"

    def _check_currency(self, other: Money) -> int:
        if other.currency != self.currency:
            raise CurrencyMismatch(f"{self.currency} and {other.currency} do not mix")
        return other.minor


ZERO_DECIMAL_CURRENCIES = frozenset(
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"]
)
THREE_DECIMAL_CURRENCIES = frozenset(["BHD", "JOD", "KWD", "OMR", "TND"])
"""The currencies whose amounts Stripe does not count in hundredths (docs.stripe.com/currencies)."""


@dataclass(frozen=True)
class ForeignMoney:
    """An amount of a currency that Kvit takes no payments in, as Stripe may report of a dispute; only to be shown."""

    minor: int
    currency: str

    @property
    def decimal(self) -> Decimal:
        """The amount in whole units of the currency, exact."""
        if self.currency in ZERO_DECIMAL_CURRENCIES:
            return Decimal(self.minor)
        return Decimal(self.minor).scaleb(-3 if self.currency in THREE_DECIMAL_CURRENCIES else -DECIMALS)


def any_money(minor: int, currency: str) -> Money | ForeignMoney:
    """The amount, whatever its currency."""
    return Money(minor, currency) if currency in CURRENCIES else ForeignMoney(minor, currency)
