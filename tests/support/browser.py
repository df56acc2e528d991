"""A real browser for the tests of pages: Debian's Chromium, driven by Playwright, which brings none of its own."""

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
"""Milliseconds that a page may take for something on a busy machine."""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The browser; the test is skipped where there is none, and fails there if KVIT_BROWSER=required is set."""
    if not CHROMIUM.exists():
        words = f"there is no {CHROMIUM} here: apt-get install chromium"
        pytest.fail(words) if os.environ.get("KVIT_BROWSER") == "required" else pytest.skip(words)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def page_at(browser: Browser, address: str, **settings: Any) -> AsyncIterator[Page]:
    """A page of its own, without animations; what it complains about on the console fails the test."""
    context = await browser.new_context(**({"reduced_motion": "reduce"} | settings))
    context.set_default_timeout(PATIENCE)
    page = await context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if _is_complaint(said, address) else None)
    await page.goto(address)
    yield page
    assert not complaints, "\n".join(complaints)
    await context.close()


def _is_complaint(said: ConsoleMessage, address: str) -> bool:
    """Whether it comes from the page itself: not from a frame in it, nor from a tool that looks at it."""
    return said.type in ("error", "warning") and said.location["url"].startswith(address)


async def barriers(page: Page) -> list[str]:
    """What axe finds on the page as it stands, one line for each rule that is broken."""
    found = await Axe().run(page, options={"runOnly": RULES})
    return [
        f"{rule['id']}: {rule['help']}: {[node['html'][:120] for node in rule['nodes'][:3]]}"
        for rule in found.response["violations"]
    ]


async def sideways(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    return int(await page.evaluate("document.documentElement.scrollWidth - innerWidth"))
