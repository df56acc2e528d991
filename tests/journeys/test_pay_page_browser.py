"""A customer with a real browser before the real program: pays, declines, comes too late, and is told the truth."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Response, expect

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.browser import PATIENCE, page_at
from tests.support.evidence import calls, fault, idle, keys, money, pass_time, rows
from tests.support.page_world import page_of, paged
from tests.support.world import World

pytestmark = pytest.mark.asyncio(loop_scope="session")
"""One browser for all of them; each has a world of its own."""

PHONE: dict[str, Any] = {
    "viewport": {"width": 360, "height": 640},
    "user_agent": "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/140.0 Mobile Safari/537.36",
    "locale": "en-GB",
}
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}, "locale": "en-GB"}
PAY = re.compile("^Pay DKK.149.50 with MobilePay$")
expect.set_options(timeout=PATIENCE)


@pytest_asyncio.fixture(loop_scope="session")
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with paged(clock, tmp_path) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def phone(browser: Browser, world: World) -> AsyncIterator[Page]:
    async with page_at(browser, page_of(world), **PHONE) as page:
        yield page


async def decides(page: Page, what: str) -> None:
    """Tap *Pay*, and decide at the wallet."""
    await page.get_by_role("button", name=PAY).click()
    await page.get_by_role("button", name=what).click()


async def says(page: Page, words: str) -> None:
    await expect(page.get_by_role("status")).to_contain_text(words)


async def test_a_customer_pays_and_lands_on_the_page_that_says_so(world: World, phone: Page) -> None:
    chain: list[Response] = []
    phone.on("response", lambda response: chain.append(response))
    await decides(phone, "Authorize test payment")
    await says(phone, "Paid")
    assert phone.url == page_of(world)
    assert await phone.title() == "Paid: DKK\u00a0149.50, Olivia"
    await phone.get_by_role("link", name="Payment confirmation").click()
    await expect(phone.get_by_role("heading", name="Payment confirmation")).to_be_visible()
    ours = [response for response in chain if response.url.startswith(world.service.base)]
    assert {303, 200} <= {response.status for response in ours}
    for response in ours:
        headers = await response.all_headers()
        assert headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "form-action" not in headers["content-security-policy"]
    elsewhere = [response.request for response in chain if response.url.startswith(world.stripe.base)]
    assert elsewhere != []
    assert [await request.header_value("referer") for request in elsewhere if request.method == "GET"] == [None]
    assert (money(world), calls(world, "confirm")) == ((1, 1), [])


async def test_a_customer_declines_and_pays_at_the_second_try(world: World, phone: Page) -> None:
    await decides(phone, "Fail test payment")
    await says(phone, "No money was taken. You can try again.")
    await decides(phone, "Authorize test payment")
    await says(phone, "Paid")
    assert (money(world), keys(world, "confirm")) == ((1, 1), ["2"])


async def test_a_link_that_lapsed_while_the_page_was_open_is_renewed_on_it(world: World, phone: Page) -> None:
    await says(phone, "Ready to pay")
    await pass_time(world, 240)
    await says(phone, "An earlier attempt is still open")
    await expect(phone.get_by_role("button", name=PAY)).to_have_count(0)
    await pass_time(world, 60)
    await says(phone, "Ready to pay")
    await decides(phone, "Authorize test payment")
    await says(phone, "Paid")
    assert (money(world), keys(world, "confirm")) == ((1, 1), ["2"])


async def test_what_was_paid_on_another_phone_shows_by_itself(world: World, phone: Page) -> None:
    loads: list[str] = []
    phone.on("framenavigated", lambda frame: loads.append(frame.url))
    await world.decide("approve")
    await says(phone, "Thank you. The payment went through.")
    await expect(phone.get_by_role("button", name=PAY)).to_have_count(0)
    assert loads == []


async def test_with_stripe_down_nothing_is_lost(world: World, browser: Browser) -> None:
    context = await browser.new_context(**PHONE)
    phone = await context.new_page()  # the console complains of a 503, rightly
    await phone.goto(page_of(world))
    await pass_time(world, 300)
    await says(phone, "Ready to pay")
    await fault(world, "retrieve", "500", times=3)
    await phone.get_by_role("button", name=PAY).click()
    await says(phone, "The payment cannot be opened right now")
    await expect(phone.get_by_role("heading")).to_have_text("DKK 149.50")
    await decides(phone, "Authorize test payment")
    await says(phone, "Paid")
    await context.close()


async def test_return_in_another_browser_shows_the_same_state(world: World, browser: Browser, phone: Page) -> None:
    await decides(phone, "Authorize test payment")
    await says(phone, "Paid")
    lies = "?payment_intent=pi_1&payment_intent_client_secret=x&redirect_status=failed"
    async with page_at(browser, page_of(world) + lies, **PHONE) as other:
        assert other.url == page_of(world)
        await says(other, "Paid")


async def test_a_page_opened_again_while_the_app_is_open_leads_back_into_it(world: World, phone: Page) -> None:
    await pass_time(world, 300)
    await phone.get_by_role("button", name=PAY).click()
    await expect(phone.get_by_role("button", name="Authorize test payment")).to_be_visible()
    await phone.goto(page_of(world))
    await says(phone, "Waiting for your approval")
    await phone.get_by_role("button", name="Open MobilePay again").click()
    await phone.get_by_role("button", name="Authorize test payment").click()
    await says(phone, "Paid")
    assert keys(world, "confirm") == ["2"]


async def test_without_javascript_everything_works_and_a_waiting_page_looks_again(
    world: World, browser: Browser
) -> None:
    await pass_time(world, 300)
    async with page_at(browser, page_of(world), java_script_enabled=False, **PHONE) as page:
        await page.get_by_role("button", name=PAY).click()
        await expect(page.get_by_role("button", name="Authorize test payment")).to_be_visible()
        await page.goto(page_of(world))
        await says(page, "Waiting for your approval")
        await world.decide("approve")
        await says(page, "Paid")
        await expect(page.get_by_role("button", name="Copy link")).to_have_count(0)


@pytest.mark.parametrize("kind", [PHONE, DESKTOP], ids=["phone", "desktop"])
async def test_a_page_makes_two_requests_and_no_more(world: World, browser: Browser, kind: dict[str, Any]) -> None:
    context = await browser.new_context(**kind)
    page, asked = await context.new_page(), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    async with page.expect_request("**/state"):
        await page.goto(page_of(world))
    await expect(page.get_by_role("button", name=PAY)).to_be_visible()
    await page.evaluate("new Promise((done) => setTimeout(done, 300))")
    assert asked == [page_of(world), f"{page_of(world)}/state"]
    await context.close()


async def test_qr_code_is_shown_on_wide_screens_only(world: World, browser: Browser) -> None:
    async with page_at(browser, page_of(world), **DESKTOP) as page:
        await expect(page.get_by_text("Scan with your phone to pay")).to_be_visible()
        await page.set_viewport_size({"width": 360, "height": 640})
        await expect(page.get_by_text("Scan with your phone to pay")).to_be_hidden()
    async with page_at(browser, page_of(world), **PHONE) as page:
        assert "<svg" not in await page.content()


async def test_the_link_is_copied_without_what_was_behind_it(world: World, browser: Browser) -> None:
    permissions = ["clipboard-read", "clipboard-write"]
    async with page_at(browser, page_of(world) + "?lang=sv", permissions=permissions, **PHONE) as page:
        await page.get_by_role("button", name="Kopiera länk").click()
        await expect(page.get_by_role("button", name="Kopierat")).to_be_visible()
        assert await page.evaluate("navigator.clipboard.readText()") == page_of(world)


async def test_where_nothing_may_be_copied_silently_the_link_is_copied_all_the_same(world: World, phone: Page) -> None:
    await phone.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('not allowed')); }")
    await phone.get_by_role("button", name="Copy link").click()
    await expect(phone.get_by_role("button", name="Copied")).to_be_visible()
    await phone.evaluate("() => { document.execCommand = () => false; }")
    await phone.locator(".link-button").click()
    await expect(phone.get_by_role("textbox")).to_have_value(page_of(world))


async def test_in_app_browser_shows_how_to_leave_it(world: World, browser: Browser) -> None:
    within = PHONE | {"user_agent": PHONE["user_agent"].replace("Chrome/", "Version/4.0 Chrome/") + "; wv) Instagram 3"}
    for kind, shown in ((within, True), (PHONE, False)):
        async with page_at(browser, page_of(world), **kind) as page:
            await page.route("**/p/*", lambda route: route.fulfill(status=204))
            await page.clock.install()
            await page.get_by_role("button", name=PAY).click()
            await page.clock.run_for(3100)
            way_out = page.get_by_role("link", name="Open in browser")
            await (expect(way_out).to_be_visible() if shown else expect(way_out).to_be_hidden())
            if shown:
                assert (await way_out.get_attribute("href") or "").startswith("intent://127.0.0.1:")


async def test_a_picked_language_stays_on_the_way_and_every_other_is_one_tap_away(world: World, phone: Page) -> None:
    await phone.get_by_role("link", name="Dansk").click()
    await expect(phone.get_by_role("button", name=re.compile("^Betal .* med MobilePay$"))).to_be_visible()
    await world.decide("decline")
    await expect(phone.get_by_role("status")).to_contain_text("Der er ikke trukket penge. Du kan prøve igen.")


async def test_typed_html_is_shown_as_text(world: World, browser: Browser) -> None:
    hostile = "\u202e<img src=x onerror=alert(1)>\u2069 " + "ko\u0308stlich " * 15
    world.say(f"/pay 20 {hostile}")
    await world.message("onerror")
    await idle(world)
    token = rows(world, "SELECT page_token FROM payments WHERE description LIKE '%onerror%'")[0]["page_token"]
    async with page_at(browser, f"{world.service.base}/p/{token}", **PHONE) as page:
        await expect(page.get_by_text("<img src=x onerror=alert(1)>")).to_be_visible()
        assert await page.locator("img").count() == 0
        amount = await page.get_by_role("heading").bounding_box()
        button = await page.get_by_role("button", name=re.compile("^Pay")).bounding_box()
        assert amount is not None
        assert button is not None
        assert button["y"] + button["height"] <= 640
