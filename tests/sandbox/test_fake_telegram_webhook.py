"""Webhook delivery of the fake Telegram: order, retries, expiry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.fake_telegram_client import FakeTelegramClient, start_client

GUEST = 4242


@dataclass
class Receiver:
    """A bot's webhook; responds with the next of `responses`, then with 200."""

    url: str = ""
    responses: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    bodies: asyncio.Queue[tuple[str, Any]] = field(default_factory=asyncio.Queue)

    async def receive(self, request: web.Request) -> web.Response:
        secret = request.headers.get("X-Telegram-Bot-Api-Secret-Token", "")
        await self.bodies.put((secret, await request.json()))
        status, headers = self.responses.pop(0) if self.responses else (200, {})
        return web.Response(status=status, headers=headers)

    async def next(self) -> Any:
        """The next received update."""
        return (await asyncio.wait_for(self.bodies.get(), 5))[1]


@pytest.fixture
async def client(clock: FakeClock) -> AsyncIterator[FakeTelegramClient]:
    async with start_client(clock) as running:
        yield running


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    hook = Receiver()
    app = web.Application()
    app.router.add_post("/telegram/webhook", hook.receive)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hook.url = f"http://127.0.0.1:{runner.addresses[0][1]}/telegram/webhook"
    yield hook
    await runner.cleanup()


async def wait_for_requests(client: FakeTelegramClient, count: int) -> None:
    """Wait until `count` requests have been answered, and check that no more follow."""
    await client.fake.wait_until(lambda t: len(t.delivery.requests) >= count)
    await asyncio.sleep(0.05)
    assert len(client.fake.delivery.requests) == count


async def test_webhook_gets_updates_with_the_secret_once(client: FakeTelegramClient, receiver: Receiver) -> None:
    client.fake.send(GUEST, GUEST, "before")
    await client.call("setWebhook", url=receiver.url, secret_token="s3cret", max_connections=10)
    client.fake.send(GUEST, GUEST, "after")
    secret, first = await receiver.bodies.get()
    assert (secret, first["message"]["text"]) == ("s3cret", "before")
    assert (await receiver.next())["message"]["text"] == "after"
    await client.fake.wait_until(lambda t: len(t.delivery.requests) == 2)
    assert "s3cret" not in str(await client.control("transcript"))
    info = await client.call("getWebhookInfo")
    assert (info["url"], info["pending_update_count"], info["max_connections"]) == (receiver.url, 0, 10)


async def test_polling_is_rejected_while_a_webhook_is_set(client: FakeTelegramClient, receiver: Receiver) -> None:
    poll = asyncio.create_task(client.error_of("getUpdates", timeout=25))
    await client.fake.wait_until(lambda t: t.open_polls)
    await client.call("setWebhook", url=receiver.url)
    assert await poll == "Conflict: terminated by setWebhook request"
    assert "while webhook is active" in await client.error_of("getUpdates")
    await client.call("deleteWebhook")
    assert await client.call("getUpdates") == []


async def test_failing_update_delays_only_its_own_chat(client: FakeTelegramClient, receiver: Receiver) -> None:
    receiver.responses = [(500, {}), (503, {})]
    await client.call("setWebhook", url=receiver.url)
    client.fake.send(GUEST, GUEST, "one")
    assert (await receiver.next())["message"]["text"] == "one"
    client.fake.send(GUEST, GUEST, "two")
    assert (await receiver.next())["message"]["text"] == "one"
    client.fake.send(7, 7, "other")
    assert (await receiver.next())["message"]["text"] == "other"
    await wait_for_requests(client, 3)
    info = await client.call("getWebhookInfo")
    assert info["last_error_message"] == "Wrong response from the webhook: 503 Service Unavailable"
    client.clock.advance(2)
    assert [(await receiver.next())["message"]["text"] for _ in range(2)] == ["one", "two"]


async def test_failed_delivery_is_retried_with_backoff_until_the_update_expires(
    client: FakeTelegramClient, receiver: Receiver
) -> None:
    receiver.responses = [(500, {})] * 50
    await client.call("setWebhook", url=receiver.url)
    message_id = await client.send()
    client.fake.press_button(message_id, client.fake.owner_id, "x")
    await wait_for_requests(client, 2)
    for count, seconds in enumerate((2, 4, 8, 16, 32), start=3):
        client.clock.advance(seconds)
        await wait_for_requests(client, count)
    client.clock.advance(120)
    await client.fake.wait_until(lambda t: not t.state.updates.pending())


async def test_retry_after_of_the_webhook_is_honoured(client: FakeTelegramClient, receiver: Receiver) -> None:
    receiver.responses = [(503, {"Retry-After": "30"})]
    await client.call("setWebhook", url=receiver.url)
    client.fake.send(GUEST, GUEST, "hello")
    await wait_for_requests(client, 1)
    client.clock.advance(29)
    await wait_for_requests(client, 1)
    client.clock.advance(1)
    await wait_for_requests(client, 2)


async def test_undelivered_update_can_be_polled_after_the_webhook_is_deleted(
    client: FakeTelegramClient, receiver: Receiver
) -> None:
    receiver.responses = [(500, {})] * 9
    await client.call("setWebhook", url=receiver.url)
    client.fake.send(GUEST, GUEST, "hello")
    await wait_for_requests(client, 2)
    await client.call("deleteWebhook")
    assert [message["text"] for message in await client.updates()] == ["hello"]
    client.clock.advance(1)
    await client.call("setWebhook", url=receiver.url, drop_pending_updates=True)
    assert (await client.call("getWebhookInfo"))["pending_update_count"] == 0


async def test_set_webhook_checks_url_secret_and_rate(client: FakeTelegramClient) -> None:
    assert "bad webhook" in await client.error_of("setWebhook", url="ftp://example.dk")
    client.clock.advance(1)
    error = await client.error_of("setWebhook", url="https://example.dk", secret_token="ø")
    assert error == "Bad Request: secret token contains unallowed characters"
    assert await client.error_of("setWebhook", url="https://example.dk") == "Too Many Requests: retry after 1"


async def test_retry_interval_is_one_to_two_minutes_after_a_minute_of_failures(
    client: FakeTelegramClient, receiver: Receiver
) -> None:
    receiver.responses = [(500, {})] * 50
    await client.call("setWebhook", url=receiver.url)
    client.fake.send(GUEST, GUEST, "hello")
    await wait_for_requests(client, 2)
    for count, seconds in enumerate((2, 4, 8, 16, 32), start=3):
        client.clock.advance(seconds)
        await wait_for_requests(client, count)
    for count in (8, 9, 10):
        client.clock.advance(59)
        await wait_for_requests(client, count - 1)
        client.clock.advance(61)
        await wait_for_requests(client, count)


async def test_new_webhook_url_gets_undelivered_updates_at_once(client: FakeTelegramClient, receiver: Receiver) -> None:
    receiver.responses = [(307, {"Location": receiver.url}), (307, {"Location": receiver.url})]
    await client.call("setWebhook", url=receiver.url)
    client.fake.send(GUEST, GUEST, "hello")
    await wait_for_requests(client, 2)
    client.clock.advance(1)
    await client.call("setWebhook", url=receiver.url + "?new=1")
    await wait_for_requests(client, 3)
    assert not client.fake.state.updates.pending()
