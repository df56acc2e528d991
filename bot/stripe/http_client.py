"""The HTTP client for Stripe's API: sends a request again after an error. Later calls: `handlers/stripe/retry.py`."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from time import perf_counter
from urllib.parse import urlsplit

import aiohttp
import stripe

from bot.api_calls import OnApiCall
from bot.stripe import errors
from handlers.backoff import backoff

log = logging.getLogger(__name__)

STRIPE = "stripe"
CONNECT_TIMEOUT = 5.0
MAX_ATTEMPTS = 3
FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS = 0.5, 4.0

_attempt_statuses: ContextVar[list[int]] = ContextVar("stripe_attempt_statuses")
"""The HTTP status, or `NO_RESPONSE`, of each attempt of the current call: `track_attempts` begins the list, the client
fills it."""


def track_attempts() -> list[int]:
    """Begins a call: returns the list that the client fills with the status of each attempt."""
    statuses: list[int] = []
    _attempt_statuses.set(statuses)
    return statuses


class StripeHttpClient(stripe.HTTPClient):
    """Sends requests with aiohttp, at most `MAX_ATTEMPTS` times each.

    The library's own aiohttp client raises aiohttp's errors when the connection breaks within a body, follows redirects
    (a POST becomes a GET), and does not repeat a request after status 429. 429 comes before Stripe's idempotency layer,
    so the same key is safe. The library itself must not retry: `max_network_retries=0`.
    """

    name = "aiohttp"

    def __init__(self, *, timeout: float, on_call: OnApiCall | None) -> None:
        """`timeout` is seconds for one attempt; `on_call` is called after each attempt."""
        super().__init__()
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_TIMEOUT)
        self._on_call = on_call
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self.server_date = ""
        """The `Date` header of the last response: Stripe's time."""

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: str | None = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Body, status and headers of the last attempt.

        Raises:
            stripe.APIConnectionError: the last attempt got no response.
        """
        statuses = _attempt_statuses.get()
        attempt = 0
        while True:
            attempt += 1
            statuses.append(errors.NO_RESPONSE)
            try:
                response = await self._send(method, url, headers, post_data)
            except Exception as error:
                if attempt >= MAX_ATTEMPTS:
                    message = f"no response ({type(error).__name__})"
                    raise stripe.APIConnectionError(message) from error  # type: ignore[no-untyped-call]
            else:
                _, statuses[-1], response_headers = response
                if attempt >= MAX_ATTEMPTS or not should_retry(statuses[-1], response_headers):
                    return response
            await asyncio.sleep(_retry_delay(attempt))

    async def close_async(self) -> None:
        """Closes the connections; later requests fail."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: str | None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        session, began = self._open_session(), perf_counter()
        try:
            async with session.request(
                method, url, headers=headers, data=body, timeout=self._timeout, allow_redirects=False
            ) as response:
                content = await response.read()
        except Exception:
            self._report(method, url, perf_counter() - began, 0)
            raise
        self._report(method, url, perf_counter() - began, response.status)
        received = response.headers.copy()
        self.server_date = received.get("Date", "")
        for notice in received.popall("Stripe-Notice", []):  # the library makes a warning of it, which may be raised
            log.info("notice from Stripe: %s", errors.summarize(notice))
        return content, response.status, received

    def _report(self, method: str, url: str, seconds: float, status: int) -> None:
        if self._on_call is not None:
            self._on_call(STRIPE, _call_name(method, url), seconds, status)

    def _open_session(self) -> aiohttp.ClientSession:
        """The session of this event loop, made at the first request. Raises RuntimeError after `close_async`."""
        if self._closed:
            raise RuntimeError("the client is closed")
        if self._session is None:
            tls = ssl.create_default_context(cafile=stripe.ca_bundle_path)
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls))
        return self._session


def should_retry(status: int, headers: Mapping[str, str]) -> bool:
    """Whether to repeat a request after this response: Stripe says so in a header, else after 409, 429 and 5xx."""
    match headers.get("Stripe-Should-Retry"):
        case "true":
            return True
        case "false":
            return False
        case _:
            return status in {409, 429} or status >= 500


def _retry_delay(failures: int) -> float:
    """Seconds; all of it is random, so that clients that were rejected together do not come back together."""
    chance = random.random()  # noqa: S311 (no secret)
    return backoff(failures - 1, first=FIRST_RETRY_SECONDS, longest=MAX_RETRY_SECONDS, jitter=1.0, chance=chance)


def _call_name(method: str, url: str) -> str:
    """Method and resource, such as `POST payment_intents/confirm`, without the object's id."""
    _, resource, *rest = urlsplit(url).path.strip("/").split("/")
    return f"{method.upper()} {'/'.join([resource, *rest[1:]])}"
