"""A group that migrates, and a chat that lets the bot in again: what they bring with them, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.app import Service
from bot.sandbox.shared.fake_clock import FakeClock
from handlers.telegram.rate_limit import TelegramRateLimiter
from storage.schema.types import metadata
from tests.chaos.crash_world import CrashWorld, crash_world
from tests.chaos.stop_points import StopPoint
from tests.invariants.checker import violations
from tests.support.evidence import cards, eventually, idle, pass_time, rows
from tests.support.people import (
    ADMIN,
    GROUP,
    MERCHANT,
    advance_until,
    break_telegram,
    caught_up,
    dead_letters,
    open_shop,
    reply,
    reply_text,
    shown,
    wait_for_dead_letters,
)
from tests.support.refund_steps import paid, ref_of, texts, wait_for_text
from tests.support.world import Json, World, opened


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


async def migrated(world: World) -> int:
    return int((await world.control("telegram", "migrate", {"chat_id": GROUP}))["chat_id"])


async def test_service_killed_right_after_a_migration_shows_every_open_payment(tmp_path: Path) -> None:
    async with crash_world(tmp_path) as world:
        for text in ("/pay 125 Tea", "/pay 40 Bun"):
            world.say(text, by=MERCHANT, chat=GROUP)
        await world.wait_until_idle()

        async def kill(point: StopPoint) -> None:
            moved = rows(world, "SELECT 1 FROM chat_status WHERE moved_to IS NOT NULL")
            if moved and (point.name, point.when) == ("commit", "after") and not world.crashes:
                world.process.crashed.set()

        world.process.trap = kill
        restarting = asyncio.create_task(world.restart_after_crashes())
        try:
            new = await migrated(world)
            await world.pass_time(5, 5)
        finally:
            restarting.cancel()
        assert len(world.crashes) == 1
        assert sorted(one.splitlines()[1] for one in texts(world, new)) == ["DKK 125.00 – Tea", "DKK 40.00 – Bun"]


async def test_every_row_of_a_group_moves_with_it(world: World) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
    world.say(f"/refund {ref}", by=MERCHANT, chat=GROUP)
    await wait_for_text(world, "asks to refund", GROUP)
    await reply(world, world.say("/pay 1.234", by=MERCHANT, chat=GROUP), "Which amount", chat=GROUP)
    tables = [table.name for table in metadata.tables.values() if "chat_id" in table.c and table.name != "chat_status"]

    def counts(chat_id: int) -> dict[str, int]:
        query = "SELECT count(*) AS n FROM {} WHERE chat_id = :chat"
        return {name: rows(world, query.format(name), chat=chat_id)[0]["n"] for name in tables}

    before = counts(GROUP)
    assert all(before.values()), "each table with a chat has a row of this group"
    new = await migrated(world)
    await idle(world)
    assert counts(new) == before | {"question_messages": 0}  # message ids mean other messages there
    assert not any(counts(GROUP).values())
    said = world.say("/setup NEW Other", chat=new)
    assert "Nothing was changed" in (await reply(world, said, chat=new))["text"]


async def test_paid_overtakes_the_payment_messages_that_are_shown_again(world: World) -> None:
    number = 24
    for item in range(number):
        said = world.say(f"/pay 125 Tea {item}", by=MERCHANT, chat=GROUP)
        await reply(world, said, "Waiting for payment", chat=GROUP)
    await idle(world)
    world.advance(245)  # from now on no link grows stale, so nothing but the migration changes the messages
    await idle(world)
    await world.stop()
    world.service = Service(world.settings, world.clock, rate_limiter=TelegramRateLimiter())
    await world.service.start()
    new = await migrated(world)

    def reposts() -> int:
        return sum("· TEST" in one for one in texts(world, new))

    await advance_until(world, lambda: reposts() >= 4, step=1)
    began = world.clock.now()
    await world.decide("approve", 0)
    await advance_until(world, lambda: any("✅ Paid:" in one for one in texts(world, new)), step=1)
    assert (world.clock.now() - began).total_seconds() < 10
    waiting = rows(world, "SELECT key FROM jobs WHERE state = 'pending' AND ordering_key LIKE '%:reposts'")
    assert reposts() < number
    assert reposts() + len(waiting) == number
    assert sum("✅ Paid:" in one for one in texts(world, new)) == 1


SHUT_OUT: list[tuple[str, int, Json, str, Json]] = [
    ("kick", GROUP, {"chat_id": GROUP}, "add", {"chat_id": GROUP, "from_id": MERCHANT}),
    (
        "mute",
        GROUP,
        {"chat_id": GROUP, "from_id": MERCHANT},
        "mute",
        {"chat_id": GROUP, "from_id": MERCHANT, "muted": False},
    ),
    ("block", MERCHANT, {"user_id": MERCHANT}, "block", {"user_id": MERCHANT, "blocked": False}),
]


@pytest.mark.parametrize(("out", "chat", "body", "back", "again"), SHUT_OUT)
async def test_chat_that_lets_the_bot_in_again_hears_what_was_set_aside_once(
    world: World, out: str, chat: int, body: Json, back: str, again: Json
) -> None:
    message = await reply(world, world.say("/pay 125 Tea", by=MERCHANT, chat=chat), "Waiting for payment", chat=chat)
    other = await reply(world, world.say("/pay 40 Bun", by=MERCHANT, chat=chat), "Waiting for payment", chat=chat)
    await world.control("telegram", out, body)
    await world.decide("approve", 0)
    await world.decide("decline", 1)
    await world.message("the chat is unavailable")
    await wait_for_dead_letters(world, 4)
    await world.control("telegram", back, again)
    await wait_for_text(world, "✅ Paid:", chat)
    await idle(world)
    now = {one["message_id"]: one["text"].splitlines()[0] for one in shown(world, chat)}
    assert now[message["message_id"]] == "✅ Paid · TEST"
    assert now[other["message_id"]].startswith("❌")
    assert [one.startswith("✅ Paid:") for one in now.values()].count(True) == 1
    assert await dead_letters(world) == []
    await world.control("telegram", out, body)
    await world.control("telegram", back, again)
    await caught_up(world, chat, by=MERCHANT)
    assert [one.startswith("✅ Paid:") for one in texts(world, chat)].count(True) == 1


async def test_group_that_is_unmuted_unseen_hears_it_when_somebody_speaks(world: World) -> None:
    await reply(world, world.say("/pay 125 Tea", by=MERCHANT, chat=GROUP), "Waiting for payment", chat=GROUP)
    world.telegram.state.chats[GROUP].bot_status = "restricted"
    await world.decide("approve")
    await wait_for_dead_letters(world, 1)
    world.say("/status", by=MERCHANT, chat=GROUP)
    await wait_for_dead_letters(world, 2)
    assert len([one for one in texts(world) if "the chat is unavailable" in one]) == 1
    world.telegram.state.chats[GROUP].bot_status = "member"
    await caught_up(world, GROUP, by=MERCHANT)
    await wait_for_text(world, "✅ Paid:", GROUP)
    assert not any("Everything is working" in one for one in texts(world, GROUP))


async def test_answers_of_a_chat_that_was_closed_are_not_sent_later_and_news_of_money_to_admins_are(
    world: World,
) -> None:
    await paid(world)
    await reply_text(world, "/status", by=ADMIN)
    await world.control("telegram", "block", {"user_id": ADMIN})
    await world.control("stripe", f"intents/{world.intent()['id']}/dispute", {})
    await wait_for_dead_letters(world, 1)
    await world.control("telegram", "block", {"user_id": ADMIN, "blocked": False})
    await wait_for_text(world, "dispute", ADMIN)
    assert await dead_letters(world) == []


async def test_payment_message_that_was_not_sent_before_the_migration_is_sent_after_it(world: World) -> None:
    await break_telegram(world, "sendMessage", "429", retry_after=30)
    world.say("/pay 125 Tea", by=MERCHANT, chat=GROUP)
    await world.until(lambda: world.stripe.store.intents)
    new = await migrated(world)
    await caught_up(world, ADMIN, by=ADMIN)
    await world.decide("approve")
    await advance_until(world, lambda: rows(world, "SELECT 1 FROM payments WHERE status = 'succeeded'"))
    await pass_time(world, 60)
    [message] = [one for one in shown(world, new) if "125.00" in one["text"] and "Tea" in one["text"]]
    assert message["text"].startswith("✅ Paid")


async def migrate_during_send(world: CrashWorld, when: str) -> None:
    """The group migrates before or after its first message is sent, and Kvit knows that before the send returns."""

    async def migrate(point: StopPoint) -> None:
        if point == StopPoint(1, when, "send"):
            await migrated(world)
            await eventually(lambda: rows(world, "SELECT 1 FROM chat_status WHERE moved_to IS NOT NULL"))

    world.process.trap = migrate
    world.say("/pay 125 Tea", by=MERCHANT, chat=GROUP)


async def test_send_refused_because_the_group_migrated_leaves_the_count_of_sends_right(tmp_path: Path) -> None:
    async with crash_world(tmp_path, crash_at=(StopPoint(2, "after", "send"),)) as world:
        await migrate_during_send(world, "before")
        await world.process.crashed.wait()
        await world.crash()
        await world.begin()
        await world.wait_until_idle()
        assert [line for line in violations(world.evidence()) if "was requested in chat" not in line] == []
        assert [row["send_attempts"] for row in rows(world, "SELECT * FROM payment_messages")] == [2]


async def test_message_sent_to_a_group_that_migrated_meanwhile_is_sent_to_the_new_one(tmp_path: Path) -> None:
    async with crash_world(tmp_path) as world:
        await migrate_during_send(world, "after")
        await world.wait_until_idle()
        [old, new] = cards(world)
        assert (old.params["chat_id"], new.params["chat_id"]) == (GROUP, new.result["chat"]["id"])
        [stored] = rows(world, "SELECT * FROM payment_messages")
        assert (stored["chat_id"], stored["message_id"]) == (new.params["chat_id"], new.result["message_id"])
