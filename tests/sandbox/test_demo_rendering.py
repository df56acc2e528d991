"""Rendering of the demo page: message entities, accessibility, small screens."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from bot.sandbox import seed_users
from bot.sandbox.demo.server import start_demo
from bot.sandbox.demo.stack import DemoStack
from tests.support.browser import barriers, page_at, sideways
from tests.support.demo_phones import (
    NARROW,
    PAY,
    WIDE,
    call_bot_api,
    customer_page,
    inline_results,
    request_payment,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")
"""All tests share one browser; each has its own demo and page."""


@pytest_asyncio.fixture(loop_scope="session")
async def demo() -> AsyncIterator[tuple[str, DemoStack]]:
    async with start_demo(0, unthrottled=True) as running:
        yield running


@pytest.fixture
def stack(demo: tuple[str, DemoStack]) -> DemoStack:
    return demo[1]


@pytest_asyncio.fixture(loop_scope="session")
async def page(demo: tuple[str, DemoStack], browser: Browser) -> AsyncIterator[Page]:
    settings = {"viewport": WIDE, "permissions": ["clipboard-read", "clipboard-write"]}
    async with page_at(browser, demo[0], **settings) as shown:
        yield shown


async def test_markup_in_user_text_is_shown_as_text(page: Page) -> None:
    payment_message = await request_payment(page, "/pay 12 DKK <img src=x onerror=alert(1)> <b>bold</b>")
    await expect(payment_message).to_contain_text("<img src=x onerror=alert(1)> <b>bold</b>")
    assert await page.locator("#messages img").count() == 0


async def test_message_entities_are_rendered(page: Page, stack: DemoStack) -> None:
    text = (
        "😀 <b>bold <i>both</i></b> <code>a&lt;b</code> <u>u</u><s>s</s> <tg-spoiler>hidden</tg-spoiler>\n"
        '<blockquote>quoted</blockquote> <a href="https://kvit.example/x">a link</a> #tag @someone /help'
    )
    await call_bot_api(stack, "sendMessage", chat_id=seed_users.OWNER.id, text=text, parse_mode="HTML")
    shown = page.locator(".message").last
    for tag, content in (("strong em", "both"), ("code", "a<b"), ("u", "u"), ("s", "s"), ("blockquote", "quoted")):
        await expect(shown.locator(tag)).to_have_text(content)
    await expect(shown.locator("strong")).to_have_text("bold both")
    await expect(shown.locator(".spoiler")).to_have_text("hidden")
    await expect(shown.locator(".tag")).to_have_text(["#tag", "@someone"])
    await shown.get_by_role("link", name="a link").click()
    await expect(page.locator("#toast")).to_contain_text("leads out of the demo: https://kvit.example/x")
    await shown.get_by_role("link", name="/help").click()
    await expect(page.get_by_role("combobox", name="Message")).to_have_value("/help ")


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
@pytest.mark.parametrize("size", [NARROW, pytest.param(WIDE, marks=pytest.mark.long)], ids=["narrow", "wide"])
async def test_page_is_accessible_and_never_scrolls_sideways(
    demo: tuple[str, DemoStack], browser: Browser, scheme: str, size: dict[str, int]
) -> None:
    async with page_at(browser, demo[0], viewport=size, color_scheme=scheme) as page:
        await expect(page.get_by_role("group", name="Examples").get_by_role("button").first).to_be_visible()
        assert (await barriers(page), await sideways(page)) == ([], 0)
        payment_message = await request_payment(page)
        await request_payment(page, "/pay 99 999,50 DKK " + "Smørrebrødsfabrikkensleverancer" * 3)
        assert (await barriers(page), await sideways(page)) == ([], 0)
        await payment_message.get_by_role("link", name=PAY).click()
        await expect(customer_page(page).get_by_role("button", name="Authorize")).to_be_visible()
        await page.locator("summary").first.click()
        await page.get_by_role("button", name="Stripe is down").click()
        await expect(page.locator("#stripe-fault")).to_be_visible()
        await page.get_by_role("radio", name="Group").check(force=True)
        await page.get_by_role("combobox", name="Message").fill("/")
        assert (await barriers(page), await sideways(page)) == ([], 0)
        await page.get_by_role("button", name="Stripe is down").click()
        await page.get_by_role("button", name="Approve 125.00").click()
        await expect(page.get_by_role("button", name="Customer disputes 125.00")).to_be_visible()
        await page.get_by_role("radio", name="Customer", exact=True).check(force=True)
        await inline_results(page, "12 500 g coffee")
        assert (await barriers(page), await sideways(page)) == ([], 0)
        await page.keyboard.press("Enter")
        await expect(page.locator(".message")).to_contain_text("Waiting")
        assert (await barriers(page), await sideways(page)) == ([], 0)


async def test_narrow_page_shows_the_message_field_and_scrolls_to_the_opened_pay_page(
    demo: tuple[str, DemoStack], browser: Browser
) -> None:
    async with page_at(browser, demo[0], viewport=NARROW) as page:
        await expect(page.get_by_role("button", name="Send")).to_be_in_viewport()
        payment_message = await request_payment(page)
        await payment_message.get_by_role("link", name=PAY).click()
        await expect(customer_page(page).get_by_role("button", name="Authorize")).to_be_in_viewport()
