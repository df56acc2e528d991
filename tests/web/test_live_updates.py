"""Live updates of open pages: one read and one event per change, and bounded numbers of subscribers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from aiohttp import StreamReader

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.pay_page.live_updates import LiveUpdates, TooManySubscribers
from handlers.pay_page.service import PageState, PayPage
from handlers.web.pay_page import HEARTBEAT_INTERVAL
from storage.errors import DatabaseUnavailable
from tests.pay_page.test_page_state import PAYMENT
from tests.support.evidence import eventually
from tests.support.page_html import PAGE, Client
from tests.support.web_server import SomePages, doors

STREAM = {"Accept": "text/event-stream"}


def numbered(number: int) -> PayPage:
    return replace(PAGE, payment=replace(PAYMENT, id=f"p{number}", page_token=f"t{number}"))


class CountedPages(SomePages):
    """Pages that record their reads, and fail a given number of times."""

    def __init__(self, *pages: PayPage) -> None:
        super().__init__(*pages)
        self.reads: list[str] = []
        self.failures = 0

    async def find(self, token: str) -> PayPage | None:
        self.reads.append(token)
        if self.failures:
            self.failures -= 1
            raise DatabaseUnavailable("locked")
        return await super().find(token)

    def set_state(self, number: int, state: PageState) -> None:
        self.pages[f"t{number}"] = replace(self.pages[f"t{number}"], state=state)


@pytest.fixture
def pages() -> CountedPages:
    return CountedPages(*map(numbered, range(20)))


@asynccontextmanager
async def running(live_updates: LiveUpdates) -> AsyncIterator[None]:
    task = asyncio.create_task(live_updates.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until_idle(live_updates: LiveUpdates) -> None:
    """Returns when nothing is left to read."""
    await eventually(lambda: not live_updates._changed and not live_updates._wake_up.is_set())


async def test_change_is_read_once_for_all_subscribers_and_not_without_subscribers(
    pages: CountedPages, clock: FakeClock
) -> None:
    live = LiveUpdates(pages.find, clock)
    async with running(live):
        with live.subscribe(numbered(1), "here") as one, live.subscribe(numbered(1), "there") as other:
            await until_idle(live)
            pages.reads.clear()
            pages.set_state(1, PageState.PAID)
            live.notify("p1")
            live.notify("p2")
            assert {*await asyncio.gather(one.after(0), other.after(0))} == {1}
            assert (pages.reads, one.page.state) == (["t1"], PageState.PAID)


async def test_change_that_the_page_does_not_show_wakes_no_subscriber(pages: CountedPages, clock: FakeClock) -> None:
    live = LiveUpdates(pages.find, clock)
    with live.subscribe(numbered(1), "here") as subscription:
        live.notify("p1")
        await live.run_once()
        assert (pages.reads, subscription.version) == (["t1"], 0)


async def test_change_between_read_and_subscription_is_not_missed(pages: CountedPages, clock: FakeClock) -> None:
    live = LiveUpdates(pages.find, clock)
    seen = numbered(1)
    pages.set_state(1, PageState.PAID)
    live.notify("p1")  # there is no subscriber yet
    with live.subscribe(seen, "here") as subscription:
        await live.run_once()
        assert (subscription.version, subscription.page.state) == (1, PageState.PAID)


async def test_page_that_changes_with_time_is_read_only_then(pages: CountedPages, clock: FakeClock) -> None:
    live = LiveUpdates(pages.find, clock)
    pages.pages["t1"] = replace(numbered(1), changes_at=clock.now() + timedelta(seconds=240))
    async with running(live):
        with live.subscribe(pages.pages["t1"], "here") as subscription:
            await until_idle(live)
            pages.set_state(1, PageState.WAITING)
            pages.reads.clear()
            clock.advance(239)
            await asyncio.sleep(0.02)
            assert pages.reads == []
            clock.advance(1)
            assert await subscription.after(0) == 1
            assert subscription.page.state is PageState.WAITING


async def test_unreachable_database_delays_an_event_and_loses_none(pages: CountedPages, clock: FakeClock) -> None:
    live = LiveUpdates(pages.find, clock)
    async with running(live):
        with live.subscribe(numbered(1), "here") as subscription:
            await until_idle(live)
            pages.failures = 1
            pages.set_state(1, PageState.PAID)
            live.notify("p1")
            async with asyncio.timeout(10):
                assert await subscription.after(0) == 1


@pytest.mark.parametrize(
    ("limits", "first", "second"),
    [
        ({"total": 1}, (1, "here"), (2, "there")),
        ({"per_payment": 1}, (1, "here"), (1, "there")),
        ({"per_address": 1}, (1, "here"), (2, "here")),
    ],
)
async def test_subscriber_beyond_a_limit_is_rejected_until_another_one_leaves(
    pages: CountedPages, clock: FakeClock, limits: dict[str, int], first: tuple[int, str], second: tuple[int, str]
) -> None:
    live = LiveUpdates(pages.find, clock, **limits)
    with (
        live.subscribe(numbered(first[0]), first[1]),
        pytest.raises(TooManySubscribers),
        live.subscribe(numbered(second[0]), second[1]),
    ):
        pass
    with live.subscribe(numbered(second[0]), second[1]):
        pass
    assert (live._subscriptions, live._addresses) == ({}, {})


async def test_stream_starts_with_the_current_state_and_sends_each_change(
    pages: CountedPages, clock: FakeClock
) -> None:
    live = LiveUpdates(pages.find, clock)
    async with (
        running(live),
        doors(clock, pages, live_updates=live) as client,
        client.get("/p/t1/state", headers=STREAM) as stream,
    ):
        assert (stream.status, stream.headers["X-Accel-Buffering"]) == (200, "no")
        assert await next_event(stream.content) == {"state": "ready", "until": "2026-11-24T12:00:00Z"}
        for state in (PageState.PROCESSING, PageState.PAID):
            pages.set_state(1, state)
            live.notify("p1")
            assert (await next_event(stream.content))["state"] == state


async def test_stream_beyond_the_limit_is_429_with_retry_after(pages: CountedPages, clock: FakeClock) -> None:
    live = LiveUpdates(pages.find, clock, total=1)
    async with doors(clock, pages, live_updates=live) as client, client.get("/p/t1/state", headers=STREAM):
        second = await client.get("/p/t2/state", headers=STREAM)
        assert (second.status, second.headers["Retry-After"]) == (429, "30")
        assert (await client.get("/p/t2/state")).status == 200


async def test_stream_needs_its_accept_header_and_answers_head(client: Client) -> None:
    plain, head = await client.get("/p/t1/state"), await client.head("/p/t1/state", headers=STREAM)
    assert (plain.content_type, head.content_type) == ("application/json", "text/event-stream")


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("text/event-stream;q=0", "application/json"),
        ("text/event-stream; q=0.000, application/json", "application/json"),
        ("text/event-stream; q = 0", "application/json"),
        ("application/json, text/event-stream;q=0.5", "application/json"),
        ("text/event-streams", "application/json"),
        ("*/*", "application/json"),
        ("", "application/json"),
        ("TEXT/Event-Stream ; q=0.4", "text/event-stream"),
        ("application/json;q=0.3, text/event-stream;charset=utf-8;q=0.5", "text/event-stream"),
    ],
)
async def test_stream_is_opened_only_for_those_that_accept_it(client: Client, accept: str, content_type: str) -> None:
    async with client.get("/p/t1/state", headers={"Accept": accept}) as answer:
        assert answer.content_type == content_type


async def test_stream_frees_its_place_as_soon_as_the_client_leaves(pages: CountedPages, clock: FakeClock) -> None:
    live = LiveUpdates(pages.find, clock, total=1)
    async with doors(clock, pages, live_updates=live) as client:
        async with asyncio.timeout(HEARTBEAT_INTERVAL - 1):
            for number in range(3):
                async with client.get(f"/p/t{number}/state", headers=STREAM) as stream:
                    assert (await next_event(stream.content))["state"] == "ready"
                await eventually(lambda: not live._subscriptions)


async def test_streams_end_at_once_when_live_updates_close(pages: CountedPages, clock: FakeClock) -> None:
    live = LiveUpdates(pages.find, clock)
    async with doors(clock, pages, live_updates=live) as client, client.get("/p/t1/state", headers=STREAM) as stream:
        await next_event(stream.content)
        live.close()
        async with asyncio.timeout(1):
            assert (await stream.content.read()).strip() == b""
        assert (await client.get("/p/t1/state", headers=STREAM)).status == 429


@pytest.fixture
async def client(pages: CountedPages, clock: FakeClock) -> AsyncIterator[Client]:
    async with doors(clock, pages) as client:
        yield client


async def next_event(stream: StreamReader) -> dict[str, str]:
    """The data of the next event."""
    async with asyncio.timeout(10):
        while not (line := await stream.readline()).startswith(b"data: "):
            assert line, "the stream ended"
    event: dict[str, str] = json.loads(line[6:])
    return event
