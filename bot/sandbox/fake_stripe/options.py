"""Options of the fake Stripe: behaviour that Stripe does not document, and durations that tests change."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

CHOICES = {
    "confirm_while_open": ("refuse", "replace"),
    "mobilepay": ("active", "inactive", "pending"),
}


@dataclass
class Options:
    """Times are seconds of the fake clock.

    Stripe documents the five minutes of a link and the seven days of a hold. These are undocumented:

    - `confirm_while_open`: a confirm is refused while a link is open, or replaces the link.
    - `expiry_delay`: how late Stripe notices that a link has expired.
    - `decline_code`, `expiry_code`: the error code of a declined and of an expired attempt.
    - `failed_charges`: whether these leave a failed charge.
    - `confirm_limit`: how many confirms an intent can have.
    - `allowed_types_confirm`: whether `allowed_payment_method_types` can be sent with `confirm`.
    - `pending_refunds_count`: whether a pending refund counts in the charge's `amount_refunded`.

    `fee_rate` (in hundredths of a percent, on charges), `fee_tax_rate` (of that fee, in hundredths of a percent) and
    `dispute_fee` (minor units) are Stripe's fees. With a `settlement_currency`, charges in others are converted at
    `exchange_rate`; without, Stripe settles in the currency of the charge.

    `latency` passes before each request is executed. `mobilepay` is the capability of the account;
    `mobilepay_enabled` is its payment method setting. `missing_permissions` are permissions that the key lacks, like
    `events.read`; a key without read lacks write too.
    """

    attempt_seconds: float = 300
    expiry_delay: float = 0
    hold_seconds: float = 7 * 86400
    balance_transaction_delay: float = 2
    fee_rate: int = 0
    fee_tax_rate: int = 0
    dispute_fee: int = 0
    settlement_currency: str = ""
    exchange_rate: float = 7.4613
    latency: float = 0
    confirm_limit: int = 20
    confirm_while_open: str = "refuse"
    mobilepay: str = "active"
    mobilepay_enabled: bool = True
    missing_permissions: tuple[str, ...] = ()
    allowed_types_confirm: bool = True
    failed_charges: bool = True
    pending_refunds_count: bool = True
    decline_code: str = "payment_intent_authentication_failure"
    expiry_code: str = "payment_intent_payment_attempt_expired"
    webhook_timeout: float = 10
    webhook_retries: tuple[float, ...] = (3600, 7200)

    def update(self, values: dict[str, Any]) -> None:
        """Set the named options; raises ValueError for an unknown name or a value of another type."""
        current = {field.name: getattr(self, field.name) for field in fields(self)}
        if unknown := values.keys() - current.keys():
            raise ValueError(f"no such option: {min(unknown)}")
        for name, value in {name: _checked(name, value, current[name]) for name, value in values.items()}.items():
            setattr(self, name, value)


def _checked(name: str, value: Any, current: Any) -> Any:
    if name in CHOICES and value not in CHOICES[name]:
        raise ValueError(f"{name} is one of {', '.join(CHOICES[name])}")
    if isinstance(current, tuple) and isinstance(value, list | tuple):
        return tuple(
            _checked(f"an item of {name}", item, "" if name == "missing_permissions" else 0.0) for item in value
        )
    if _is_number(current) and _is_number(value) and value >= 0:
        return value
    if _is_number(current) or type(value) is not type(current):
        raise ValueError(f"{name} cannot be {value!r}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
