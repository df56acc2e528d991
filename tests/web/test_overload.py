"""Strangers in floods: payments go through meanwhile, and the log stays readable."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from storage.errors import DatabaseUnavailable
from storage.job_queue import JobQueue
from tests.support.evidence import rest, rows
from tests.support.invitations import invited, join
from tests.support.page_world import page_of, paged
from tests.support.people import ADMIN, GROUP, book, open_shop, press
from tests.support.refund_steps import paid
from tests.support.web_server import doors
from tests.support.world import World, opened
from tests.web.test_error_pages import Lost

FLOOD = 200
STRANGERS = 5_000_000


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


async def numbers(world: World) -> dict[str, float]:
    """What `/metrics` says."""
    async with world.http.get(f"{world.service.base}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


async def test_bad_signatures_by_the_hundred_hold_up_no_payment_and_are_one_line_in_the_log(
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


async def test_posts_to_a_page_by_the_hundred_hold_up_no_other_payment(clock: FakeClock, tmp_path: Path) -> None:
    async with paged(clock, tmp_path) as world:
        page, before = page_of(world), len(world.stripe.store.intents)

        async def post() -> int:
            async with world.http.post(page, allow_redirects=False) as answer:
                return answer.status

        flood = asyncio.gather(*(post() for _ in range(FLOOD)))
        await paid(world)
        assert set(await flood) <= {303, 429}
        assert len(world.stripe.store.intents) == before + 1


def answered(world: World, text: str) -> list[int]:
    """The strangers who were answered with that, one by one."""
    return [int(e.params["chat_id"]) for e in world.sent(text) if int(e.params["chat_id"]) >= STRANGERS]


async def test_strangers_in_private_chats_are_answered_so_often_only_and_members_always(world: World) -> None:
    for number in range(60):
        world.say("/id", by=STRANGERS + number)
    for _ in range(30):
        world.say("/id", by=STRANGERS)
    await paid(world)
    await rest(world)
    heard = answered(world, "Your Telegram ID is")
    assert len(heard) == 40
    for _ in range(2):
        world.advance(61)
        for _ in range(30):
            world.say("/id", by=STRANGERS)
        await rest(world)
    assert answered(world, "Your Telegram ID is").count(STRANGERS) == 21


async def test_strangers_who_write_and_shut_the_bot_out_are_nobodys_trouble(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(30):
        world.say("/id", by=STRANGERS + number)
        await world.control("telegram", "block", {"user_id": STRANGERS + number})
    await paid(world)
    await rest(world)
    assert world.sent("could not finish") == []
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    async with book(world) as db:
        assert await JobQueue(db, "outbox").dead_count() == 0
    assert rows(world, "SELECT * FROM chat_status") == []


async def test_words_that_are_none_count_and_an_invitation_gets_through(world: World) -> None:
    word = await invited(world)
    for number in range(50):
        world.say(f"/start invite-{number:032}", by=STRANGERS + number)
        world.say(f"/start claim-{number:022}", by=STRANGERS + number)
    await rest(world)
    assert len(answered(world, "Nothing was changed")) == 40
    assert (await join(world, word, by=STRANGERS + 99))["text"].startswith("You are now merchant of Kvit.")


async def test_the_taps_and_queries_of_one_stranger_are_looked_at_so_often_only(world: World) -> None:
    world.say("/pay 125", chat=GROUP)
    card = await world.card("Waiting for payment", chat=GROUP)
    data = card["reply_markup"]["inline_keyboard"][-1][-1]["callback_data"]
    for number in range(50):
        press(world, card, data, by=STRANGERS)
        await world.control("telegram", "inline", {"from_id": STRANGERS, "query": f"{number} DKK"})
    await rest(world)
    methods = {"answerCallbackQuery", "answerInlineQuery"}
    assert sum(entry.method in methods for entry in world.telegram.transcript) == 60
    by_admin = press(world, card, data, by=ADMIN)
    await world.telegram.wait_until(lambda telegram: telegram.state.callback_queries[by_admin].answer)


async def test_visits_while_the_database_is_away_are_a_line_of_each_kind(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> bool:
        raise DatabaseUnavailable("locked")

    async with doors(clock, Lost(DatabaseUnavailable("locked")), ready={"database": broken}) as client:
        for _ in range(20):
            assert (await client.get("/p/a-token")).status == 503
            assert (await client.get("/readyz")).status == 503
    assert [record.getMessage() for record in caplog.records] == [
        "GET /p/{token}: the database is unavailable",
        "not ready: database (DatabaseUnavailable: locked)",
    ]
