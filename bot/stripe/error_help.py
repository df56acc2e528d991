"""What an operator can do about an error of Stripe's."""

from __future__ import annotations

from collections.abc import Awaitable

from handlers.stripe.gateway import GatewayError

DASHBOARD = "Stripe's Dashboard, Developers"


async def error_of(call: Awaitable[object]) -> GatewayError | None:
    """The error that the call raises; None if it succeeds."""
    try:
        await call
    except GatewayError as error:
        return error
    return None


def lacks_permission(error: GatewayError | None) -> bool:
    """Whether Stripe accepted the key but not this call."""
    return error is not None and error.code == "permission"


def permission_hint(*rights: str) -> str:
    """How to give a restricted key the rights that it lacks."""
    return f"Give the key the right {' and '.join(rights)} ({DASHBOARD}, API keys, Edit key)."


def explain(error: GatewayError, right: str = "that it needs") -> tuple[str, str]:
    """What failed, and a hint; `right` is what the call needs of a restricted key."""
    match error.code:
        case "authentication":
            hint = f"Copy STRIPE_API_KEY from {DASHBOARD}, API keys, again; a rolled or deleted key is rejected."
            return "Stripe rejects the key.", hint
        case "permission":
            return f"The key lacks the right {right}.", permission_hint(right)
        case "connection":
            hint = "Check that this machine reaches api.stripe.com, or the address in STRIPE_API_BASE; then try again."
            return f"Stripe cannot be reached: {error.message}.", hint
        case _:
            hint = "Try again later; status.stripe.com lists current problems."
            return f"Stripe returned an error: {error.message.rstrip('.') or error.code}.", hint
