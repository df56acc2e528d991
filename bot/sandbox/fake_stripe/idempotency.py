"""Idempotency keys as Stripe keeps them: the first answer of an executed POST, for a day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.sandbox.fake_stripe.api_error import Json, Refusal
from bot.sandbox.fake_stripe.response import Answer

KEPT = timedelta(hours=24)
LONGEST = 255


@dataclass
class Stored:
    """What a key stands for; `answer` is None while its request is being carried out."""

    at: datetime
    path: str
    params: Json
    request_id: str
    answer: Answer | None = None


class Idempotency:
    """The keys of one account; a key older than a day is forgotten and may create something new."""

    def __init__(self) -> None:
        self._stored: dict[str, Stored] = {}

    def begin(self, key: str, path: str, params: Json, request_id: str, at: datetime) -> Answer | None:
        """The stored answer to replay, or None: go on, then call `finish` or `forget`.

        Raises 400 `idempotency_error` for another request under a used key, 409 `idempotency_key_in_use`
        while the first is still being carried out.
        """
        if len(key) > LONGEST:
            raise Refusal(f"Idempotency keys can be at most {LONGEST} characters long", kind="idempotency_error")
        stored = self._stored.get(key)
        if stored is None or stored.at + KEPT <= at:
            self._stored[key] = Stored(at, path, params, request_id)
            return None
        _same(stored, key, path, params)
        if stored.answer is None:
            raise in_use(key)
        headers = stored.answer.headers | {"Idempotent-Replayed": "true", "Original-Request": stored.request_id}
        return Answer(stored.answer.status, stored.answer.body, headers)

    def finish(self, key: str, answer: Answer) -> None:
        self._stored[key].answer = answer

    def forget(self, key: str) -> None:
        """Nothing was carried out under this key: it may be used again, even for another request."""
        del self._stored[key]


def in_use(key: str) -> Refusal:
    """409: the first request under this key is still being carried out."""
    return Refusal(
        "There is currently another in-progress request using this Idempotent Key (that probably means you"
        f" submitted twice, and the other request is still going through): {key}. Please try again later.",
        status=409,
        kind="idempotency_error",
        code="idempotency_key_in_use",
    )


def _same(stored: Stored, key: str, path: str, params: Json) -> None:
    if stored.path != path:
        raise Refusal(
            "Keys for idempotent requests can only be used for the same endpoint they were first used for"
            f" ('{stored.path}' vs '{path}'). Try using a key other than '{key}' if you meant to execute a different"
            " request.",
            kind="idempotency_error",
        )
    if stored.params != params:
        raise Refusal(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. Try"
            f" using a key other than '{key}' if you meant to execute a different request.",
            kind="idempotency_error",
        )
