"""The wire to Stripe: the SDK's aiohttp client without its holes, and the one place where a request is sent again."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from contextvars import ContextVar
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import stripe

from bot.api_calls import OnApiCall
from bot.stripe import errors
from handlers.backoff import backoff

log = logging.getLogger(__name__)

STRIPE = "stripe"

LONGEST_PAUSE = 4.0

_attempt_statuses: ContextVar[list[int]] = ContextVar("stripe_tries")
"""How each try of the call in hand ended, by HTTP status or `NO_ANSWER`: the call begins it, the wire writes it."""


def track_attempts() -> list[int]:
    """Begin a call to Stripe; the list fills with how each of its tries ended."""
    tries: list[int] = []
    _attempt_statuses.set(tries)
    return tries


class StripeHttpClient(stripe.AIOHTTPClient):
    """The SDK's aiohttp client without its holes.

    The SDK leaks raw errors when the connection breaks within the body, follows redirects (a POST becomes a GET),
    turns a `Stripe-Notice` header into a warning before it reads the answer, and gives up at once on a 429.
    A 429 is counted among the same three tries instead of having a loop of its own around them: it comes before
    Stripe's idempotency layer, so the same key is safe, and one layer of retries is easier to bound than two.
    """

    server_date = ""
    """The `Date` of the last answer: what time it is at Stripe."""

    on_call: OnApiCall | None = None
    """Called after each request, repeated ones included."""

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        args, kwargs = self._get_request_args_kwargs(method, url, headers, post_data)
        tries = _attempt_statuses.get()
        tries.append(errors.NO_ANSWER)
        began = perf_counter()
        try:
            async with self._session.request(*args, allow_redirects=False, **kwargs) as response:
                body = await response.read()
        except Exception as error:
            self._report(_call(method, url), perf_counter() - began, 0)
            self._handle_request_error(error)  # always raises APIConnectionError
        tries[-1] = response.status
        self._report(_call(method, url), perf_counter() - began, response.status)
        said = response.headers.copy()
        self.server_date = said.get("Date", "")
        for notice in said.popall("Stripe-Notice", []):
            log.info("Stripe gives notice: %s", errors.summarize(notice))
        return body, response.status, said

    def _report(self, call: str, seconds: float, status: int) -> None:
        if self.on_call is not None:
            self.on_call(STRIPE, call, seconds, status)

    def _should_retry(
        self,
        response: tuple[Any, int, Mapping[str, str] | None] | None,
        api_connection_error: stripe.APIConnectionError | None,
        num_retries: int,
        max_network_retries: int | None,
    ) -> bool:
        if response is not None and response[1] == 429 and "Stripe-Should-Retry" not in (response[2] or {}):
            return num_retries < (max_network_retries or 0)
        decided: bool = super()._should_retry(response, api_connection_error, num_retries, max_network_retries)
        return decided

    def _sleep_time_seconds(self, num_retries: int) -> float:
        """Full jitter, so that those who were turned away together do not come back together."""
        chance = random.random()  # noqa: S311 (no secret)
        return backoff(num_retries - 1, first=0.5, longest=LONGEST_PAUSE, jitter=1.0, chance=chance)


def _call(method: str, url: str) -> str:
    """What a request asks for, such as `POST payment_intents/confirm`, without the id that it asks about."""
    _, resource, *rest = urlsplit(url).path.strip("/").split("/")
    return f"{method.upper()} {'/'.join([resource, *rest[1:]])}"
