"""The page behind a payment's address: says in words where the payment stands, and changes nothing."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Protocol

from aiohttp import web

from handlers import i18n
from handlers.pages import Page, PageState
from handlers.ports import Clock
from handlers.web.looks import render
from handlers.web.tongue import language_for

TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""What a token is made of; anything else needs no look into the database."""

FROM_STRIPE = frozenset({"payment_intent", "payment_intent_client_secret", "redirect_status"})
"""What Stripe puts behind the return address. None of it is believed: anybody can type it."""

MOVING = frozenset({PageState.WAITING, PageState.PROCESSING})
"""The states in which the page looks again by itself, every few seconds."""

REFRESH_SECONDS = 5


class Pages(Protocol):
    """What the page asks."""

    async def find(self, token: str) -> Page | None:
        """The page behind the token, or None.

        Raises:
            DatabaseUnavailable: it cannot be known now.
        """

    async def returned(self, page: Page) -> None:
        """The customer came back from the wallet: have Stripe looked at once, bounded in number and time."""


class PayPage:
    """`GET /p/TOKEN` and `GET /p/TOKEN/state`."""

    def __init__(self, pages: Pages, clock: Clock, *, wallet_name: str) -> None:
        """`wallet_name` is auto, MobilePay or Vipps."""
        self._pages = pages
        self._clock = clock
        self._wallet_name = wallet_name

    async def show(self, request: web.Request) -> web.Response:
        """The page in the visitor's language; 303 to the clean address for who comes back from the wallet.

        Raises:
            web.HTTPNotFound: no payment has that token.
            DatabaseUnavailable: it cannot be known now.
        """
        page = await self._find(request)
        if FROM_STRIPE & request.query.keys():
            await self._pages.returned(page)
            raise web.HTTPSeeOther(f"/p/{page.payment.token}")
        language = language_for(request, page.shop.language)
        return web.Response(text=self._said(page, language), content_type="text/html")

    async def state(self, request: web.Request) -> web.Response:
        """The state as JSON: `state` is a word of `PageState`, `until` RFC 3339 in UTC or null."""
        page = await self._find(request)
        return web.json_response({"state": page.state, "until": _rfc_3339(page.until)})

    async def _find(self, request: web.Request) -> Page:
        token = request.match_info["token"]
        page = await self._pages.find(token) if TOKEN.fullmatch(token) else None
        if page is None:
            raise web.HTTPNotFound
        return page

    def _said(self, page: Page, language: str) -> str:
        shop, payment = page.shop, page.payment
        still = page.state is PageState.WAITING and page.until is None
        return render(
            "pay.html",
            language,
            page=page,
            key="page.settling" if still else f"page.{page.state}",
            amount=i18n.money(language, payment.amount),
            wallet=i18n.wallet(self._wallet_name, self._clock.now(), shop.time_zone),
            until=page.until and i18n.moment(language, page.until, shop.time_zone),
            refresh=REFRESH_SECONDS if page.state in MOVING else None,
        )


def _rfc_3339(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds").replace("+00:00", "Z")
