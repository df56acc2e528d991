"""Helpers for the demo page in a browser: the merchant's phone and the customer's phone."""

from __future__ import annotations

import re
from typing import Any

import aiohttp
from playwright.async_api import FrameLocator, Locator, Page, expect

from bot.sandbox.demo.stack import DemoStack
from tests.support.browser import PATIENCE

WIDE = {"width": 1280, "height": 800}
NARROW = {"width": 360, "height": 640}
PAY = re.compile("^(Pay|Reserve) ")
expect.set_options(timeout=PATIENCE)


def last_bot_message(page: Page) -> Locator:
    return page.locator(".message:not(.own)").last


def customer_page(page: Page) -> FrameLocator:
    """The page that is open on the customer's phone."""
    return page.frame_locator("#screen iframe")


async def request_payment(page: Page, command: str = "/pay 125 DKK Coffee") -> Locator:
    """Send a command; returns the payment message."""
    await page.get_by_role("combobox", name="Message").fill(command)
    await page.get_by_role("button", name="Send").click()
    return await payment_message_on(page)


async def inline_results(page: Page, text: str) -> Locator:
    """Type `text` after the bot's name in the chat with the customer; returns the inline results."""
    await page.get_by_role("combobox", name="Message").fill(f"@KvitDemoBot {text}")
    results = page.get_by_role("listbox", name="Results").get_by_role("option")
    await expect(results.first).to_be_visible()
    return results


async def payment_message_on(page: Page) -> Locator:
    """The newest message with a button Pay or Reserve, located by its id, so that it is found after edits too."""
    payable = page.locator(".message", has=page.get_by_role("link", name=PAY)).last
    return page.locator(f'[data-message="{await payable.get_attribute("data-message")}"]')


async def call_bot_api(stack: DemoStack, method: str, **params: Any) -> None:
    """Call the Bot API as the bot."""
    telegram = stack.services.telegram
    url = f"{telegram.base}/bot{telegram.token}/{method}"
    async with aiohttp.ClientSession() as http, http.post(url, json=params) as response:
        await response.read()
