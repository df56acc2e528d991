"""A world with pay pages, and what a customer does there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import idle, payment, rows
from tests.support.world import World, free_port, opened

PHONE = {"Sec-Fetch-Site": "same-origin"}


@asynccontextmanager
async def paged(clock: FakeClock, folder: Path) -> AsyncIterator[World]:
    """An installation with pay pages and an open request."""
    port = free_port()
    async with opened(clock, folder, port=port, public_url=f"http://127.0.0.1:{port}") as running:
        running.say("/pay 149,50 Coffee")
        await running.message("Waiting for payment")
        await idle(running)
        yield running


def page_of(world: World) -> str:
    """The address of the newest payment's page."""
    return f"{world.service.base}/p/{payment(world)['page_token']}"


def payment_link(world: World) -> str:
    """Stripe's link of the newest attempt."""
    return str(rows(world, "SELECT redirect_url FROM attempts ORDER BY number DESC LIMIT 1")[0]["redirect_url"])


async def state(world: World) -> str:
    async with world.http.get(f"{page_of(world)}/state") as response:
        return str((await response.json())["state"])


async def tap(world: World, **headers: str) -> aiohttp.ClientResponse:
    """Presses the button of the page; the redirect is not followed."""
    return await world.http.post(page_of(world), headers=PHONE | headers, allow_redirects=False)


async def opens(world: World) -> str:
    """Presses the button and returns the wallet link of the redirect."""
    response = await tap(world)
    assert response.status == 303, await response.text()
    link = response.headers["Location"]
    assert link.startswith(world.stripe.base), link
    return link


async def approve(world: World, link: str, answer: str = "authorize") -> str:
    """Answers in the wallet, returns to the page, and gives its text."""
    async with world.http.post(link, data={"answer": answer}) as landing:
        assert str(landing.url) == page_of(world)
        return await landing.text()
