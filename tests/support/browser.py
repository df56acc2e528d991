"""A browser for tests of pages: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PATIENCE = 60_000
"""Milliseconds that a step may take on a busy machine."""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A running browser. Without one the test is skipped, or fails if KVIT_BROWSER=required is set."""
    if not CHROMIUM.exists():
        reason = f"there is no {CHROMIUM} here: apt-get install chromium"
        pytest.fail(reason) if os.environ.get("KVIT_BROWSER") == "required" else pytest.skip(reason)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def page_at(browser: Browser, address: str, **settings: Any) -> AsyncIterator[Page]:
    """A new page at `address`, without animations. Errors and warnings on its console fail the test."""
    context = await browser.new_context(**({"reduced_motion": "reduce"} | settings))
    context.set_default_timeout(PATIENCE)
    page = await context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda entry: complaints.append(entry.text) if _is_complaint(entry, address) else None)
    await page.goto(address)
    yield page
    assert not complaints, "\n".join(complaints)
    await context.close()


def _is_complaint(entry: ConsoleMessage, address: str) -> bool:
    """Whether it is an error or a warning of the page itself: not of a frame in it, nor of axe."""
    return entry.type in ("error", "warning") and entry.location["url"].startswith(address)


async def barriers(page: Page) -> list[str]:
    """The accessibility rules that the page breaks now, according to axe, one line each."""
    result = await Axe().run(page, options={"runOnly": RULES})
    return [
        f"{rule['id']}: {rule['help']}: {[node['html'][:120] for node in rule['nodes'][:3]]}"
        for rule in result.response["violations"]
    ]


async def sideways(page: Page) -> int:
    """By how many pixels the page is wider than the viewport."""
    return int(await page.evaluate("document.documentElement.scrollWidth - innerWidth"))
