"""How the pretend Telegram brings updates to a webhook: in order, again after failures, and not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.fake_telegram_client import Talk, opened

GUEST = 4242


@dataclass
class Receiver:
    """A bot's webhook; answers with the next of `answers`, then with 200."""

    url: str = ""
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    bodies: asyncio.Queue[tuple[str, Any]] = field(default_factory=asyncio.Queue)

    async def take(self, request: web.Request) -> web.Response:
        secret = request.headers.get("X-Telegram-Bot-Api-Secret-Token", "")
        await self.bodies.put((secret, await request.json()))
        status, headers = self.answers.pop(0) if self.answers else (200, {})
        return web.Response(status=status, headers=headers)

    async def next(self) -> Any:
        """The next update that comes in."""
        return (await asyncio.wait_for(self.bodies.get(), 5))[1]


@pytest.fixture
async def talk(clock: FakeClock) -> AsyncIterator[Talk]:
    async with opened(clock) as running:
        yield running


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    hook = Receiver()
    app = web.Application()
    app.router.add_post("/telegram/webhook", hook.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hook.url = f"http://127.0.0.1:{runner.addresses[0][1]}/telegram/webhook"
    yield hook
    await runner.cleanup()


async def settled(talk: Talk, count: int) -> None:
    """Wait until so many requests have been answered and nothing but `count` is written down."""
    await talk.fake.wait_until(lambda t: len(t.delivery.requests) >= count)
    await asyncio.sleep(0.05)
    assert len(talk.fake.delivery.requests) == count


async def test_updates_come_with_the_secret_and_then_are_gone(talk: Talk, receiver: Receiver) -> None:
    talk.fake.send(GUEST, GUEST, "before")
    await talk.call("setWebhook", url=receiver.url, secret_token="s3cret", max_connections=10)
    talk.fake.send(GUEST, GUEST, "after")
    secret, first = await receiver.bodies.get()
    assert (secret, first["message"]["text"]) == ("s3cret", "before")
    assert (await receiver.next())["message"]["text"] == "after"
    await talk.fake.wait_until(lambda t: len(t.delivery.requests) == 2)
    assert "s3cret" not in str(await talk.control("transcript"))
    info = await talk.call("getWebhookInfo")
    assert (info["url"], info["pending_update_count"], info["max_connections"]) == (receiver.url, 0, 10)


async def test_while_a_webhook_is_set_polling_is_refused(talk: Talk, receiver: Receiver) -> None:
    poll = asyncio.create_task(talk.refused("getUpdates", timeout=25))
    await talk.fake.wait_until(lambda t: t.open_polls)
    await talk.call("setWebhook", url=receiver.url)
    assert await poll == "Conflict: terminated by setWebhook request"
    assert "while webhook is active" in await talk.refused("getUpdates")
    await talk.call("deleteWebhook")
    assert await talk.call("getUpdates") == []


async def test_a_failing_update_holds_up_its_own_chat_only(talk: Talk, receiver: Receiver) -> None:
    receiver.answers = [(500, {}), (503, {})]
    await talk.call("setWebhook", url=receiver.url)
    talk.fake.send(GUEST, GUEST, "one")
    assert (await receiver.next())["message"]["text"] == "one"
    talk.fake.send(GUEST, GUEST, "two")
    assert (await receiver.next())["message"]["text"] == "one"
    talk.fake.send(7, 7, "other")
    assert (await receiver.next())["message"]["text"] == "other"
    await settled(talk, 3)
    info = await talk.call("getWebhookInfo")
    assert info["last_error_message"] == "Wrong response from the webhook: 503 Service Unavailable"
    talk.clock.advance(2)
    assert [(await receiver.next())["message"]["text"] for _ in range(2)] == ["one", "two"]


async def test_failures_are_repeated_ever_more_slowly_until_the_update_is_too_old(
    talk: Talk, receiver: Receiver
) -> None:
    receiver.answers = [(500, {})] * 50
    await talk.call("setWebhook", url=receiver.url)
    card = await talk.send()
    talk.fake.press_button(card, talk.fake.owner_id, "x")
    await settled(talk, 2)
    for count, seconds in enumerate((2, 4, 8, 16, 32), start=3):
        talk.clock.advance(seconds)
        await settled(talk, count)
    talk.clock.advance(120)
    await talk.fake.wait_until(lambda t: not t.state.updates.pending())


async def test_retry_after_is_honoured(talk: Talk, receiver: Receiver) -> None:
    receiver.answers = [(503, {"Retry-After": "30"})]
    await talk.call("setWebhook", url=receiver.url)
    talk.fake.send(GUEST, GUEST, "hello")
    await settled(talk, 1)
    talk.clock.advance(29)
    await settled(talk, 1)
    talk.clock.advance(1)
    await settled(talk, 2)


async def test_what_failed_may_be_polled_after_the_webhook_is_gone(talk: Talk, receiver: Receiver) -> None:
    receiver.answers = [(500, {})] * 9
    await talk.call("setWebhook", url=receiver.url)
    talk.fake.send(GUEST, GUEST, "hello")
    await settled(talk, 2)
    await talk.call("deleteWebhook")
    assert [message["text"] for message in await talk.updates()] == ["hello"]
    talk.clock.advance(1)
    await talk.call("setWebhook", url=receiver.url, drop_pending_updates=True)
    assert (await talk.call("getWebhookInfo"))["pending_update_count"] == 0


async def test_a_webhook_is_checked_before_it_is_set(talk: Talk) -> None:
    assert "bad webhook" in await talk.refused("setWebhook", url="ftp://example.dk")
    talk.clock.advance(1)
    said = await talk.refused("setWebhook", url="https://example.dk", secret_token="ø")
    assert said == "Bad Request: secret token contains unallowed characters"
    assert await talk.refused("setWebhook", url="https://example.dk") == "Too Many Requests: retry after 1"


async def test_after_a_minute_of_failures_the_pause_is_one_to_two_minutes(talk: Talk, receiver: Receiver) -> None:
    receiver.answers = [(500, {})] * 50
    await talk.call("setWebhook", url=receiver.url)
    talk.fake.send(GUEST, GUEST, "hello")
    await settled(talk, 2)
    for count, seconds in enumerate((2, 4, 8, 16, 32), start=3):
        talk.clock.advance(seconds)
        await settled(talk, count)
    for count in (8, 9, 10):
        talk.clock.advance(59)
        await settled(talk, count - 1)
        talk.clock.advance(61)
        await settled(talk, count)


async def test_a_new_address_gets_at_once_what_the_old_one_failed_to_take(talk: Talk, receiver: Receiver) -> None:
    receiver.answers = [(307, {"Location": receiver.url}), (307, {"Location": receiver.url})]
    await talk.call("setWebhook", url=receiver.url)
    talk.fake.send(GUEST, GUEST, "hello")
    await settled(talk, 2)
    talk.clock.advance(1)
    await talk.call("setWebhook", url=receiver.url + "?new=1")
    await settled(talk, 3)
    assert not talk.fake.state.updates.pending()
