"""What nobody outside Stripe knows for sure, and what a test may want otherwise, as named switches."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

CHOICES = {
    "confirm_while_open": ("refuse", "replace"),
    "mobilepay": ("active", "inactive", "pending"),
}


@dataclass
class Options:
    """Times are seconds on the pretend clock.

    Stripe documents the five minutes and the seven days. The rest is undocumented and can be set:
    whether a second confirm is refused or replaces the open link, how late a lapse is noticed (`lapse_delay`), which
    codes a decline and a lapse leave, whether they leave a failed charge, how many confirms an intent may have,
    whether `allowed_payment_method_types` may come along with `confirm` (`allowed_types_confirm`), whether a refund
    that waits counts in the charge's `amount_refunded` already (`waiting_refunds_count`).
    `latency` is waited out before each request is carried out. `mobilepay` is the capability of the account,
    `mobilepay_offered` whether its payment method settings show it. `lacking` are rights that the key does not have:
    a resource and read or write, like `events.read`; without a right to read there is none to write.
    """

    attempt_seconds: float = 300
    expiry_delay: float = 0
    hold_seconds: float = 7 * 86400
    balance_transaction_delay: float = 2
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
        """Set the named switches; raises ValueError for an unknown name or a value of another kind."""
        now = {field.name: getattr(self, field.name) for field in fields(self)}
        if unknown := values.keys() - now.keys():
            raise ValueError(f"no such switch: {min(unknown)}")
        for name, value in {name: _checked(name, value, now[name]) for name, value in values.items()}.items():
            setattr(self, name, value)


def _checked(name: str, value: Any, present: Any) -> Any:
    if name in CHOICES and value not in CHOICES[name]:
        raise ValueError(f"{name} is one of {', '.join(CHOICES[name])}")
    if isinstance(present, tuple) and isinstance(value, list | tuple):
        return tuple(
            _checked(f"an item of {name}", item, "" if name == "missing_permissions" else 0.0) for item in value
        )
    if _is_number(present) and _is_number(value) and value >= 0:
        return value
    if _is_number(present) or type(value) is not type(present):
        raise ValueError(f"{name} cannot be {value!r}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
