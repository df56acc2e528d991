"""Idempotency keys: the first response of an executed POST is kept for 24 hours, as at Stripe."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.sandbox.fake_stripe.api_error import ApiError, Json
from bot.sandbox.fake_stripe.response import ApiResponse

KEY_TTL = timedelta(hours=24)
MAX_KEY_LENGTH = 255


@dataclass
class StoredResponse:
    """The first request under a key and its response; `response` is None while the request runs."""

    at: datetime
    path: str
    params: Json
    request_id: str
    response: ApiResponse | None = None


class Idempotency:
    """The keys of one account. A key older than `KEY_TTL` is treated as unused."""

    def __init__(self) -> None:
        self._stored: dict[str, StoredResponse] = {}

    def begin(self, key: str, path: str, params: Json, request_id: str, at: datetime) -> ApiResponse | None:
        """The stored response to replay; None for an unused key: run the request, then call `finish` or `forget`.

        Raises:
            ApiError: 400 `idempotency_error` for another request under a used key, or a key that is too long; 409
                `idempotency_key_in_use` while the first request runs.
        """
        if len(key) > MAX_KEY_LENGTH:
            raise ApiError(
                f"Idempotency keys can be at most {MAX_KEY_LENGTH} characters long", kind="idempotency_error"
            )
        stored = self._stored.get(key)
        if stored is None or stored.at + KEY_TTL <= at:
            self._stored[key] = StoredResponse(at, path, params, request_id)
            return None
        _check_same_request(stored, key, path, params)
        if stored.response is None:
            raise key_in_use(key)
        headers = stored.response.headers | {"Idempotent-Replayed": "true", "Original-Request": stored.request_id}
        return ApiResponse(stored.response.status, stored.response.body, headers)

    def finish(self, key: str, response: ApiResponse) -> None:
        self._stored[key].response = response

    def forget(self, key: str) -> None:
        """Free a key whose request was not executed: any request may use it again."""
        del self._stored[key]


def key_in_use(key: str) -> ApiError:
    """409: the first request under this key still runs."""
    return ApiError(
        "There is currently another in-progress request using this Idempotent Key (that probably means you"
        f" submitted twice, and the other request is still going through): {key}. Please try again later.",
        status=409,
        kind="idempotency_error",
        code="idempotency_key_in_use",
    )


def _check_same_request(stored: StoredResponse, key: str, path: str, params: Json) -> None:
    if stored.path != path:
        raise ApiError(
            "Keys for idempotent requests can only be used for the same endpoint they were first used for"
            f" ('{stored.path}' vs '{path}'). Try using a key other than '{key}' if you meant to execute a different"
            " request.",
            kind="idempotency_error",
        )
    if stored.params != params:
        raise ApiError(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. Try"
            f" using a key other than '{key}' if you meant to execute a different request.",
            kind="idempotency_error",
        )
