"""A response of the API before it is sent, so that it can be stored, replaced or held back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from bot.sandbox.fake_stripe.api_error import ApiError, Json
from bot.sandbox.fake_stripe.state import ACCOUNT

DASHBOARD = f"https://dashboard.stripe.com/{ACCOUNT}/test/logs/"


@dataclass(frozen=True)
class ApiResponse:
    """Status, JSON body, and the headers that only this response has."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def success(item: Json) -> ApiResponse:
    return ApiResponse(200, json.dumps(item, indent=2).encode())


def error_response(error: ApiError, request_id: str) -> ApiResponse:
    body = {"error": error.error | {"request_log_url": DASHBOARD + request_id}}
    return ApiResponse(error.status, json.dumps(body, indent=2).encode())


def server_error() -> ApiResponse:
    """Stripe's 500, which does not tell whether the request was executed."""
    error = {"message": "An unknown error occurred", "type": "api_error"}
    return ApiResponse(500, json.dumps({"error": error}, indent=2).encode())


def too_many_requests(code: str) -> ApiResponse:
    """429 `rate_limit` or `lock_timeout`; only a rate limit has a header with the reason."""
    messages = {
        "rate_limit": "Request rate limit exceeded. Learn more about rate limits at https://docs.stripe.com/rate-limits.",
        "lock_timeout": "This object cannot be accessed right now because another API request or Stripe process is"
        " currently accessing it.",
    }
    error = {"code": code, "message": messages[code], "type": "invalid_request_error"}
    headers = {"Stripe-Rate-Limited-Reason": "endpoint-rate"} if code == "rate_limit" else {}
    return ApiResponse(429, json.dumps({"error": error}, indent=2).encode(), headers)
