"""Floods of requests and messages from strangers: payments still go through, and the log stays short."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from storage.errors import DatabaseUnavailable
from storage.job_queue import JobQueue
from tests.support.evidence import idle, rows
from tests.support.invitations import invited, join
from tests.support.page_world import page_of, paged
from tests.support.people import ADMIN, GROUP, open_database, open_shop, press
from tests.support.refund_steps import paid
from tests.support.web_server import doors
from tests.support.world import World, opened
from tests.web.test_error_pages import FailingPages

FLOOD = 200
GUESTS = 5_000_000


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


async def test_flood_of_bad_signatures_delays_no_payment_and_is_logged_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def forge() -> int:
        headers = {"Stripe-Signature": "t=1,v1=00"}
        async with world.http.post(f"{world.service.base}/stripe/webhook", data=b"{}", headers=headers) as answer:
            return answer.status

    flood = asyncio.gather(*(forge() for _ in range(FLOOD)))
    await paid(world)
    assert set(await flood) == {400}
    assert sum("rejected a request to Stripe's webhook" in line for line in caplog.messages) == 1


async def test_flood_of_taps_on_one_page_delays_no_other_payment(clock: FakeClock, tmp_path: Path) -> None:
    async with paged(clock, tmp_path) as world:
        page, before = page_of(world), len(world.stripe.store.intents)

        async def post() -> int:
            async with world.http.post(page, allow_redirects=False) as answer:
                return answer.status

        flood = asyncio.gather(*(post() for _ in range(FLOOD)))
        await paid(world)
        assert set(await flood) <= {303, 429}
        assert len(world.stripe.store.intents) == before + 1


def guests_answered(world: World, text: str) -> list[int]:
    """The ids of the guests who got this answer, one per message."""
    return [int(e.params["chat_id"]) for e in world.sent(text) if int(e.params["chat_id"]) >= GUESTS]


async def test_guests_are_answered_within_limits_and_members_always(world: World) -> None:
    for number in range(60):
        world.say("/id", by=GUESTS + number)
    for _ in range(30):
        world.say("/id", by=GUESTS)
    await paid(world)
    await idle(world)
    answered = guests_answered(world, "Your Telegram ID is")
    assert len(answered) == 40
    for _ in range(2):
        world.advance(61)
        for _ in range(30):
            world.say("/id", by=GUESTS)
        await idle(world)
    assert guests_answered(world, "Your Telegram ID is").count(GUESTS) == 21


async def test_guests_who_block_the_bot_cause_no_warnings_and_no_dead_jobs(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(30):
        world.say("/id", by=GUESTS + number)
        await world.control("telegram", "block", {"user_id": GUESTS + number})
    await paid(world)
    await idle(world)
    assert world.sent("could not finish") == []
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    async with open_database(world) as db:
        assert await JobQueue(db, "outbox").dead_count() == 0
    assert rows(world, "SELECT * FROM chat_status") == []


async def test_invalid_start_payloads_count_and_a_valid_invitation_gets_through(world: World) -> None:
    token = await invited(world)
    for number in range(50):
        world.say(f"/start invite-{number:032}", by=GUESTS + number)
        world.say(f"/start claim-{number:022}", by=GUESTS + number)
    await idle(world)
    assert len(guests_answered(world, "Nothing was changed")) == 40
    assert (await join(world, token, by=GUESTS + 99))["text"].startswith("You are now merchant of Kvit.")


async def test_callbacks_and_inline_queries_of_one_guest_are_limited(world: World) -> None:
    world.say("/pay 125", chat=GROUP)
    payment_message = await world.message("Waiting for payment", chat=GROUP)
    data = payment_message["reply_markup"]["inline_keyboard"][-1][-1]["callback_data"]
    for number in range(50):
        press(world, payment_message, data, by=GUESTS)
        await world.control("telegram", "inline", {"from_id": GUESTS, "query": f"{number} DKK"})
    await idle(world)
    methods = {"answerCallbackQuery", "answerInlineQuery"}
    assert sum(entry.method in methods for entry in world.telegram.transcript) == 60
    by_admin = press(world, payment_message, data, by=ADMIN)
    await world.telegram.wait_until(lambda telegram: telegram.state.callback_queries[by_admin].answer)


async def test_requests_while_the_database_is_unavailable_are_logged_once_per_kind(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> bool:
        raise DatabaseUnavailable("locked")

    async with doors(clock, FailingPages(DatabaseUnavailable("locked")), ready={"database": broken}) as client:
        for _ in range(20):
            assert (await client.get("/p/a-token")).status == 503
            assert (await client.get("/readyz")).status == 503
    assert [record.getMessage() for record in caplog.records] == [
        "GET /p/{token}: the database is unavailable",
        "not ready: database (DatabaseUnavailable: locked)",
    ]
