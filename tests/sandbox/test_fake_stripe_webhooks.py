"""Webhooks of the pretend Stripe, and the page on which its customers decide."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.fake_stripe_shop import Shop, opened


@pytest.fixture
async def shop(clock: FakeClock) -> AsyncIterator[Shop]:
    async with opened(clock) as running:
        yield running


async def tries(shop: Shop, count: int) -> list[tuple[int, int | None]]:
    """Attempt and status of the deliveries, once there are `count` of them."""
    async with asyncio.timeout(5):
        while len(shop.fake.store.deliveries) < count:
            await asyncio.sleep(0)
    return [(delivery.attempt, delivery.status) for delivery in shop.fake.store.deliveries]


async def test_events_arrive_signed_at_the_endpoint_that_asked_for_them(shop: Shop) -> None:
    await shop.subscribe("payment_intent.succeeded", "payment_intent.requires_action")
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/approve")
    arrived = await shop.receiver.events(2)
    assert {event["type"] for event in arrived} == {"payment_intent.succeeded", "payment_intent.requires_action"}
    assert all(event["data"]["object"]["id"] == intent.id for event in arrived)
    assert shop.receiver.bodies.empty()


async def test_a_lapse_reaches_the_endpoint_without_anybody_asking(shop: Shop) -> None:
    await shop.subscribe("payment_intent.payment_failed")
    await shop.create()
    shop.clock.advance(300)
    [event] = await shop.receiver.events(1)
    error = event["data"]["object"]["last_payment_error"]
    assert error["code"] == "payment_intent_payment_attempt_expired"


async def test_attempts_lapse_by_themselves_in_real_time_too() -> None:
    async with opened(FakeClock()) as running:
        await running.subscribe("payment_intent.payment_failed")
        running.fake.options.attempt_seconds = 0.05
        await running.create()
        assert len(await running.receiver.events(1)) == 1


async def test_a_refused_webhook_is_sent_three_times_over_a_few_hours(shop: Shop) -> None:
    await shop.subscribe("payment_intent.created")
    shop.receiver.status = 503
    await shop.create()
    assert await tries(shop, 1) == [(1, 503)]
    pending = await shop.sdk.v1.events.list_async({"delivery_success": False})
    assert [event.type for event in pending.data] == ["payment_intent.created"]
    shop.clock.advance(3600)
    assert await tries(shop, 2) == [(1, 503), (2, 503)]
    shop.receiver.status = 200
    shop.clock.advance(7200)
    assert await tries(shop, 3) == [(1, 503), (2, 503), (3, 200)]
    assert (await shop.sdk.v1.events.list_async({"delivery_success": False})).data == []


async def test_an_endpoint_that_is_not_there_is_tried_and_recorded(shop: Shop) -> None:
    shop.hook = "http://127.0.0.1:9/hook"
    await shop.subscribe("payment_intent.created")
    await shop.create()
    assert await tries(shop, 1) == [(1, None)]


async def test_lost_webhooks_are_in_the_list_and_can_be_delivered_by_hand(shop: Shop) -> None:
    await shop.subscribe("payment_intent.created")
    await shop.control("webhooks", {"mode": "lose"})
    await shop.create()
    lost = next(iter(shop.fake.store.events))
    assert shop.receiver.bodies.empty()
    for _ in range(2):
        await shop.control(f"events/{lost}/deliver")
    assert [event["id"] for event in await shop.receiver.events(2)] == [lost, lost]


async def test_held_webhooks_wait_for_release_and_may_come_twice_and_out_of_order(shop: Shop) -> None:
    await shop.subscribe()
    await shop.control("webhooks", {"mode": "hold", "double": True, "shuffle": True})
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/approve")
    assert await shop.control("webhooks/release") == {"released": 4}
    arrived = [event["id"] for event in await shop.receiver.events(8)]
    assert sorted(arrived) == sorted(2 * list(shop.fake.store.events))


async def test_delivery_can_be_off_from_the_start(clock: FakeClock) -> None:
    async with opened(clock, automatic_delivery=False) as running:
        await running.subscribe("payment_intent.created")
        await running.create()
        assert await running.control("webhooks/release") == {"released": 2}
        assert len(await running.receiver.events(1)) == 1


async def page_of(shop: Shop, **changes: str) -> tuple[str, str]:
    """The id of a new intent and the address of its test page."""
    intent = await shop.create(**changes)
    url = shop.fake.store.intents[intent.id]["next_action"]["redirect_to_url"]["url"]
    return intent.id, url


@pytest.mark.parametrize(
    ("answer", "status", "redirect"),
    [("authorize", "succeeded", "succeeded"), ("fail", "requires_payment_method", "failed")],
)
async def test_the_customer_decides_on_the_page_and_is_sent_back(
    shop: Shop, answer: str, status: str, redirect: str
) -> None:
    intent, url = await page_of(shop)
    async with shop.http.get(url) as shown:
        html = await shown.text()
    assert all(words in html for words in ("12.34 DKK", "Two coffees", "Authorize test payment", "Fail test payment"))
    async with shop.http.post(url, data={"answer": answer}, allow_redirects=False) as decided:
        assert decided.status == 303
        query = parse_qs(urlsplit(decided.headers["Location"]).query)
    assert (await shop.retrieve(intent)).status == status
    secret = shop.fake.store.intents[intent]["client_secret"]
    assert query == {
        "lang": ["da"],
        "payment_intent": [intent],
        "payment_intent_client_secret": [secret],
        "redirect_status": [redirect],
    }


async def test_looking_at_the_page_changes_nothing(shop: Shop) -> None:
    intent, url = await page_of(shop)
    before = list(shop.kinds)
    for method in ("GET", "HEAD"):
        async with shop.http.request(method, url) as shown:
            assert shown.status == 200
    assert (shop.kinds, (await shop.retrieve(intent)).status) == (before, "requires_action")


async def test_a_used_or_expired_link_says_so_and_does_nothing(shop: Shop) -> None:
    intent, url = await page_of(shop)
    shop.clock.advance(300)
    async with shop.http.post(url, data={"answer": "authorize"}) as late:
        assert late.status == 410
        assert "expired" in await late.text()
    assert (await shop.retrieve(intent)).status == "requires_payment_method"
    _, used = await page_of(shop)
    async with shop.http.post(used, data={"answer": "authorize"}, allow_redirects=False):
        pass
    async with shop.http.get(used) as again:
        assert (again.status, "cannot be used again" in await again.text()) == (410, True)


async def test_the_page_shows_what_merchants_write_as_text(shop: Shop) -> None:
    _, url = await page_of(shop, description="<script>alert(1)</script>")
    async with shop.http.get(url) as shown:
        html = await shown.text()
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html


async def test_a_link_nobody_made_is_not_found(shop: Shop) -> None:
    async with shop.http.get(f"{shop.fake.base}/test/authorize/acct_x/pa_nonce_x") as shown:
        assert shown.status == 404


async def test_a_customer_may_be_approved_after_the_link_expired_while_stripe_has_not_noticed(shop: Shop) -> None:
    await shop.control("options", {"expiry_delay": 60})
    intent, url = await page_of(shop)
    shop.clock.advance(330)
    assert (await shop.retrieve(intent)).status == "requires_action"
    async with shop.http.get(url) as shown:
        assert shown.status == 410
    await shop.control(f"intents/{intent}/approve")
    assert (await shop.retrieve(intent)).status == "succeeded"
