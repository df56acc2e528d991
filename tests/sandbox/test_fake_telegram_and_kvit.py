"""Kvit's own messenger and intake against the pretend Telegram: each trouble is told in our words."""

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
from tests.support.fake_telegram_client import Talk, opened

GUEST = 4242
GROUP = -4001
CARD = Message("<b>125,00 kr.</b> open", ((Button("Cancel", data="c:1"), Button("Copy link", copy="https://a.dk")),))


@pytest.fixture
async def talk(clock: FakeClock) -> AsyncIterator[Talk]:
    async with opened(clock) as running:
        yield running


@pytest.fixture
async def request_to(talk: Talk) -> AsyncIterator[AiohttpRequest]:
    request = AiohttpRequest(talk.fake.token, base=talk.fake.base)
    yield request
    await request.shutdown()


@pytest.fixture
async def messenger(request_to: AiohttpRequest) -> TelegramMessenger:
    messenger = TelegramMessenger(request_to)
    await messenger.get_me()
    return messenger


async def failure(messenger: TelegramMessenger, chat_id: int, thread: int | None = None) -> DeliveryError:
    with pytest.raises(DeliveryError) as failed:
        await messenger.send(ChatTarget(chat_id, thread), CARD)
    return failed.value


async def test_a_card_lives_through_edits_and_a_tap(talk: Talk, messenger: TelegramMessenger) -> None:
    assert messenger.username == talk.fake.username
    card = await messenger.send(ChatTarget(talk.chat), CARD, reply_to=999)
    await messenger.edit(ChatTarget(talk.chat), card, CARD)
    await messenger.edit(ChatTarget(talk.chat), card, Message("<b>125,00 kr.</b> paid"))
    assert talk.shown(card)["text"] == "125,00 kr. paid"
    assert "reply_markup" not in talk.shown(card)
    number = talk.fake.press_button(card, talk.fake.owner_id, "c:1")
    await messenger.answer_callback(number, "Too late")
    assert (talk.fake.state.callback_queries[number].answer or {})["text"] == "Too late"


async def test_what_will_never_arrive_is_told_apart_from_what_has_to_wait(
    talk: Talk, messenger: TelegramMessenger
) -> None:
    talk.fake.send(GUEST, GUEST, "/start")
    await talk.control("block", {"user_id": GUEST, "blocked": True})
    assert (await failure(messenger, GUEST)).permanent
    assert (await failure(messenger, 5)).permanent
    await talk.control("faults", {"method": "sendMessage", "how": "429", "retry_after": 137})
    assert (await failure(messenger, talk.chat)).retry_after == 137
    await talk.control("faults", {"method": "sendMessage", "when": "after", "how": "drop"})
    assert (await failure(messenger, talk.chat)).outcome_unknown


async def test_a_group_that_moved_and_a_topic_that_is_gone_are_recognised(
    talk: Talk, messenger: TelegramMessenger
) -> None:
    talk.fake.send(GROUP, GUEST, "/start")
    moved = (await talk.control("migrate", {"chat_id": GROUP}))["chat_id"]
    assert (await failure(messenger, GROUP)).moved_to == moved
    await talk.control("messages", {"chat_id": moved, "from_id": GUEST, "text": "/start", "message_thread_id": 7})
    await messenger.send(ChatTarget(moved, 7), CARD)
    assert (await failure(messenger, moved, 8)).message_gone


async def test_updates_are_kept_once_though_they_come_twice(
    talk: Talk, request_to: AiohttpRequest, db: Database, clock: FakeClock
) -> None:
    polling = Polling(request_to, JobQueue(db, "inbox"), clock, long_poll=0)
    said = await talk.control("messages", {"chat_id": GUEST, "from_id": GUEST, "text": "/pay 125"})
    assert await polling.poll_once() == 1
    await talk.control("redeliver", {"update_id": said["update_id"]})
    assert await polling.poll_once() == 0
    await talk.call("setWebhook", url="http://127.0.0.1:9/telegram/webhook")
    with pytest.raises(WebhookConflict):
        await polling.poll_once()
