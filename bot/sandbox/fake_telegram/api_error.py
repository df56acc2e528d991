"""What Telegram says when it does not do what it was asked to."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

NAMES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 409: "Conflict"}


class ApiError(Exception):
    """An answer with `ok` false; `description` is whole, as a client sees it."""

    def __init__(self, code: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.parameters = parameters

    def body(self) -> Json:
        """The JSON that goes over the wire."""
        answer: Json = {"ok": False, "error_code": self.code, "description": self.description}
        return answer | ({"parameters": self.parameters} if self.parameters else {})


def bad_request(words: str, **parameters: int) -> ApiError:
    """A 400. Like the Bot API server, it begins TDLib's sentences with a small letter, but not its CODE_NAMES."""
    coded = len(words) > 1 and (words[1] == "_" or words[1].isupper())
    return ApiError(400, f"Bad Request: {words if coded else words[0].lower() + words[1:]}", **parameters)


def forbidden(words: str) -> ApiError:
    """A 403."""
    return ApiError(403, f"Forbidden: {words}")


def conflict(words: str) -> ApiError:
    """A 409."""
    return ApiError(409, f"Conflict: {words}")


def too_many_requests(seconds: int) -> ApiError:
    """A 429 that says for how many seconds to be quiet."""
    return ApiError(429, f"Too Many Requests: retry after {seconds}", retry_after=seconds)
