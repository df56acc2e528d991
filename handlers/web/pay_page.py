"""The routes of the pay page, which shows a payment's state and opens the wallet at the customer's request."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Protocol

from aiohttp import web

from handlers.clock import Clock
from handlers.pay_page.live_updates import LiveUpdates, PageSubscription, TooManySubscribers
from handlers.pay_page.service import PayPage
from handlers.qr_code import qr_png, qr_svg
from handlers.runtime.concurrency import wait_first
from handlers.sliding_window import RateLimiter
from handlers.web.accept import accepts
from handlers.web.client_address import Networks, client_address
from handlers.web.connection import closed_event
from handlers.web.language import negotiate_language, selected_language
from handlers.web.middleware import RETRY_AFTER_SECONDS, TOKEN
from handlers.web.pay_page_text import WalletNaming, credit_note_context, page_context, receipt_context
from handlers.web.templating import render
from storage.errors import StripeUnavailable
from storage.models.movement import CreditNote

STRIPE_RETURN_PARAMS = frozenset({"payment_intent", "payment_intent_client_secret", "redirect_status"})
"""What Stripe appends to the return URL. The values are never used: anyone can forge them."""

RATE_LIMIT_SECONDS = 60.0
MAX_TAPS_PER_PAYMENT = 12
MAX_TAPS_PER_ADDRESS = 60
"""Taps on *Pay* per minute. The visitors of a market may share one address."""

MAX_TAPS_PER_CLIENT = 8
"""Taps per minute on one payment from one address, so that one visitor cannot use up the payment's taps."""

HEARTBEAT_INTERVAL = 15.0
"""Seconds without an event after which a stream sends a comment, so that a broken connection is noticed."""

STREAM_RETRY_AFTER_SECONDS = 30
EVENT_STREAM = "text/event-stream"


class Pages(Protocol):
    """The use cases of the pay page."""

    async def find(self, token: str) -> PayPage | None:
        """The page of this token, or None.

        Raises:
            DatabaseUnavailable: the payment cannot be read now.
        """

    async def customer_returned(self, page: PayPage) -> None:
        """Has a worker retrieve the intent, because the customer came back from the wallet; at most once in 10 s."""

    async def pay(self, page: PayPage) -> str | None:
        """The URL that opens the wallet now, or None if there is nothing to open.

        Raises:
            StripeUnavailable: Stripe does not answer in time.
        """

    async def credit_notes(self, page: PayPage) -> Sequence[CreditNote]:
        """The credit notes of the payment, in the order of their numbers."""


class PayPageRoutes:
    """All routes below `/p/TOKEN`."""

    def __init__(
        self,
        pages: Pages,
        live_updates: LiveUpdates,
        clock: Clock,
        *,
        wallet_naming: WalletNaming,
        public_url: str | None,
        trusted_proxies: Networks,
    ) -> None:
        """`public_url` is where customers reach this site; `trusted_proxies` may set `X-Forwarded-For`."""
        self._pages = pages
        self._live_updates = live_updates
        self._clock = clock
        self._wallet_naming = wallet_naming
        self._public_url = public_url
        self._trusted_proxies = trusted_proxies
        self._taps_by_payment = RateLimiter(MAX_TAPS_PER_PAYMENT, RATE_LIMIT_SECONDS)
        self._taps_by_address = RateLimiter(MAX_TAPS_PER_ADDRESS, RATE_LIMIT_SECONDS)
        self._taps_by_client = RateLimiter(MAX_TAPS_PER_CLIENT, RATE_LIMIT_SECONDS)

    async def show(self, request: web.Request) -> web.Response:
        """The page in the visitor's language. With Stripe's return parameters, 303 to the URL without them.

        Raises:
            web.HTTPNotFound: no payment has this token.
            DatabaseUnavailable: the payment cannot be read now.
        """
        page = await self._find(request)
        if STRIPE_RETURN_PARAMS & request.query.keys():
            if request.method == "GET":
                await self._pages.customer_returned(page)
            return _see_other(_page_path(request, page))
        return web.Response(text=self._render(request, page), content_type="text/html")

    async def pay(self, request: web.Request) -> web.Response:
        """303 to the wallet, or back to the page if there is nothing to open; the page shows why.

        503 with the page itself if Stripe does not answer: what was started goes on, and the page follows it.

        Raises:
            web.HTTPTooManyRequests: too many taps.
            web.HTTPServiceUnavailable: Stripe does not answer, and the client wants no page.
        """
        page = await self._find(request)
        if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            return _see_other(_page_path(request, page))
        self._check_rate_limits(request, page)
        try:
            wallet_url = await self._pages.pay(page)
        except StripeUnavailable:
            headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
            if not accepts(request, "text/html"):
                raise web.HTTPServiceUnavailable(headers=headers) from None
            text = self._render(request, await self._find(request), is_outage=True)
            return web.Response(status=503, text=text, content_type="text/html", headers=headers)
        return _see_other(wallet_url or _page_path(request, page))

    async def state(self, request: web.Request) -> web.StreamResponse:
        """The state as JSON: `state` is a `PageState`, `until` is RFC 3339 in UTC or null.

        With `Accept: text/event-stream`, the same as a stream of events.
        """
        page = await self._find(request)
        if accepts(request, EVENT_STREAM, rather_than="application/json"):
            return await self._stream(request, page)
        return web.json_response(_state_json(page))

    async def qr(self, request: web.Request) -> web.Response:
        """The QR code of the page's URL. Without a `PUBLIC_URL` there is none."""
        url = self._public_page_url(await self._find(request))
        if url is None:
            raise web.HTTPNotFound
        if request.path.endswith(".png"):
            return web.Response(body=qr_png(url), content_type="image/png")
        return web.Response(text=qr_svg(url), content_type="image/svg+xml")

    async def receipt(self, request: web.Request) -> web.Response:
        """The receipt of a paid payment, for reading and printing; 404 while nothing is received."""
        page = await self._find(request)
        notes = await self._pages.credit_notes(page)
        values = receipt_context(page, notes, self._wallet_naming, negotiate_language(request, page.shop.language))
        if values is None:
            raise web.HTTPNotFound
        return web.Response(text=render("receipt.html", **values), content_type="text/html")

    async def credit_note(self, request: web.Request) -> web.Response:
        """A credit note of the payment, or its cancellation, for reading and printing; 404 if it has none so named."""
        page = await self._find(request)
        notes, number = await self._pages.credit_notes(page), request.match_info["number"]
        values = credit_note_context(page, notes, number, negotiate_language(request, page.shop.language))
        if values is None:
            raise web.HTTPNotFound
        return web.Response(text=render("credit_note.html", **values), content_type="text/html")

    def _render(self, request: web.Request, page: PayPage, *, is_outage: bool = False) -> str:
        language = negotiate_language(request, page.shop.language)
        qr_url = None if _is_phone(request) else self._public_page_url(page)
        values = page_context(page, self._wallet_naming, self._clock.now(), language, qr_url, is_outage=is_outage)
        return render("pay.html", **values)

    async def _find(self, request: web.Request) -> PayPage:
        token = request.match_info["token"]
        page = await self._pages.find(token) if TOKEN.fullmatch(token) else None
        if page is None:
            raise web.HTTPNotFound
        return page

    def _public_page_url(self, page: PayPage) -> str | None:
        """The page's public URL, from the settings alone and never from the request's headers."""
        return f"{self._public_url}/p/{page.payment.page_token}" if self._public_url else None

    def _check_rate_limits(self, request: web.Request, page: PayPage) -> None:
        now = self._clock.now()
        address = client_address(request, self._trusted_proxies)
        wait = self._taps_by_address.acquire(address, now)
        wait = wait or self._taps_by_client.acquire(f"{page.payment.id} from {address}", now)
        wait = wait or self._taps_by_payment.acquire(page.payment.id, now)
        if wait:
            raise web.HTTPTooManyRequests(headers={"Retry-After": str(math.ceil(wait))})

    async def _stream(self, request: web.Request, page: PayPage) -> web.StreamResponse:
        """Server-sent events, until the client disconnects or the server shuts down."""
        if request.method == "HEAD":
            return web.Response(content_type=EVENT_STREAM)
        try:
            address = client_address(request, self._trusted_proxies)
            with self._live_updates.subscribe(page, address) as subscription:
                stream = web.StreamResponse(headers={"Content-Type": EVENT_STREAM, "X-Accel-Buffering": "no"})
                await stream.prepare(request)
                with suppress(ConnectionError):  # the client disconnected
                    await _send_events(stream, subscription, closed_event(request))
                return stream
        except TooManySubscribers:
            raise web.HTTPTooManyRequests(headers={"Retry-After": str(STREAM_RETRY_AFTER_SECONDS)}) from None


async def _send_events(stream: web.StreamResponse, subscription: PageSubscription, closed: asyncio.Event) -> None:
    sent = None
    while not subscription.is_over and not closed.is_set():
        seen, event = subscription.version, json.dumps(_state_json(subscription.page))
        await stream.write(f"data: {event}\n\n".encode() if event != sent else b": heartbeat\n\n")
        sent = event
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT_INTERVAL):
                await wait_first(subscription.after(seen), closed.wait())


def _state_json(page: PayPage) -> dict[str, str | None]:
    return {"state": page.state.value, "until": _rfc_3339(page.until)}


def _see_other(location: str) -> web.Response:
    """303 with exactly this `Location`; aiohttp's own exception would normalize the URL."""
    return web.Response(status=303, headers={"Location": location})


def _page_path(request: web.Request, page: PayPage) -> str:
    """The page's path, with the selected language and nothing else of the query."""
    language = selected_language(request)
    return f"/p/{page.payment.page_token}" + (f"?lang={language}" if language else "")


def _is_phone(request: web.Request) -> bool:
    """Whether the browser runs on a phone, which cannot scan its own screen (MDN: look for "Mobi")."""
    return "Mobi" in request.headers.get("User-Agent", "")


def _rfc_3339(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds").replace("+00:00", "Z")
