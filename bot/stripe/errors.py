"""Stripe's errors and missing responses as `GatewayError`, without secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bot.stripe.serialization import parse_intent
from handlers.stripe.gateway import GatewayError, Intent

NO_RESPONSE = 0
"""The status of an attempt that ended before its response was read."""

PARSE_ERRORS = (AttributeError, KeyError, OSError, OverflowError, TypeError, ValueError)
UNEXPECTED_STATE = "payment_intent_unexpected_state"

_SECRET = re.compile(r"\b(?:sk|rk|pk|whsec)_\S+|\b\w+_secret_\w+")


def connection_error(error: BaseException, statuses: Sequence[int]) -> GatewayError:
    """The connection failed or timed out: Stripe may have carried out the request."""
    message = f"no response after {len(statuses)} attempts: {type(error).__name__}"
    return GatewayError("connection", retryable=True, message=message)


def invalid_response(error: Exception) -> GatewayError:
    """A success status with an unexpected body: Stripe may have carried out the request."""
    return GatewayError("server", retryable=True, message=f"unexpected response body: {type(error).__name__}")


def api_error(status: int, body: object, headers: Mapping[str, str], statuses: Sequence[int]) -> GatewayError:
    """An error response. `body` is Stripe's JSON, or anything else where something in between responded."""
    details = body["error"] if isinstance(body, Mapping) and isinstance(body.get("error"), Mapping) else {}
    code, retryable = _classify(status, details.get("type"), details.get("code"))
    return GatewayError(
        code,
        # A rejected key says nothing about an earlier attempt that may have been carried out.
        retryable=retryable or (status in {401, 403} and _outcome_unknown(statuses)),
        intent=_parse_attached_intent(details),
        request_id=headers.get("Request-Id"),
        replayed=code == "idempotency" or (status >= 500 and _is_replayed(headers)),
        message=summarize(details.get("message") or f"HTTP {status} without a message"),
    )


def _classify(status: int, kind: str | None, code: str | None) -> tuple[str, bool]:
    """The code of the `GatewayError`, and whether the same request may be sent again.

    `kind` and `code` are the error's `type` and `code`, both None where the body was not Stripe's. After a 424, a
    redirect or an unexpected body the outcome is as unknown as after a 500.
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


def _parse_attached_intent(details: Mapping[str, Any]) -> Intent | None:
    """The intent as it was at the time of the error; None if it cannot be parsed, so that the error is reported."""
    try:
        return parse_intent(details["payment_intent"])
    except PARSE_ERRORS:
        return None


def may_be_replayed(headers: Mapping[str, str], statuses: Sequence[int]) -> bool:
    """Whether a response may be the stored one of an earlier request: by its header, or after several attempts."""
    return _is_replayed(headers) or _outcome_unknown(statuses)


def _is_replayed(headers: Mapping[str, str]) -> bool:
    return headers.get("Idempotent-Replayed", "").lower() == "true"


def _outcome_unknown(statuses: Sequence[int]) -> bool:
    """Whether an attempt before the last may have been carried out; one with status 429 was not."""
    return any(status != 429 for status in statuses[:-1])


def summarize(message: str) -> str:
    """The message for a log: one line of at most 200 characters, without keys and client secrets."""
    return _SECRET.sub("…", " ".join(str(message).split()))[:200]
