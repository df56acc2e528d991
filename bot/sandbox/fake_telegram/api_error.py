"""Error responses of the Bot API."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

NAMES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 409: "Conflict"}


class ApiError(Exception):
    """A response with `ok` false; `description` is complete, with its prefix."""

    def __init__(self, code: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.parameters = parameters

    def body(self) -> Json:
        """The JSON body of the response."""
        answer: Json = {"ok": False, "error_code": self.code, "description": self.description}
        return answer | ({"parameters": self.parameters} if self.parameters else {})


def bad_request(description: str, **parameters: int) -> ApiError:
    """A 400. Like the Bot API server, it lowers the first letter of TDLib's sentences, but not of its CODE_NAMES."""
    coded = len(description) > 1 and (description[1] == "_" or description[1].isupper())
    return ApiError(
        400, f"Bad Request: {description if coded else description[0].lower() + description[1:]}", **parameters
    )


def forbidden(description: str) -> ApiError:
    """A 403."""
    return ApiError(403, f"Forbidden: {description}")


def conflict(description: str) -> ApiError:
    """A 409."""
    return ApiError(409, f"Conflict: {description}")


def too_many_requests(seconds: int) -> ApiError:
    """A 429 with `retry_after` in seconds."""
    return ApiError(429, f"Too Many Requests: retry after {seconds}", retry_after=seconds)
