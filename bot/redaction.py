"""Takes secrets out of whatever is about to be shown to an operator, wherever in it they stand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

REDACTED = "[redacted]"
_BETWEEN = r"[\"'\\]*\s*[:=,]\s*(?:b(?=[\"']))?[\"'\\]*"
"""What stands between a name and its value in a header, a dict, JSON, or JSON within a string."""

# Nothing asks what stands before a secret: in JSON a line break is `\n`, and its `n` would touch the next word.
_SECRET_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # An `Authorization` header, as it is or within a printed dict; first, for other shapes stand within it.
    (re.compile(rf"(?i)(authorization{_BETWEEN}(?:(?:bearer|basic)\s+)?)[^\s\"'\\,;)\]}}]+"), rf"\1{REDACTED}"),
    # Telegram's bot token, also within an address (`/bot123:…/getMe`) and percent-encoded; the bot's id may stay.
    (re.compile(r"(\d{5,16})(?::|%3[Aa])[A-Za-z0-9_-]{30,}"), rf"\1:{REDACTED}"),
    # Stripe's keys; which kind it was helps to understand a mistake.
    (re.compile(r"((?:sk|rk|pk)_(?:test|live)_)[A-Za-z0-9_*]+"), rf"\1{REDACTED}"),
    (re.compile(r"(whsec_)[A-Za-z0-9+/=_-]+"), rf"\1{REDACTED}"),
    # Client secrets (`pi_1_secret_2`) let whoever has them act as the customer; the object's id may stay.
    (re.compile(r"([a-z]{2,12}_[A-Za-z0-9]{1,255}_secret_)[A-Za-z0-9_-]+"), rf"\1{REDACTED}"),
    (re.compile(r"(pa_nonce_)[A-Za-z0-9_-]+"), rf"\1{REDACTED}"),
    # A pay page's address is all that is needed to open it.
    (re.compile(r"(/p/)[A-Za-z0-9_-]{16,}"), rf"\1{REDACTED}"),
    (re.compile(r"(?i)(bearer\s+)[A-Za-z0-9._~+/=-]{8,}"), rf"\1{REDACTED}"),
    (re.compile(rf"(?i)(secret[-_]token{_BETWEEN})[A-Za-z0-9_-]+"), rf"\1{REDACTED}"),
)
_SHORTEST = 6
"""A known secret that is shorter would also be cut out of ordinary words."""


def redactor(known: Iterable[str] = ()) -> Callable[[str], str]:
    """A function that takes out of a text everything shaped like a secret, and each of the `known` ones."""
    exact = sorted({secret for secret in known if len(secret) >= _SHORTEST}, key=len, reverse=True)
    literal = re.compile("|".join(map(re.escape, exact))) if exact else None

    def redact(shown: str) -> str:
        for shape, instead in _SECRET_PATTERNS:
            shown = shape.sub(instead, shown)
        return literal.sub(REDACTED, shown) if literal else shown

    return redact
