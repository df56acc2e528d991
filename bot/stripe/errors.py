"""What it means when Stripe refuses or does not answer, said in our words and without anything secret."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bot.stripe.serialization import parse_intent
from handlers.stripe.gateway import GatewayError, Intent

NO_ANSWER = 0
"""How a try ended that broke before its answer was read; the others ended with an HTTP status."""

PARSE_ERRORS = (AttributeError, KeyError, OSError, OverflowError, TypeError, ValueError)
UNEXPECTED_STATE = "payment_intent_unexpected_state"

_SECRET = re.compile(r"\b(?:sk|rk|pk|whsec)_\S+|\b\w+_secret_\w+")


def connection_error(error: BaseException, tries: Sequence[int]) -> GatewayError:
    """The connection failed or the time was up: it may have happened."""
    message = f"no answer after {len(tries)} tries: {type(error).__name__}"
    return GatewayError("connection", retryable=True, message=message)


def invalid_response(error: Exception) -> GatewayError:
    """A good status with a body of another shape: it may have happened."""
    return GatewayError("server", retryable=True, message=f"an answer of an unknown shape: {type(error).__name__}")


def api_error(status: int, body: object, headers: Mapping[str, str], tries: Sequence[int]) -> GatewayError:
    """An error that Stripe answered; `body` is its JSON, or anything else where something between us answered."""
    said = body["error"] if isinstance(body, Mapping) and isinstance(body.get("error"), Mapping) else {}
    code, retryable = _verdict(status, said.get("type"), said.get("code"))
    return GatewayError(
        code,
        # a refused key says nothing of an earlier try that may have got through with it
        retryable=retryable or (status in {401, 403} and _outcome_unknown(tries)),
        intent=_intent_within(said),
        request_id=headers.get("Request-Id"),
        replayed=code == "idempotency" or (status >= 500 and _is_replayed(headers)),
        message=summarize(said.get("message") or f"HTTP {status} without a reason"),
    )


def _verdict(status: int, kind: str | None, code: str | None) -> tuple[str, bool]:
    """The code in our words, and whether the same request may be sent again.

    `kind` and `code` are the error's `type` and `code`, both None where the body was not Stripe's. A 424, a redirect
    and a body that nobody understands leave the outcome as unknown as a 500 does.
    """
    if status == 429 or code == "rate_limit":
        return code or "rate_limit", True
    if status == 409:
        return code or "conflict", True
    if kind == "idempotency_error":
        return "idempotency", False
    if status in {401, 403}:
        return "authentication" if status == 401 else "permission", False
    if status in {400, 402, 404} and kind is not None:
        return code or kind, False
    return code or "server", True


def _intent_within(said: Mapping[str, Any]) -> Intent | None:
    """The intent as it was when the error was said; half an intent is as good as none, the error must be told."""
    try:
        return parse_intent(said["payment_intent"])
    except PARSE_ERRORS:
        return None


def may_be_replayed(headers: Mapping[str, str], tries: Sequence[int]) -> bool:
    """Whether an answer may be the stored one of an earlier try: Stripe says so, or we tried more than once."""
    return _is_replayed(headers) or _outcome_unknown(tries)


def _is_replayed(headers: Mapping[str, str]) -> bool:
    return headers.get("Idempotent-Replayed", "").lower() == "true"


def _outcome_unknown(tries: Sequence[int]) -> bool:
    """Whether a try before the last may have been carried out unheard; a 429 surely was not."""
    return any(status != 429 for status in tries[:-1])


def summarize(message: str) -> str:
    """A line fit for a log: one line, at most 200 characters, no key and no client secret."""
    return _SECRET.sub("…", " ".join(str(message).split()))[:200]
