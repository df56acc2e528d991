"""What an operator is told when Stripe does not do what he asked for, and what he can do about it."""

from __future__ import annotations

from collections.abc import Awaitable

from handlers.stripe.gateway import GatewayError

DASHBOARD = "Stripe's Dashboard, Developers"


async def error_of(call: Awaitable[object]) -> GatewayError | None:
    """Ask only to see whether Stripe answers."""
    try:
        await call
    except GatewayError as error:
        return error
    return None


def lacks_permission(error: GatewayError | None) -> bool:
    """Whether the key was taken, and is not allowed to do this."""
    return error is not None and error.code == "permission"


def permission_hint(*rights: str) -> str:
    """How to give a restricted key rights that it lacks."""
    return f"Give the key the right {' and '.join(rights)} ({DASHBOARD}, API keys, Edit key)."


def explain(error: GatewayError, right: str = "that it needs") -> tuple[str, str]:
    """What went wrong, and what to do; `right` is what the call needs of a restricted key."""
    match error.code:
        case "authentication":
            remedy = f"Copy STRIPE_API_KEY anew from {DASHBOARD}, API keys; one that was rolled or deleted is refused."
            return "Stripe refuses the key.", remedy
        case "permission":
            return f"The key lacks the right {right}.", permission_hint(right)
        case "connection":
            remedy = "See that this machine reaches api.stripe.com, or what STRIPE_API_BASE names; then try again."
            return f"Stripe cannot be reached: {error.message}.", remedy
        case _:
            remedy = "Try again in a while; status.stripe.com says whether others have trouble too."
            return f"Stripe says: {error.message.rstrip('.') or error.code}.", remedy
