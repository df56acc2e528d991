"""Webhooks of the fake Stripe, and its test page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.fake_stripe_shop import Shop, start_shop


@pytest.fixture
async def shop(clock: FakeClock) -> AsyncIterator[Shop]:
    async with start_shop(clock) as running:
        yield running


async def delivery_attempts(shop: Shop, count: int) -> list[tuple[int, int | None]]:
    """Attempt number and status of the deliveries, once there are `count`."""
    async with asyncio.timeout(5):
        while len(shop.fake.store.deliveries) < count:
            await asyncio.sleep(0)
    return [(delivery.attempt, delivery.status) for delivery in shop.fake.store.deliveries]


async def test_signed_events_are_delivered_to_the_subscribed_endpoint(shop: Shop) -> None:
    await shop.subscribe("payment_intent.succeeded", "payment_intent.requires_action")
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/approve")
    arrived = await shop.receiver.events(2)
    assert {event["type"] for event in arrived} == {"payment_intent.succeeded", "payment_intent.requires_action"}
    assert all(event["data"]["object"]["id"] == intent.id for event in arrived)
    assert shop.receiver.bodies.empty()


async def test_expiry_is_delivered_without_an_api_request(shop: Shop) -> None:
    await shop.subscribe("payment_intent.payment_failed")
    await shop.create()
    shop.clock.advance(300)
    [event] = await shop.receiver.events(1)
    error = event["data"]["object"]["last_payment_error"]
    assert error["code"] == "payment_intent_payment_attempt_expired"


async def test_attempt_expires_in_real_time() -> None:
    async with start_shop(FakeClock()) as running:
        await running.subscribe("payment_intent.payment_failed")
        running.fake.options.attempt_seconds = 0.05
        await running.create()
        assert len(await running.receiver.events(1)) == 1


async def test_failed_delivery_is_attempted_three_times_over_hours(shop: Shop) -> None:
    await shop.subscribe("payment_intent.created")
    shop.receiver.status = 503
    await shop.create()
    assert await delivery_attempts(shop, 1) == [(1, 503)]
    pending = await shop.sdk.v1.events.list_async({"delivery_success": False})
    assert [event.type for event in pending.data] == ["payment_intent.created"]
    shop.clock.advance(3600)
    assert await delivery_attempts(shop, 2) == [(1, 503), (2, 503)]
    shop.receiver.status = 200
    shop.clock.advance(7200)
    assert await delivery_attempts(shop, 3) == [(1, 503), (2, 503), (3, 200)]
    assert (await shop.sdk.v1.events.list_async({"delivery_success": False})).data == []


async def test_delivery_to_an_unreachable_endpoint_is_recorded(shop: Shop) -> None:
    shop.hook = "http://127.0.0.1:9/hook"
    await shop.subscribe("payment_intent.created")
    await shop.create()
    assert await delivery_attempts(shop, 1) == [(1, None)]


async def test_lost_event_is_listed_and_can_be_delivered_by_the_control_route(shop: Shop) -> None:
    await shop.subscribe("payment_intent.created")
    await shop.control("webhooks", {"mode": "lose"})
    await shop.create()
    lost = next(iter(shop.fake.store.events))
    assert shop.receiver.bodies.empty()
    for _ in range(2):
        await shop.control(f"events/{lost}/deliver")
    assert [event["id"] for event in await shop.receiver.events(2)] == [lost, lost]


async def test_held_events_are_delivered_on_release_doubled_and_shuffled(shop: Shop) -> None:
    await shop.subscribe()
    await shop.control("webhooks", {"mode": "hold", "double": True, "shuffle": True})
    intent = await shop.create()
    await shop.control(f"intents/{intent.id}/approve")
    assert await shop.control("webhooks/release") == {"released": 4}
    arrived = [event["id"] for event in await shop.receiver.events(8)]
    assert sorted(arrived) == sorted(2 * list(shop.fake.store.events))


async def test_automatic_delivery_can_be_off_from_the_start(clock: FakeClock) -> None:
    async with start_shop(clock, automatic_delivery=False) as running:
        await running.subscribe("payment_intent.created")
        await running.create()
        assert await running.control("webhooks/release") == {"released": 2}
        assert len(await running.receiver.events(1)) == 1


async def page_of(shop: Shop, **changes: str) -> tuple[str, str]:
    """The id of a new intent and the URL of its test page."""
    intent = await shop.create(**changes)
    url = shop.fake.store.intents[intent.id]["next_action"]["redirect_to_url"]["url"]
    return intent.id, url


@pytest.mark.parametrize(
    ("answer", "status", "redirect"),
    [("authorize", "succeeded", "succeeded"), ("fail", "requires_payment_method", "failed")],
)
async def test_decision_on_the_test_page_redirects_to_the_return_url(
    shop: Shop, answer: str, status: str, redirect: str
) -> None:
    intent, url = await page_of(shop)
    async with shop.http.get(url) as shown:
        html = await shown.text()
    assert all(text in html for text in ("12.34 DKK", "Two coffees", "Authorize test payment", "Fail test payment"))
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


async def test_get_of_the_test_page_changes_nothing(shop: Shop) -> None:
    intent, url = await page_of(shop)
    before = list(shop.kinds)
    for method in ("GET", "HEAD"):
        async with shop.http.request(method, url) as shown:
            assert shown.status == 200
    assert (shop.kinds, (await shop.retrieve(intent)).status) == (before, "requires_action")


async def test_used_or_expired_link_returns_410(shop: Shop) -> None:
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


async def test_test_page_escapes_the_description(shop: Shop) -> None:
    _, url = await page_of(shop, description="<script>alert(1)</script>")
    async with shop.http.get(url) as shown:
        html = await shown.text()
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html


async def test_unknown_link_returns_404(shop: Shop) -> None:
    async with shop.http.get(f"{shop.fake.base}/test/authorize/acct_x/pa_nonce_x") as shown:
        assert shown.status == 404


async def test_approval_is_possible_between_expiry_and_its_delayed_detection(shop: Shop) -> None:
    await shop.control("options", {"expiry_delay": 60})
    intent, url = await page_of(shop)
    shop.clock.advance(330)
    assert (await shop.retrieve(intent)).status == "requires_action"
    async with shop.http.get(url) as shown:
        assert shown.status == 410
    await shop.control(f"intents/{intent}/approve")
    assert (await shop.retrieve(intent)).status == "succeeded"
