"""The page behind a payment's address: says where the payment stands, and opens the wallet when the customer asks."""

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
from handlers.rate_limit import RateLimiter
from handlers.web.client_address import Networks, client_address
from handlers.web.language import negotiate_language, selected_language
from handlers.web.middleware import TOKEN, StripeUnavailableResponse
from handlers.web.pay_page_text import WalletNaming, page_context, receipt_values
from handlers.web.templating import render
from storage.errors import StripeUnavailable
from storage.models.refund import Refund

FROM_STRIPE = frozenset({"payment_intent", "payment_intent_client_secret", "redirect_status"})
"""What Stripe puts behind the return address. None of it is believed: anybody can type it."""

RATE_LIMIT_WINDOW = 60.0
MAX_TAPS_PER_PAYMENT = 12
MAX_TAPS_PER_ADDRESS = 60
"""How often *Pay* may be tapped in a minute; a market's visitors may share one address."""

MAX_TAPS_PER_CLIENT = 8
"""The same of one payment from one address, so that somebody else who has the link can tap too."""

HEARTBEAT_INTERVAL = 15.0
"""After so long without news a stream says that it still lives, so that a dead one is noticed."""

RETRY_AFTER_SECONDS = "30"
EVENT_STREAM = "text/event-stream"


class Pages(Protocol):
    """What the page asks."""

    async def find(self, token: str) -> PayPage | None:
        """The page behind the token, or None.

        Raises:
            DatabaseUnavailable: it cannot be known now.
        """

    async def customer_returned(self, page: PayPage) -> None:
        """The customer came back from the wallet: have Stripe looked at once, bounded in number and time."""

    async def pay(self, page: PayPage) -> str | None:
        """The link that opens the wallet now, or None where there is nothing to open.

        Raises:
            StripeUnavailable: Stripe does not answer in time.
        """

    async def completed_refunds(self, page: PayPage) -> Sequence[Refund]:
        """What of the payment went back, the first first."""


class PayPageRoutes:
    """Everything below `/p/TOKEN`."""

    def __init__(
        self,
        pages: Pages,
        live_updates: LiveUpdates,
        clock: Clock,
        *,
        wallet_naming: WalletNaming,
        public_url: str | None,
        trusted: Networks,
    ) -> None:
        """`public_url` is where customers find this site, `trusted` are the proxies that say where they come from."""
        self._pages = pages
        self._live_updates = live_updates
        self._clock = clock
        self._wallet_naming = wallet_naming
        self._public_url = public_url
        self._trusted = trusted
        self._payments = RateLimiter(MAX_TAPS_PER_PAYMENT, RATE_LIMIT_WINDOW)
        self._addresses = RateLimiter(MAX_TAPS_PER_ADDRESS, RATE_LIMIT_WINDOW)
        self._each = RateLimiter(MAX_TAPS_PER_CLIENT, RATE_LIMIT_WINDOW)

    async def show(self, request: web.Request) -> web.Response:
        """The page in the visitor's language; 303 to the clean address for who comes back from the wallet.

        Raises:
            web.HTTPNotFound: no payment has that token.
            DatabaseUnavailable: it cannot be known now.
        """
        page = await self._find(request)
        if FROM_STRIPE & request.query.keys():
            if request.method == "GET":
                await self._pages.customer_returned(page)
            return _to(_clean(request, page))
        link = None if _is_phone(request) else self._link(page)
        values = page_context(
            page, self._wallet_naming, self._clock.now(), negotiate_language(request, page.shop.language), link
        )
        return web.Response(text=render("pay.html", **values), content_type="text/html")

    async def pay(self, request: web.Request) -> web.Response:
        """303 to the wallet, or back to the page where there is nothing to open; it says why.

        Raises:
            web.HTTPTooManyRequests: tapped too often.
            StripeSilent: Stripe does not answer; nothing is lost.
        """
        page = await self._find(request)
        if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            return _to(_clean(request, page))
        self._admit(request, page)
        try:
            link = await self._pages.pay(page)
        except StripeUnavailable:
            raise StripeUnavailableResponse(page.shop.language) from None
        return _to(link or _clean(request, page))

    async def state(self, request: web.Request) -> web.StreamResponse:
        """The state as JSON: `state` is a word of `PageState`, `until` RFC 3339 in UTC or null; or each as it comes."""
        page = await self._find(request)
        if EVENT_STREAM in request.headers.get("Accept", ""):
            return await self._stream(request, page)
        return web.json_response(_told(page))

    async def qr(self, request: web.Request) -> web.Response:
        """The code of the page's address, as a picture; there is none while nobody has said what the address is."""
        link = self._link(await self._find(request))
        if link is None:
            raise web.HTTPNotFound
        if request.path.endswith(".png"):
            return web.Response(body=qr_png(link), content_type="image/png")
        return web.Response(text=qr_svg(link), content_type="image/svg+xml")

    async def receipt(self, request: web.Request) -> web.Response:
        """The paper about what was received, to be read or printed."""
        page = await self._find(request)
        refunds = await self._pages.completed_refunds(page)
        values = receipt_values(page, refunds, self._wallet_naming, negotiate_language(request, page.shop.language))
        if values is None:
            raise web.HTTPNotFound
        return web.Response(text=render("receipt.html", **values), content_type="text/html")

    async def _find(self, request: web.Request) -> PayPage:
        token = request.match_info["token"]
        page = await self._pages.find(token) if TOKEN.fullmatch(token) else None
        if page is None:
            raise web.HTTPNotFound
        return page

    def _link(self, page: PayPage) -> str | None:
        """The page's address as the world knows it: from the settings alone, never from what a visitor says."""
        return f"{self._public_url}/p/{page.payment.page_token}" if self._public_url else None

    def _admit(self, request: web.Request, page: PayPage) -> None:
        now = self._clock.now()
        address = client_address(request, self._trusted)
        wait = self._addresses.acquire(address, now)
        wait = wait or self._each.acquire(f"{page.payment.id} from {address}", now)
        wait = wait or self._payments.acquire(page.payment.id, now)
        if wait:
            raise web.HTTPTooManyRequests(headers={"Retry-After": str(math.ceil(wait))})

    async def _stream(self, request: web.Request, page: PayPage) -> web.StreamResponse:
        """Server-sent events, until the visitor goes or we stop."""
        if request.method == "HEAD":
            return web.Response(content_type=EVENT_STREAM)
        try:
            with self._live_updates.subscribe(page, client_address(request, self._trusted)) as topic:
                stream = web.StreamResponse(headers={"Content-Type": EVENT_STREAM, "X-Accel-Buffering": "no"})
                await stream.prepare(request)
                with suppress(ConnectionError):  # whoever closes the page just goes
                    await _tell(stream, topic)
                return stream
        except TooManySubscribers:
            raise web.HTTPTooManyRequests(headers={"Retry-After": RETRY_AFTER_SECONDS}) from None


async def _tell(stream: web.StreamResponse, topic: PageSubscription) -> None:
    told = None
    seen = topic.count
    while not topic.over:
        said = json.dumps(_told(topic.page))
        await stream.write(f"data: {said}\n\n".encode() if said != told else b": still here\n\n")
        told = said
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT_INTERVAL):
                seen = await topic.after(seen)


def _told(page: PayPage) -> dict[str, str | None]:
    return {"state": page.state.value, "until": _rfc_3339(page.until)}


def _to(place: str) -> web.Response:
    """See Other, to this place to the letter."""
    return web.Response(status=303, headers={"Location": place})


def _clean(request: web.Request, page: PayPage) -> str:
    """The page's own address, in the language that was picked, and nothing else of what was asked for."""
    chosen = selected_language(request)
    return f"/p/{page.payment.page_token}" + (f"?lang={chosen}" if chosen else "")


def _is_phone(request: web.Request) -> bool:
    """Whether the page is looked at on what would have to scan it (MDN: look for "Mobi")."""
    return "Mobi" in request.headers.get("User-Agent", "")


def _rfc_3339(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds").replace("+00:00", "Z")
