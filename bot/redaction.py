"""Redaction of secrets in texts for the operator."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

REDACTED = "[redacted]"
_BETWEEN = r"[\"'\\]*\s*[:=,]\s*(?:b(?=[\"']))?[\"'\\]*"
"""What separates a name from its value in a header, a dict, JSON, or JSON within a string."""

# No pattern depends on what comes before the secret: in JSON a line break is `\n`, and `n` is a letter.
_SECRET_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # An `Authorization` header, also in a printed dict. First, because other patterns match within it.
    (re.compile(rf"(?i)(authorization{_BETWEEN}(?:(?:bearer|basic)\s+)?)[^\s\"'\\,;)\]}}]+"), rf"\1{REDACTED}"),
    # Telegram's bot token, also in a URL (`/bot123:…/getMe`) and percent-encoded. The bot's id stays.
    (re.compile(r"(\d{5,16})(?::|%3[Aa])[A-Za-z0-9_-]{30,}"), rf"\1:{REDACTED}"),
    # Stripe's keys. Their prefix stays: it helps to find a mistake.
    (re.compile(r"((?:sk|rk|pk)_(?:test|live)_)[A-Za-z0-9_*]+"), rf"\1{REDACTED}"),
    (re.compile(r"(whsec_)[A-Za-z0-9+/=_-]+"), rf"\1{REDACTED}"),
    # Client secrets (`pi_1_secret_2`): with one, a program can act as the customer. The object's id stays.
    (re.compile(r"([a-z]{2,12}_[A-Za-z0-9]{1,255}_secret_)[A-Za-z0-9_-]+"), rf"\1{REDACTED}"),
    (re.compile(r"(pa_nonce_)[A-Za-z0-9_-]+"), rf"\1{REDACTED}"),
    # The URL of a pay page is all that is needed to open it.
    (re.compile(r"(/p/)[A-Za-z0-9_-]{16,}"), rf"\1{REDACTED}"),
    (re.compile(r"(?i)(bearer\s+)[A-Za-z0-9._~+/=-]{8,}"), rf"\1{REDACTED}"),
    (re.compile(rf"(?i)(secret[-_]token{_BETWEEN})[A-Za-z0-9_-]+"), rf"\1{REDACTED}"),
)
_MIN_LENGTH = 6
"""Shorter known secrets are not redacted: they may be part of ordinary words."""


def redactor(known: Iterable[str] = ()) -> Callable[[str], str]:
    """A function that replaces everything shaped like a secret, and the `known` secrets, by `REDACTED`."""
    exact = sorted({secret for secret in known if len(secret) >= _MIN_LENGTH}, key=len, reverse=True)
    literal = re.compile("|".join(map(re.escape, exact))) if exact else None

    def redact(text: str) -> str:
        for pattern, replacement in _SECRET_PATTERNS:
            text = pattern.sub(replacement, text)
        return literal.sub(REDACTED, text) if literal else text

    return redact
