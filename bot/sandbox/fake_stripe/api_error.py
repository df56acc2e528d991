"""Error responses of the API: status and body as Stripe returns them."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

DOCS = "https://docs.stripe.com/error-codes/"


class ApiError(Exception):
    """The API responds with `status` and `{"error": error}`.

    `stored`: execution had begun, so the response is kept under the idempotency key. A request that failed
    validation, conflicted or was rate limited can be sent again with its key.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        intent: Json | None = None,
        stored: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.stored = stored
        self.error: Json = {"message": message, "type": kind}
        if code is not None:
            self.error |= {"code": code, "doc_url": DOCS + code.replace("_", "-")}
        if param is not None:
            self.error["param"] = param
        if intent is not None:
            self.error["payment_intent"] = intent


def missing_param(param: str) -> ApiError:
    return ApiError(f"Missing required param: {param}.", code="parameter_missing", param=param)


def not_found(kind: str, name: str, *, param: str = "id", status: int = 404) -> ApiError:
    """An unknown id: 404 in the path, 400 in a parameter."""
    return ApiError(f"No such {kind}: '{name}'", status=status, code="resource_missing", param=param)


def unexpected_state(message: str, intent: Json) -> ApiError:
    """The status of the intent does not allow the request; the error contains the current intent."""
    return ApiError(message, code="payment_intent_unexpected_state", intent=intent, stored=True)


def mutually_exclusive(first: str, second: str) -> ApiError:
    message = f"You may only specify one of these parameters: {first}, {second}."
    return ApiError(message, code="parameters_exclusive", param=first)
