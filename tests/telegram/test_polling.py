"""Polling: updates are stored before they are confirmed, once each; outages are logged once."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from typing import Any

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from bot.telegram.http_client import AiohttpRequest
from bot.telegram.polling import Polling, WebhookConflict
from storage.database.database import Database
from storage.errors import DatabaseUnavailable
from storage.job_queue import JobQueue
from tests.support.scripted_telegram import TOKEN, Stand

NO_WEBHOOK = {"ok": True, "result": {"url": ""}}
WEBHOOK = {"ok": True, "result": {"url": "https://pay.example.dk/telegram/webhook"}}
OTHER_POLLER = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
HOOK_ACTIVE = "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook first"


def message(update_id: int, chat_id: int = 7, text: str = "/pay 10") -> dict[str, Any]:
    return {"update_id": update_id, "message": {"message_id": 1, "chat": {"id": chat_id}, "text": text}}


def updates(*found: object) -> dict[str, object]:
    return {"ok": True, "result": list(found)}


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    async with Stand() as running:
        yield running


@pytest.fixture
async def request_(stand: Stand) -> AsyncIterator[AiohttpRequest]:
    request = AiohttpRequest(TOKEN, base=stand.base, connect=1)
    yield request
    await request.shutdown()


@pytest.fixture
def inbox(db: Database) -> JobQueue:
    return JobQueue(db, "updates")


class SkippingClock(FakeClock):
    """A clock whose sleep returns at once and records the seconds."""

    def __init__(self) -> None:
        super().__init__(datetime(2026, 11, 24, 12, tzinfo=UTC), frozen=True)
        self.pauses: list[float] = []
        self.on_sleep: Callable[[], object] = lambda: None

    async def sleep(self, seconds: float) -> None:
        """Advances the clock."""
        self.pauses.append(seconds)
        self.on_sleep()
        self.advance(seconds)
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> SkippingClock:
    return SkippingClock()


@pytest.fixture
def polling(request_: AiohttpRequest, inbox: JobQueue, clock: SkippingClock) -> Polling:
    return Polling(request_, inbox, clock, on_reachable=lambda _: None, chance=lambda: 1.0)


async def stored(inbox: JobQueue, clock: SkippingClock) -> list[tuple[str, str, str]]:
    """Bot and update id, ordering key and kind of each stored update."""
    jobs = await inbox.claim(now=clock.now(), limit=100, lease_seconds=60)
    return [("{0}:{2}".format(*job.key.split(":")), job.ordering_key, job.kind) for job in jobs]


@asynccontextmanager
async def running(polling: Polling) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(polling.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_updates_are_stored_unchanged(
    stand: Stand, polling: Polling, inbox: JobQueue, clock: SkippingClock
) -> None:
    update = message(10, text="kaffe \U0001f36a & <te> \udc00") | {"new_field": {"a": [1, None]}}
    stand.say(NO_WEBHOOK)
    stand.say(updates(update))
    assert await polling.poll_once() == 1
    (job,) = await inbox.claim(now=clock.now(), limit=10, lease_seconds=60)
    assert ("{0}:{2}".format(*job.key.split(":")), job.ordering_key, job.kind) == ("4242:10", "7", "message")
    assert json.loads(job.payload) == update


async def test_get_updates_asks_for_the_handled_kinds(stand: Stand, polling: Polling) -> None:
    stand.say(NO_WEBHOOK)
    stand.say(updates())
    await polling.poll_once()
    asked = json.loads(stand.forms[1].pop("allowed_updates"))
    assert asked == ["message", "callback_query", "my_chat_member", "inline_query", "chosen_inline_result"]
    assert stand.forms[1] == {"timeout": "25"}


async def test_update_is_confirmed_after_it_is_stored(stand: Stand, polling: Polling) -> None:
    stand.say(NO_WEBHOOK)
    stand.say(updates(message(10), message(11, 8)))
    stand.say(updates())
    stand.say(updates(message(3)))
    stand.say(updates())
    assert [await polling.poll_once() for _ in range(4)] == [2, 0, 1, 0]
    assert [form.get("offset") for form in stand.forms[1:]] == [None, "12", None, "4"]


async def test_update_is_not_confirmed_while_the_database_is_unavailable(
    stand: Stand,
    request_: AiohttpRequest,
    clock: SkippingClock,
    db: Database,
    caplog: pytest.LogCaptureFixture,
) -> None:
    impatient = Database(f"sqlite:///{db.path}", busy_seconds=0.01)
    inbox = JobQueue(impatient, "updates")
    polling = Polling(request_, inbox, clock, on_reachable=lambda _: None, chance=lambda: 1.0)
    stand.say(NO_WEBHOOK)
    for _ in range(3):
        stand.say(updates(message(10)))
    with closing(sqlite3.connect(db.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailable):
            await polling.poll_once()
        clock.on_sleep = lambda: other.execute("ROLLBACK")
        stand.say(Stand.SILENCE)
        async with running(polling):
            await stand.requests(5)
    assert [form.get("offset") for form in stand.forms[1:]] == [None, None, None, "11"]
    assert clock.pauses == [1]
    assert await stored(inbox, clock) == [("4242:10", "7", "message")]
    assert caplog.text.count("Updates are not confirmed") == 1
    await impatient.close()


async def test_redelivered_update_is_stored_once(
    stand: Stand, polling: Polling, inbox: JobQueue, clock: SkippingClock
) -> None:
    stand.say(NO_WEBHOOK)
    stand.say(updates(message(10), message(10)))
    stand.say(updates(message(10)))
    assert [await polling.poll_once() for _ in range(2)] == [1, 0]
    assert len(await stored(inbox, clock)) == 1


async def test_update_without_id_is_ignored_and_does_not_stop_others(
    stand: Stand, polling: Polling, inbox: JobQueue, clock: SkippingClock, caplog: pytest.LogCaptureFixture
) -> None:
    stand.say(NO_WEBHOOK)
    stand.say(updates("text", {"message": {}}, {"update_id": "9"}, {"update_id": True}, None, message(10)))
    assert await polling.poll_once() == 1
    assert await stored(inbox, clock) == [("4242:10", "7", "message")]
    assert caplog.text.count("was ignored") == 5


async def test_polling_raises_while_a_webhook_is_set(stand: Stand, polling: Polling) -> None:
    stand.say(WEBHOOK)
    with pytest.raises(WebhookConflict, match="take-over-webhook"):
        await polling.ensure_no_webhook()
    stand.say(WEBHOOK)
    with pytest.raises(WebhookConflict):
        await polling.poll_once()
    assert {path.rpartition("/")[2] for path in stand.paths} == {"getWebhookInfo"}


async def test_take_over_removes_the_webhook_and_keeps_pending_updates(
    stand: Stand, request_: AiohttpRequest, inbox: JobQueue, clock: SkippingClock
) -> None:
    polling = Polling(request_, inbox, clock, on_reachable=lambda _: None, take_over=True)
    stand.say(WEBHOOK)
    stand.say({"ok": True, "result": True})
    await polling.ensure_no_webhook()
    assert stand.paths[-1].endswith("/deleteWebhook")
    assert stand.forms[-1] == {"drop_pending_updates": "false"}


async def test_webhook_set_after_a_take_over_is_not_removed(
    stand: Stand, request_: AiohttpRequest, inbox: JobQueue, clock: SkippingClock
) -> None:
    polling = Polling(request_, inbox, clock, on_reachable=lambda _: None, take_over=True)
    stand.say(NO_WEBHOOK)
    stand.refuse(409, HOOK_ACTIVE)
    stand.say(WEBHOOK)
    for _ in range(2):
        with pytest.raises(WebhookConflict):
            await polling.poll_once()
    assert not any("deleteWebhook" in path for path in stand.paths)


@pytest.mark.parametrize(("said", "why"), [(HOOK_ACTIVE, "webhook is set"), (OTHER_POLLER, "another program polls")])
async def test_conflict_is_logged_and_retried_at_long_intervals(
    stand: Stand, polling: Polling, clock: SkippingClock, caplog: pytest.LogCaptureFixture, said: str, why: str
) -> None:
    caplog.set_level(logging.INFO)
    stand.say(NO_WEBHOOK)
    answers: list[object] = [NO_WEBHOOK] if said == HOOK_ACTIVE else []
    for _ in range(2):
        stand.refuse(409, said)
        for answer in answers:
            stand.say(answer)
    stand.say(updates())
    stand.say(Stand.SILENCE)
    async with running(polling):
        await stand.requests(5 + 2 * len(answers))
    assert clock.pauses == [60, 60]
    assert caplog.text.count(why) == 1
    assert caplog.text.count("come in again") == 1


async def test_outage_and_its_end_are_logged_once(
    stand: Stand, polling: Polling, clock: SkippingClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stand.say("<html>", 502)
    stand.say(Stand.RESET)
    stand.say("nonsense")
    stand.say({"ok": False})
    stand.say(NO_WEBHOOK)
    stand.say({"ok": True, "result": {}})
    stand.say(updates("without an id"))
    stand.say(updates())
    stand.say(Stand.SILENCE)
    async with running(polling):
        await stand.requests(9)
    assert clock.pauses == [1, 2, 4, 8, 16, 30]
    assert caplog.text.count("No updates from Telegram") == 1
    assert caplog.text.count("come in again") == 1
    assert [form["timeout"] for form in stand.forms[-2:]] == ["0", "25"]


async def test_retry_after_is_waited_out(stand: Stand, polling: Polling, clock: SkippingClock) -> None:
    stand.say(NO_WEBHOOK)
    stand.refuse(429, "Too Many Requests: retry after 100", retry_after=100)
    stand.say(Stand.SILENCE)
    async with running(polling):
        await stand.requests(3)
    assert clock.pauses == [100]


async def test_rejected_token_is_logged_and_retried_at_long_intervals(
    stand: Stand, polling: Polling, clock: SkippingClock, caplog: pytest.LogCaptureFixture
) -> None:
    stand.refuse(401, f"Unauthorized {TOKEN}")
    stand.say(NO_WEBHOOK)
    stand.say(Stand.SILENCE)
    async with running(polling):
        await stand.requests(3)
    assert clock.pauses == [60]
    assert "rejects the bot's token" in caplog.text
    assert TOKEN not in caplog.text


async def test_canceled_polling_ends_at_once_and_loses_nothing(
    stand: Stand, polling: Polling, inbox: JobQueue, clock: SkippingClock
) -> None:
    stand.say(NO_WEBHOOK)
    stand.say(updates(message(10)))
    stand.say(Stand.SILENCE)
    async with running(polling) as task:
        await stand.requests(3)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=1)
        assert done
    assert await stored(inbox, clock) == [("4242:10", "7", "message")]
