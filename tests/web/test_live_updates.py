"""Open pages: one look and one word for each change, none for the rest, and no more of them than there is room for."""

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
from storage.errors import DatabaseUnavailable
from tests.pay_page.test_page_state import PAYMENT
from tests.support.evidence import eventually
from tests.support.page_html import PAGE, Client
from tests.support.web_server import SomePages, doors

STREAM = {"Accept": "text/event-stream"}


def numbered(number: int) -> PayPage:
    return replace(PAGE, payment=replace(PAYMENT, id=f"p{number}", page_token=f"t{number}"))


class Counted(SomePages):
    """Pages that count how often they are looked at, and may be out of reach for a while."""

    def __init__(self, *pages: PayPage) -> None:
        super().__init__(*pages)
        self.looks: list[str] = []
        self.failures = 0

    async def find(self, token: str) -> PayPage | None:
        self.looks.append(token)
        if self.failures:
            self.failures -= 1
            raise DatabaseUnavailable("locked")
        return await super().find(token)

    def turn(self, number: int, state: PageState) -> None:
        self.pages[f"t{number}"] = replace(self.pages[f"t{number}"], state=state)


@pytest.fixture
def pages() -> Counted:
    return Counted(*map(numbered, range(20)))


@asynccontextmanager
async def running(live_updates: LiveUpdates) -> AsyncIterator[None]:
    task = asyncio.create_task(live_updates.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def quiet(live_updates: LiveUpdates) -> None:
    """Return once the desk has nothing to look at."""
    await eventually(lambda: not live_updates._rung and not live_updates._news.is_set())


async def test_a_change_is_one_look_however_many_watch_and_none_where_nobody_does(
    pages: Counted, clock: FakeClock
) -> None:
    live = LiveUpdates(pages.find, clock)
    async with running(live):
        with live.subscribe(numbered(1), "here") as one, live.subscribe(numbered(1), "there") as other:
            await quiet(live)
            pages.looks.clear()
            pages.turn(1, PageState.PAID)
            live.notify("p1")
            live.notify("p2")
            assert {*await asyncio.gather(one.after(0), other.after(0))} == {1}
            assert (pages.looks, one.page.state) == (["t1"], PageState.PAID)


async def test_a_change_that_says_nothing_new_wakes_nobody(pages: Counted, clock: FakeClock) -> None:
    live = LiveUpdates(pages.find, clock)
    with live.subscribe(numbered(1), "here") as topic:
        live.notify("p1")
        await live.run_once()
        assert (pages.looks, topic.count) == (["t1"], 0)


async def test_a_change_between_the_look_and_the_watching_is_not_missed(pages: Counted, clock: FakeClock) -> None:
    live = LiveUpdates(pages.find, clock)
    seen = numbered(1)
    pages.turn(1, PageState.PAID)
    live.notify("p1")  # nobody watches yet
    with live.subscribe(seen, "here") as topic:
        await live.run_once()
        assert (topic.count, topic.page.state) == (1, PageState.PAID)


async def test_time_alone_turns_a_page_and_nobody_asks_before_that(pages: Counted, clock: FakeClock) -> None:
    live = LiveUpdates(pages.find, clock)
    pages.pages["t1"] = replace(numbered(1), changes_at=clock.now() + timedelta(seconds=240))
    async with running(live):
        with live.subscribe(pages.pages["t1"], "here") as topic:
            await quiet(live)
            pages.turn(1, PageState.WAITING)
            pages.looks.clear()
            clock.advance(239)
            await asyncio.sleep(0.02)
            assert pages.looks == []
            clock.advance(1)
            assert await topic.after(0) == 1
            assert topic.page.state is PageState.WAITING


async def test_a_database_that_is_out_of_reach_delays_the_word_and_loses_none(pages: Counted, clock: FakeClock) -> None:
    live = LiveUpdates(pages.find, clock)
    async with running(live):
        with live.subscribe(numbered(1), "here") as topic:
            await quiet(live)
            pages.failures = 1
            pages.turn(1, PageState.PAID)
            live.notify("p1")
            async with asyncio.timeout(10):
                assert await topic.after(0) == 1


@pytest.mark.parametrize(
    ("limits", "first", "second"),
    [
        ({"total": 1}, (1, "here"), (2, "there")),
        ({"per_payment": 1}, (1, "here"), (1, "there")),
        ({"per_address": 1}, (1, "here"), (2, "here")),
    ],
)
async def test_there_is_room_for_so_many_and_for_the_next_one_once_somebody_went(
    pages: Counted, clock: FakeClock, limits: dict[str, int], first: tuple[int, str], second: tuple[int, str]
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
    assert (live._topics, live._addresses) == ({}, {})


async def test_the_stream_begins_with_how_it_stands_and_tells_each_change(pages: Counted, clock: FakeClock) -> None:
    live = LiveUpdates(pages.find, clock)
    async with (
        running(live),
        doors(clock, pages, live_updates=live) as client,
        client.get("/p/t1/state", headers=STREAM) as news,
    ):
        assert (news.status, news.headers["X-Accel-Buffering"]) == (200, "no")
        assert await heard(news.content) == {"state": "ready", "until": "2026-11-24T12:00:00Z"}
        for state in (PageState.PROCESSING, PageState.PAID):
            pages.turn(1, state)
            live.notify("p1")
            assert (await heard(news.content))["state"] == state


async def test_a_stream_too_many_is_told_when_to_come_back(pages: Counted, clock: FakeClock) -> None:
    live = LiveUpdates(pages.find, clock, total=1)
    async with doors(clock, pages, live_updates=live) as client, client.get("/p/t1/state", headers=STREAM):
        second = await client.get("/p/t2/state", headers=STREAM)
        assert (second.status, second.headers["Retry-After"]) == (429, "30")
        assert (await client.get("/p/t2/state")).status == 200


async def test_only_who_asks_for_events_gets_a_stream_and_who_asks_for_its_head_gets_that(client: Client) -> None:
    plain, head = await client.get("/p/t1/state"), await client.head("/p/t1/state", headers=STREAM)
    assert (plain.content_type, head.content_type) == ("application/json", "text/event-stream")


async def test_every_stream_ends_at_once_when_the_desk_closes(pages: Counted, clock: FakeClock) -> None:
    live = LiveUpdates(pages.find, clock)
    async with doors(clock, pages, live_updates=live) as client, client.get("/p/t1/state", headers=STREAM) as news:
        await heard(news.content)
        live.close()
        async with asyncio.timeout(1):
            assert (await news.content.read()).strip() == b""
        assert (await client.get("/p/t1/state", headers=STREAM)).status == 429


@pytest.fixture
async def client(pages: Counted, clock: FakeClock) -> AsyncIterator[Client]:
    async with doors(clock, pages) as client:
        yield client


async def heard(stream: StreamReader) -> dict[str, str]:
    """The next thing that was told."""
    async with asyncio.timeout(10):
        while not (line := await stream.readline()).startswith(b"data: "):
            assert line, "the stream ended"
    said: dict[str, str] = json.loads(line[6:])
    return said
