"""Pay pages as tests build and parse them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

from aiohttp import web
from aiohttp.test_utils import TestClient

from handlers.pay_page.service import PageAction, PageState, PayPage
from storage.models.shop import Shop
from tests.pay_page.test_page_state import NOON, PAYMENT
from tests.support.web_server import SomePages

Client = TestClient[web.Request, web.Application]

SHOP = Shop(id=1, name="Annas <b>Kaffe</b> & Co", currency="DKK", language="en", time_zone="Europe/Copenhagen")
PAGE = PayPage(payment=PAYMENT, shop=SHOP, state=PageState.READY, until=NOON, test=False, action=PageAction.PAY)
MOVING = {PageState.WAITING, PageState.PROCESSING}
WORDS = {
    PageState.READY: "Ready to pay",
    PageState.WAITING: "Waiting for your approval",
    PageState.PROCESSING: "Payment in progress",
    PageState.PAID: "Paid",
    PageState.RESERVED: "Reserved",
    PageState.FAILED: "Payment failed",
    PageState.EXPIRED: "The payment was not approved in time",
    PageState.ENDED: "This payment request is closed",
    PageState.CANCELED: "Cancelled",
    PageState.REFUNDED: "Refunded",
    PageState.PARTLY_REFUNDED: "Partly refunded",
}
BEGINS = {PageState.READY, PageState.FAILED, PageState.EXPIRED}


class Read(HTMLParser):
    """The tags of a page with their attributes, and its texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_in(state: PageState) -> PayPage:
    """A pay page with this state."""
    action = PageAction.PAY if state in BEGINS else PageAction.OPEN if state is PageState.WAITING else None
    until = NOON + timedelta(seconds=300) if action else None
    return replace(PAGE, state=state, until=until, action=action)


async def shown(client: Client, pages: SomePages, page: PayPage, **headers: str) -> str:
    pages.pages["a-token"] = page
    answer = await client.get("/p/a-token", headers=headers)
    assert answer.status == 200
    assert answer.content_type == "text/html"
    return await answer.text()
