"""Telegram's update ids start anew after a quiet week; an update with an id that was seen before is a new one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.fake_telegram.users import UserMessage
from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import idle, money, pass_time, rows
from tests.support.people import GROUP, OTHER_GROUP, open_second_shop, open_shop, reply
from tests.support.refund_steps import DAY, paid, ref_of, refund_states, wait_for_text
from tests.support.world import OWNER, Json, World, opened


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path, request_hours=24 * 30) as running:
        await open_shop(running)
        yield running


def command(world: World, text: str, chat: int = OWNER) -> tuple[int, int]:
    """Sends a command of the owner; its message id and its update id."""
    sent = world.telegram.users.send(UserMessage(chat, OWNER, text))
    return int(sent["message_id"]), int(sent["update_id"])


async def tap(world: World, message: Json, data: str) -> tuple[str, int]:
    """Presses a button of the owner's; the answer and the update id."""
    body = {"message_id": message["message_id"], "from_id": OWNER, "data": data, "chat_id": message["chat"]["id"]}
    pressed = await world.control("telegram", "taps", body)
    return await world.answer(pressed["callback_query_id"]), int(pressed["update_id"])


async def wait_quietly(world: World, days: int, next_update_id: int) -> None:
    """Returns after these days without an update; the next update has this id."""
    await idle(world)
    world.telegram.state.updates.restart_at = next_update_id
    await pass_time(world, days * DAY + 60)


@pytest.mark.parametrize("days", [7, 10])
async def test_command_with_an_update_id_of_a_week_ago_is_carried_out(world: World, days: int) -> None:
    """After 7 days the old update is still stored, after 10 it was deleted."""
    sent, update_id = command(world, "/pay 125 Tea")
    await reply(world, sent, "Waiting for payment")
    await wait_quietly(world, days, update_id)
    again, repeated_id = command(world, "/pay 30 Bun")
    assert repeated_id == update_id
    await reply(world, again, "Bun")
    await idle(world)
    assert [intent["amount"] for intent in world.stripe.store.intents.values()] == [12500, 3000]


async def test_refund_with_an_old_update_id_shows_its_own_payment_and_shop(world: World) -> None:
    await open_second_shop(world)
    first = await paid(world, "/pay 125 Tea", chat=GROUP)
    second = await paid(world, "/pay 40 Bun", chat=OTHER_GROUP)
    sent, update_id = command(world, f"/refund {ref_of(first)} 25", GROUP)
    await reply(world, sent, "Refund ", chat=GROUP)
    await wait_quietly(world, 10, update_id)
    again, repeated_id = command(world, f"/refund {ref_of(second)}", OTHER_GROUP)
    assert repeated_id == update_id
    draft = await reply(world, again, "Refund ", chat=OTHER_GROUP)
    assert "Refund €40.00" in draft["text"]
    await world.answer(world.tap(draft, "Refund"))
    await wait_for_text(world, "Refunded:", OTHER_GROUP)
    assert refund_states(world) == [(4000, "succeeded")]


async def test_new_link_with_an_old_update_id_starts_an_attempt_of_its_own_payment(world: World) -> None:
    tea = await reply(world, world.say("/pay 125 Tea"), "Waiting for payment")
    await reply(world, world.say("/pay 30 Bun"), "Waiting for payment")
    await pass_time(world, 400)
    bun = await world.message("Bun", but="expired before")
    ids = [row["id"] for row in rows(world, "SELECT id FROM payments ORDER BY created_at, rowid")]
    _, update_id = await tap(world, tea, f"n:{ids[0]}")
    await wait_quietly(world, 10, update_id)
    _, repeated_id = await tap(world, bun, f"n:{ids[1]}")
    assert repeated_id == update_id
    await idle(world)
    attempts = rows(world, "SELECT payment_id, number FROM attempts WHERE number > 1")
    assert {row["payment_id"] for row in attempts} == set(ids)
    assert money(world) == (2, 0)
