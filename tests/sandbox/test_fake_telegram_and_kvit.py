"""Kvit's messenger and polling against the fake Telegram."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from bot.telegram.http_client import AiohttpRequest
from bot.telegram.messenger import TelegramMessenger
from bot.telegram.polling import Polling, WebhookConflict
from handlers.telegram.messenger import Button, DeliveryError, Message
from storage.database.database import Database
from storage.job_queue import JobQueue
from storage.models.payment import ChatTarget
from tests.support.fake_telegram_client import FakeTelegramClient, start_client

GUEST = 4242
GROUP = -4001
MESSAGE = Message("<b>125,00 kr.</b> open", ((Button("Cancel", data="c:1"), Button("Copy link", copy="https://a.dk")),))


@pytest.fixture
async def client(clock: FakeClock) -> AsyncIterator[FakeTelegramClient]:
    async with start_client(clock) as running:
        yield running


@pytest.fixture
async def telegram_request(client: FakeTelegramClient) -> AsyncIterator[AiohttpRequest]:
    request = AiohttpRequest(client.fake.token, base=client.fake.base)
    yield request
    await request.shutdown()


@pytest.fixture
async def messenger(telegram_request: AiohttpRequest) -> TelegramMessenger:
    messenger = TelegramMessenger(telegram_request)
    await messenger.get_me()
    return messenger


async def send_error(messenger: TelegramMessenger, chat_id: int, thread: int | None = None) -> DeliveryError:
    with pytest.raises(DeliveryError) as error:
        await messenger.send(ChatTarget(chat_id, thread), MESSAGE)
    return error.value


async def test_messenger_sends_edits_and_answers_a_callback(
    client: FakeTelegramClient, messenger: TelegramMessenger
) -> None:
    assert messenger.username == client.fake.username
    message_id = await messenger.send(ChatTarget(client.chat), MESSAGE, reply_to=999)
    await messenger.edit(ChatTarget(client.chat), message_id, MESSAGE)
    await messenger.edit(ChatTarget(client.chat), message_id, Message("<b>125,00 kr.</b> paid"))
    assert client.message(message_id)["text"] == "125,00 kr. paid"
    assert "reply_markup" not in client.message(message_id)
    number = client.fake.press_button(message_id, client.fake.owner_id, "c:1")
    await messenger.answer_callback(number, "Too late")
    assert (client.fake.state.callback_queries[number].answer or {})["text"] == "Too late"


async def test_messenger_distinguishes_permanent_and_temporary_errors(
    client: FakeTelegramClient, messenger: TelegramMessenger
) -> None:
    client.fake.send(GUEST, GUEST, "/start")
    await client.control("block", {"user_id": GUEST, "blocked": True})
    assert (await send_error(messenger, GUEST)).permanent
    assert (await send_error(messenger, 5)).permanent
    await client.control("faults", {"method": "sendMessage", "how": "429", "retry_after": 137})
    assert (await send_error(messenger, client.chat)).retry_after == 137
    await client.control("faults", {"method": "sendMessage", "when": "after", "how": "drop"})
    assert (await send_error(messenger, client.chat)).outcome_unknown


async def test_messenger_recognizes_a_migrated_group_and_a_missing_topic(
    client: FakeTelegramClient, messenger: TelegramMessenger
) -> None:
    client.fake.send(GROUP, GUEST, "/start")
    new_chat = (await client.control("migrate", {"chat_id": GROUP}))["chat_id"]
    assert (await send_error(messenger, GROUP)).moved_to == new_chat
    await client.control("messages", {"chat_id": new_chat, "from_id": GUEST, "text": "/start", "message_thread_id": 7})
    await messenger.send(ChatTarget(new_chat, 7), MESSAGE)
    assert (await send_error(messenger, new_chat, 8)).message_gone


async def test_polling_stores_a_redelivered_update_once(
    client: FakeTelegramClient, telegram_request: AiohttpRequest, db: Database, clock: FakeClock
) -> None:
    polling = Polling(telegram_request, JobQueue(db, "inbox"), clock, on_reachable=lambda _: None, long_poll=0)
    sent = await client.control("messages", {"chat_id": GUEST, "from_id": GUEST, "text": "/pay 125"})
    assert await polling.poll_once() == 1
    await client.control("redeliver", {"update_id": sent["update_id"]})
    assert await polling.poll_once() == 0
    await client.call("setWebhook", url="http://127.0.0.1:9/telegram/webhook")
    with pytest.raises(WebhookConflict):
        await polling.poll_once()
