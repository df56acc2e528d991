"""A world whose payments have pages, and what a customer does there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import payment, rest, rows
from tests.support.world import World, free_port, opened

PHONE = {"Sec-Fetch-Site": "same-origin"}


@asynccontextmanager
async def paged(clock: FakeClock, folder: Path) -> AsyncIterator[World]:
    """A request that stands, in an installation that has pages."""
    port = free_port()
    async with opened(clock, folder, port=port, public_url=f"http://127.0.0.1:{port}") as running:
        running.say("/pay 149,50 Coffee")
        await running.card("Waiting for payment")
        await rest(running)
        yield running


def page_of(world: World) -> str:
    """The payment's stable address."""
    return f"{world.service.base}/p/{payment(world)['page_token']}"


def payment_link(world: World) -> str:
    """Stripe's link of the newest attempt."""
    return str(rows(world, "SELECT redirect_url FROM attempts ORDER BY number DESC LIMIT 1")[0]["redirect_url"])


async def state(world: World) -> str:
    async with world.http.get(f"{page_of(world)}/state") as answer:
        return str((await answer.json())["state"])


async def tap(world: World, **headers: str) -> aiohttp.ClientResponse:
    """Tap the page's button; what it leads to is not followed."""
    return await world.http.post(page_of(world), headers=PHONE | headers, allow_redirects=False)


async def opens(world: World) -> str:
    """Tap, and return the wallet's link that it led to."""
    answer = await tap(world)
    assert answer.status == 303, await answer.text()
    link = answer.headers["Location"]
    assert link.startswith(world.stripe.base), link
    return link


async def approve(world: World, link: str, what: str = "authorize") -> str:
    """Decide at the wallet, come back, and return the words of the page."""
    async with world.http.post(link, data={"answer": what}) as landed:
        assert str(landed.url) == page_of(world)
        return await landed.text()
