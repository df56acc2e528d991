"""The page pays: the real program, the pretend Stripe and real requests, whatever befalls the link in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import (
    PAID,
    book,
    calls,
    chat_lines,
    fault,
    idle,
    keys,
    money,
    pass_time,
    payment,
    rows,
    short_timeout,
    webhooks,
)
from tests.support.page_world import PHONE, approve, opens, page_of, paged, state, tap
from tests.support.world import World, button


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with paged(clock, tmp_path) as running:
        yield running


async def test_page_uses_the_chats_link_while_it_is_fresh(world: World) -> None:
    link = button(await world.message("Waiting for payment"), "Pay")["url"]
    assert (await state(world), await opens(world), await opens(world)) == ("ready", link, link)
    await approve(world, link)
    await idle(world)
    assert (await state(world), money(world), calls(world, "confirm")) == ("paid", (1, 1), [])
    assert chat_lines(world)[0] == PAID


async def test_page_opened_an_hour_later_can_be_paid(world: World) -> None:
    await pass_time(world, 300)
    await pass_time(world, 3300)
    assert await state(world) == "ready"
    await approve(world, await opens(world))
    await idle(world)
    assert (await state(world), money(world), keys(world, "confirm")) == ("paid", (1, 1), ["2"])


async def test_declined_payment_can_be_retried_on_the_page(world: World) -> None:
    said_then = await approve(world, await opens(world), "fail")
    await idle(world)
    assert await state(world) == "failed"
    await approve(world, await opens(world))
    await idle(world)
    assert (await state(world), money(world), keys(world, "confirm")) == ("paid", (1, 1), ["2"])
    assert "Paid" not in said_then


async def test_link_in_its_last_fifth_is_waited_out_then_replaced(world: World) -> None:
    await pass_time(world, 250)
    before = await state(world)
    answer = await tap(world)
    assert (before, answer.status, answer.headers["Location"]) == ("waiting", 303, f"/p/{payment(world)['page_token']}")
    async with world.http.get(page_of(world)) as page:
        assert "An earlier attempt is still open" in await page.text()
    assert calls(world, "confirm") == []
    await pass_time(world, 50)
    assert await state(world) == "ready"
    await opens(world)
    assert keys(world, "confirm") == ["2"]


@pytest.mark.parametrize("phones", [2, 8])
async def test_many_phones_at_once_get_one_live_attempt(world: World, phones: int) -> None:
    await pass_time(world, 300)
    links = await asyncio.gather(*(opens(world) for _ in range(phones)))
    assert (len(set(links)), keys(world, "confirm"), len(calls(world, "confirm"))) == (1, ["2"], 1)
    open_now = [each for each in world.stripe.store.attempts[world.intent()["id"]] if each.outcome is None]
    assert len(open_now) == 1
    assert links[0].endswith(open_now[0].nonce)


async def test_what_was_paid_elsewhere_while_webhooks_were_lost_is_found_by_the_tap(world: World) -> None:
    await webhooks(world, "lose")
    await world.decide("approve")
    assert await state(world) == "ready"
    answer = await tap(world)
    assert (answer.status, answer.headers["Location"]) == (303, f"/p/{payment(world)['page_token']}")
    assert (await state(world), calls(world, "confirm")) == ("paid", [])


async def test_undecided_return_shows_waiting_then_ready(world: World) -> None:
    looks = len(calls(world, "retrieve"))
    async with world.http.get(page_of(world), params={"redirect_status": "succeeded"}) as page:
        assert "One moment" in await page.text()
    await idle(world)
    assert (await state(world), len(calls(world, "retrieve"))) == ("waiting", looks + 1)
    async with world.http.get(f"{page_of(world)}/state", headers={"Accept": "text/event-stream"}) as stream:
        assert b'"waiting"' in await stream.content.readline()
        await stream.content.readline()
        world.advance(10)
        async with asyncio.timeout(10):
            assert b'"ready"' in await stream.content.readline()


async def test_repeated_returns_do_not_delay_other_customers(world: World) -> None:
    looks = len(calls(world, "retrieve"))
    for number, awaited in enumerate(["waiting", "ready", "ready"], 1):
        async with world.http.get(page_of(world), params={"redirect_status": "x"}) as page:
            assert ("<form" in await page.text()) is (awaited == "ready")
        await idle(world)
        assert (await state(world), len(calls(world, "retrieve"))) == (awaited, looks + number)
        world.advance(10)


async def test_return_after_approval_does_not_ask_to_approve(world: World) -> None:
    await pass_time(world, 300)
    await webhooks(world, "lose")
    await opens(world)
    await fault(world, "retrieve", "500", times=9)
    await world.decide("approve")
    async with world.http.get(page_of(world), params={"redirect_status": "succeeded"}) as page:
        words = await page.text()
    assert "One moment" in words
    assert "Waiting for your approval" not in words


async def test_a_canceled_request_opens_nothing(world: World) -> None:
    world.say("/cancel", reply_to=(await world.message("Waiting for payment"))["message_id"])
    await world.message("Cancelled")
    await idle(world)
    answer = await tap(world)
    assert (answer.headers["Location"], await state(world)) == (f"/p/{payment(world)['page_token']}", "canceled")
    assert calls(world, "confirm") == []


async def test_an_ended_request_opens_nothing_even_before_stripe_said_so(world: World) -> None:
    await pass_time(world, 300)
    await fault(world, "cancel", "500", times=50)
    await pass_time(world, 24 * 3600)
    assert await state(world) in {"expired", "waiting"}
    assert (await tap(world)).headers["Location"] == f"/p/{payment(world)['page_token']}"
    assert calls(world, "confirm") == []


@pytest.mark.parametrize("what", ["retrieve", "confirm"])
async def test_with_stripe_down_the_page_says_when_to_come_back_and_the_next_tap_goes_on(
    world: World, what: str
) -> None:
    await pass_time(world, 300)
    await fault(world, what, "500", times=6)
    answer = await tap(world, Accept="text/html")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    words = await answer.text()
    assert "This attempt took no money" in words
    assert ('<form method="post">' if what == "retrieve" else '<a class="button" href="">') in words
    async with asyncio.timeout(20):
        while (again := await tap(world)).status == 503:
            await asyncio.sleep(0.05)
    assert again.headers["Location"].startswith(world.stripe.base)
    assert (keys(world, "confirm"), money(world)) == (["2"], (1, 0))


async def test_slow_stripe_delays_no_response(world: World) -> None:
    await pass_time(world, 300)
    async with short_timeout(world):
        await fault(world, "retrieve", "timeout", times=20)
        async with asyncio.timeout(8):
            assert (await tap(world)).status == 503
    assert calls(world, "confirm") == []


async def test_nothing_that_is_fetched_changes_anything(world: World) -> None:
    await pass_time(world, 300)
    before = book(world)
    asked = len(world.stripe.store.requests)
    agents = ["TelegramBot (like TwitterBot)", "facebookexternalhit/1.1", "Mozilla/5.0 (iPhone) Mobi", "curl/8", ""]
    paths = ["", "/state", "/qr.svg", "/qr.png", "/receipt", "?lang=da", "?utm_source=x"]
    for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"):
        for path in paths:
            for agent in agents:
                async with world.http.request(method, page_of(world) + path, headers={"User-Agent": agent}) as answer:
                    assert answer.status in {200, 404, 405}
    assert book(world) == before
    assert len(world.stripe.store.requests) == asked


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", "nonsense"])
async def test_cross_site_post_begins_nothing(world: World, site: str) -> None:
    await pass_time(world, 300)
    answer = await tap(world, **{"Sec-Fetch-Site": site})
    assert (answer.status, answer.headers["Location"]) == (303, f"/p/{payment(world)['page_token']}")
    assert calls(world, "confirm") == []


async def test_without_the_header_and_with_a_null_origin_the_tap_counts(world: World) -> None:
    await pass_time(world, 300)
    async with world.http.post(page_of(world), headers={"Origin": "null"}, allow_redirects=False) as answer:
        assert answer.headers["Location"].startswith(world.stripe.base)


async def test_repeated_posts_meet_a_limit_with_retry_after(world: World) -> None:
    statuses = [(await tap(world)).status for _ in range(14)]
    assert statuses == [303] * 8 + [429] * 6
    stopped = await tap(world, Accept="text/html")
    assert stopped.headers["Retry-After"] == "60"
    assert "Try again in 60 seconds" in await stopped.text()
    world.advance(61)
    assert (await tap(world)).status == 303


async def test_behind_a_proxy_of_ours_each_visitor_is_counted_for_himself(world: World) -> None:
    for number in range(10):
        world.say(f"/pay 20 Number {number}")
        await world.message(f"Number {number}")
    await idle(world)
    tokens = [row["page_token"] for row in rows(world, "SELECT page_token FROM payments")]

    async def taps(token: str, visitor: str) -> int:
        headers = PHONE | {"X-Forwarded-For": f"6.6.6.6, {visitor}"}
        url = f"{world.service.base}/p/{token}"
        async with world.http.post(url, headers=headers, allow_redirects=False) as answer:
            return answer.status

    for token in tokens[:10]:
        assert [await taps(token, "198.51.100.1") for _ in range(6)] == [303] * 6
    assert await taps(tokens[10], "198.51.100.1") == 429
    assert await taps(tokens[10], "198.51.100.2") == 303
