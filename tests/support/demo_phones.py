"""The two phones of the demo's page, as tests look at them and tap on them."""

from __future__ import annotations

import re
from typing import Any

import aiohttp
from playwright.async_api import FrameLocator, Locator, Page, expect

from bot.sandbox.demo.stack import DemoStack
from tests.support.browser import PATIENCE

WIDE = {"width": 1280, "height": 800}
NARROW = {"width": 360, "height": 640}
PAY = re.compile("^Pay ")
expect.set_options(timeout=PATIENCE)


def last(page: Page) -> Locator:
    """The newest message of the bot."""
    return page.locator(".message:not(.own)").last


def phone(page: Page) -> FrameLocator:
    """What the customer looks at."""
    return page.frame_locator("#screen iframe")


async def asked(page: Page, words: str = "/pay 125 DKK Coffee") -> Locator:
    """Write, and return the card that can be paid."""
    await page.get_by_role("combobox", name="Message").fill(words)
    await page.get_by_role("button", name="Send").click()
    return await card_on(page)


async def offered(page: Page, words: str) -> Locator:
    """Type `words` after the bot's name in the chat with the customer, and return what is offered there."""
    await page.get_by_role("combobox", name="Message").fill(f"@KvitDemoBot {words}")
    offers = page.get_by_role("listbox", name="Offers").get_by_role("option")
    await expect(offers.first).to_be_visible()
    return offers


async def card_on(page: Page) -> Locator:
    """The newest card that can be paid, to be found again whatever becomes of it."""
    payable = page.locator(".message", has=page.get_by_role("link", name=PAY)).last
    return page.locator(f'[data-message="{await payable.get_attribute("data-message")}"]')


async def call(market: DemoStack, method: str, **params: Any) -> None:
    """Let the bot say something that it never says by itself."""
    telegram = market.services.telegram
    address = f"{telegram.base}/bot{telegram.token}/{method}"
    async with aiohttp.ClientSession() as http, http.post(address, json=params) as answer:
        await answer.read()
