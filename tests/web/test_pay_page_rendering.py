"""The rendered page in a browser: every state, light and dark, narrow and wide, and with text at 200 %."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.i18n import LANGUAGES
from handlers.pay_page.service import PayPage as PayPage
from handlers.pay_page.service import page_action, page_state
from handlers.web.pay_page import MAX_TAPS_PER_CLIENT
from storage.errors import DatabaseUnavailable, StripeUnavailable
from storage.job_queue import JobQueue
from storage.models.money import MAX_AMOUNT, Money
from storage.models.movement import CreditNote
from storage.models.payment import AttemptStatus, CancellationReason, Origin, Payment, PaymentStatus
from storage.models.shop import Shop
from tests.pay_page.test_page_state import ATTEMPT, NOON, PAYMENT
from tests.support.browser import barriers, page_at, sideways
from tests.support.web_server import SomePages, UnreachableQueue, WebServer, app

pytestmark = pytest.mark.asyncio(loop_scope="session")

NARROW: dict[str, Any] = {"viewport": {"width": 360, "height": 640}, "user_agent": "Mobile"}
WIDE: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}, "user_agent": "Desktop"}
SHOP = Shop(
    id=1,
    name="Annas Kaffebar",
    currency="DKK",
    language="da",
    time_zone="Europe/Copenhagen",
    seller_name="Annas Kaffe ApS",
    seller_address="Torvet 1\n8000 Aarhus C",
    seller_number="CVR 12345678",
    seller_contact="hej@annaskaffe.dk",
    vat_rate=25_00,
)


def with_attempt(**changes: object) -> Payment:
    return replace(PAYMENT, attempt=replace(ATTEMPT, **changes))  # type: ignore[arg-type]


def started(seconds_ago: float) -> dict[str, datetime]:
    start = NOON - timedelta(seconds=seconds_ago)
    return {"started_at": start, "expires_at": start + timedelta(seconds=300)}


PAID = replace(PAYMENT, status=PaymentStatus.SUCCEEDED, amount_received=149_50, succeeded_at=NOON, receipt_number=17)
LARGE = Money(MAX_AMOUNT, "SEK")
CANCELED = replace(PAYMENT, status=PaymentStatus.CANCELED, cancellation_reason=CancellationReason.REQUESTED)
PAYMENTS = {
    "ready": PAYMENT,
    "hold": replace(PAYMENT, manual_capture=True),
    "waiting": with_attempt(origin=Origin.PAGE),
    "ending": with_attempt(**started(250)),
    "settling": with_attempt(status=AttemptStatus.REQUESTED, redirect_url=None, started_at=None, expires_at=None),
    "processing": replace(PAYMENT, status=PaymentStatus.PROCESSING),
    "paid": PAID,
    "reserved": replace(PAYMENT, status=PaymentStatus.AUTHORIZED),
    "failed": with_attempt(status=AttemptStatus.FAILED),
    "expired": with_attempt(status=AttemptStatus.EXPIRED, opened_at=NOON),
    "over": replace(with_attempt(status=AttemptStatus.EXPIRED), expires_at=NOON),
    "ended": replace(CANCELED, cancellation_reason=CancellationReason.EXPIRED),
    "canceled": CANCELED,
    "refunded": replace(PAID, amount_refunded=149_50),
    "partly-refunded": replace(PAID, amount_refunded=50_00, amount_refund_pending=20_00),
    "large": replace(PAYMENT, amount=LARGE),
    "large-hold": replace(PAYMENT, amount=LARGE, manual_capture=True),
    "large-refund": replace(
        PAID, amount=LARGE, amount_received=LARGE.minor, amount_refunded=50_000_000, amount_refund_pending=49_999_999
    ),
    "long": replace(
        PAYMENT, description="Smørrebrødsfabrikkensleverancer" * 20 + "\u202e<b>\u2067 " + "to linjer\n" * 40
    ),
}


def page_named(name: str) -> PayPage:
    payment = replace(PAYMENTS[name], id=name, page_token=name)
    state, until = page_state(payment, NOON)
    return PayPage(payment, SHOP, state, until, True, page_action(payment, state, until, NOON))


CREDIT_NOTES = [f"partly-refunded/credit-note/{number}" for number in (3, 4, 5)]


class PartlyFailingPages(SomePages):
    """Pages, one of which cannot be read, and one for which Stripe is unavailable."""

    async def find(self, token: str) -> PayPage | None:
        if token == "down":
            raise DatabaseUnavailable("locked")
        return await super().find(token)

    async def pay(self, page: PayPage) -> str | None:
        if page.payment.id == "failed":
            raise StripeUnavailable
        return None


@pytest_asyncio.fixture(loop_scope="session")
async def base(clock: FakeClock) -> AsyncIterator[str]:
    pages = PartlyFailingPages(*(page_named(name) for name in PAYMENTS))
    pages.notes = [
        CreditNote("a", 3, Money(20_00, "DKK"), 0, NOON),
        CreditNote("b", 4, Money(30_00, "DKK"), 20_00, NOON),
        CreditNote("a", 5, Money(20_00, "DKK"), 0, NOON, is_cancellation=True),
    ]
    site = app(cast("JobQueue", UnreachableQueue()), clock, pages=pages, public_url="https://pay.example.dk")
    async with WebServer(site) as server:
        yield str(server.make_url("/p/"))


BROKEN_WORDS = """() => {
    const broken = [], range = document.createRange();
    for (const element of document.querySelectorAll("h1:not(.plain), .button, dd:not(.lines), #state")) {
        const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
        for (let node = texts.nextNode(); node; node = texts.nextNode()) {
            for (const word of node.data.matchAll(/[^ \\n\\t-]+/g)) {
                if (element.id && !/[0-9]/.test(word[0])) continue;
                range.setStart(node, word.index);
                range.setEnd(node, word.index + word[0].length);
                if (new Set([...range.getClientRects()].map((box) => box.top)).size > 1) broken.push(word[0]);
            }
        }
    }
    return broken;
}"""


@pytest.mark.parametrize("width", [360, pytest.param(320, marks=pytest.mark.long)])
async def test_amounts_and_buttons_do_not_break_within_a_word_at_twice_the_text_size(
    base: str, browser: Browser, width: int
) -> None:
    size = {"viewport": {"width": width, "height": 640}}
    async with page_at(browser, f"{base}large", **size) as page:
        for name in ("large", "large-hold", "waiting", "failed", "large-refund", "paid", "large-refund/receipt"):
            for language in LANGUAGES:
                await page.goto(f"{base}{name}?lang={language}")
                await double_text_size(page)
                assert (name, language, await page.evaluate(BROKEN_WORDS)) == (name, language, [])
                assert (name, language, await sideways(page)) == (name, language, 0)


async def double_text_size(page: Page) -> None:
    await page.evaluate("document.documentElement.style.fontSize = '200%'")


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
@pytest.mark.parametrize("size", [NARROW, pytest.param(WIDE, marks=pytest.mark.long)], ids=["narrow", "wide"])
async def test_page_is_accessible_and_does_not_scroll_sideways(
    base: str, browser: Browser, scheme: str, size: dict[str, object]
) -> None:
    async with page_at(browser, f"{base}ready", color_scheme=scheme, locale="da-DK", **size) as page:
        for path in [*PAYMENTS, "paid/receipt", "partly-refunded/receipt", *CREDIT_NOTES]:
            await page.goto(base + path)
            assert (path, await barriers(page), await sideways(page)) == (path, [], 0)
            await double_text_size(page)
            assert (path, await sideways(page)) == (path, 0)


@pytest.mark.parametrize("name", ["ready", "hold", "waiting", "failed", "paid", "long"])
async def test_essentials_are_visible_on_a_small_phone_without_scrolling(
    base: str, browser: Browser, name: str
) -> None:
    async with page_at(browser, base + name, **NARROW) as page:
        for language in LANGUAGES:
            await page.goto(f"{base}{name}?lang={language}")
            visible = [page.get_by_text("Annas Kaffebar", exact=True), page.get_by_text("CVR 12345678").first]
            visible += [page.get_by_role("heading"), page.get_by_role("status"), page.locator(".button").first]
            visible += [page.locator(".trust")] if name in {"ready", "hold", "waiting"} else []
            for each in visible:
                await expect(each).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
async def test_error_pages_are_accessible(base: str, browser: Browser, scheme: str) -> None:
    settings = NARROW | {"color_scheme": scheme, "locale": "fi-FI"}
    context = await browser.new_context(**settings)
    page = await context.new_page()  # page_at would fail on the console error about the status

    async def checked_heading() -> str:
        assert (await barriers(page), await sideways(page)) == ([], 0)
        await double_text_size(page)
        assert await sideways(page) == 0
        return await page.get_by_role("heading").inner_text()

    await page.goto(f"{base}nobody")
    assert await checked_heading() == "Sivua ei löydy"
    await page.goto(f"{base}down")
    assert await checked_heading() == "Palaamme pian"
    await page.goto(f"{base}failed")
    await page.locator("form button").click()
    assert "149,50" in await checked_heading()
    await expect(page.get_by_role("status")).to_contain_text("Maksua ei voi avata juuri nyt")
    await expect(page.locator("form button")).to_be_visible()
    await page.goto(f"{base}ready")
    for _ in range(MAX_TAPS_PER_CLIENT + 1):
        await page.locator("form button").click()
    assert await checked_heading() == "Hieman liian nopeasti"
    await context.close()


async def test_buttons_and_links_are_large_enough_to_tap(base: str, browser: Browser) -> None:
    async with page_at(browser, base + "ready", **NARROW) as page:
        for element in await page.locator("button:visible, a:visible").all():
            box = await element.bounding_box()
            assert box is not None
            assert box["height"] >= 44, await element.inner_text()


@pytest.mark.parametrize(
    ("path", "back", "number"),
    [
        ("paid/receipt", "Tilbage til betalingen", "Kvitteringsnummer"),
        ("partly-refunded/credit-note/4", "Til kvitteringen", "TEST-1-C4"),
    ],
)
async def test_document_is_printed_without_buttons_and_navigation(
    base: str, browser: Browser, path: str, back: str, number: str
) -> None:
    async with page_at(browser, f"{base}{path}?lang=da", **WIDE) as page:
        on_screen = (page.get_by_role("link", name=back), page.get_by_role("button", name="Udskriv eller gem"))
        for each in on_screen:
            await expect(each).to_be_visible()
        await page.evaluate("print = () => { document.title = 'printed' }")
        await on_screen[1].click()
        await expect(page).to_have_title("printed")
        await page.emulate_media(media="print")
        for each in (*on_screen, page.get_by_role("navigation")):
            await expect(each).to_be_hidden()
        await expect(page.get_by_text(number).first).to_be_visible()
        await expect(page.locator(".test")).to_have_css("color", "rgb(0, 0, 0)")  # backgrounds are not printed
