"""A merchant who may not charge a hold asks an admin, who decides; nothing is charged by asking."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import idle
from tests.support.people import (
    ADMIN,
    COLLEAGUE,
    GROUP,
    MERCHANT,
    STRANGER,
    alert_text,
    open_shop,
    press,
    reply,
    reply_text,
)
from tests.support.people import shown as messages_in
from tests.support.refund_steps import held, ref_of, wait_for_text
from tests.support.world import OWNER, World, button, labels, opened


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        await reply_text(running, "/id", by=ADMIN)
        yield running


def captured(world: World) -> bool:
    return str(world.intent()["status"]) == "succeeded"


@pytest.mark.parametrize("how", ["button", "command"])
async def test_merchant_asks_an_admin_who_charges_the_hold(world: World, how: str) -> None:
    message = await held(world, by=MERCHANT, chat=MERCHANT)
    if how == "button":
        await world.answer(world.tap(message, "Charge", by=MERCHANT))
    else:
        world.say(f"/capture {ref_of(message)}", by=MERCHANT)
    refusal = await world.message("Only an admin of the shop can charge", chat=MERCHANT)
    assert labels(refusal) == ["Ask an admin"]
    assert await world.answer(world.tap(refusal, "Ask an admin", by=MERCHANT)) == "The admins have been asked."
    await wait_for_text(world, "admins have been asked to charge", MERCHANT)
    for admin in (ADMIN, OWNER):
        asked = await world.message("asks an admin to charge", chat=admin)
        assert "No money has moved yet" in asked["text"]
    assert not captured(world)
    await world.answer(world.tap(await world.message("asks an admin", chat=ADMIN), "Charge DKK", by=ADMIN))
    question = await world.message("now? The customer pays", chat=ADMIN)
    await world.answer(world.tap(question, "Charge", by=ADMIN))
    await wait_for_text(world, "✅ Paid:", MERCHANT)
    assert captured(world)


async def test_in_a_group_the_request_stands_there_and_only_an_admin_can_answer_it(world: World) -> None:
    message = await held(world, by=MERCHANT, chat=GROUP)
    await world.answer(world.tap(message, "Charge", by=MERCHANT))
    await world.answer(world.tap(await world.message("Only an admin of the shop", chat=GROUP), "Ask", by=MERCHANT))
    asked = await world.message("asks an admin to charge", chat=GROUP)
    assert not [one for one in messages_in(world, ADMIN) if "asks an admin" in one["text"]]
    await world.answer(world.tap(asked, "Charge", by=COLLEAGUE))
    assert "Only an admin" in (await world.message("Only an admin", chat=GROUP))["text"]
    assert f"Your Telegram ID is {STRANGER}" in await alert_text(world, world.tap(asked, "Charge", by=STRANGER))
    await idle(world)
    assert not captured(world)


async def test_merchant_who_asks_again_and_again_is_one_message_a_day_to_each_admin(world: World) -> None:
    message = await held(world, by=MERCHANT, chat=MERCHANT)
    for _ in range(5):
        world.say(f"/capture {ref_of(message)}", by=MERCHANT)
        refusal = await world.message("Only an admin of the shop can charge", chat=MERCHANT)
        await world.answer(world.tap(refusal, "Ask an admin", by=MERCHANT))
        await idle(world)
    assert len([one for one in messages_in(world, ADMIN) if "asks an admin" in one["text"]]) == 1


async def test_request_for_what_is_not_reserved_any_more_reaches_nobody(world: World) -> None:
    message = await held(world, by=MERCHANT, chat=MERCHANT)
    await world.answer(world.tap(message, "Charge", by=MERCHANT))
    refusal = await world.message("Only an admin of the shop can charge", chat=MERCHANT)
    data = button(refusal, "Ask")["callback_data"]
    await reply(world, world.say(f"/release {ref_of(message)}", by=MERCHANT), chat=MERCHANT)
    await world.answer(world.tap(await world.message("Release", chat=MERCHANT), "Release", by=MERCHANT))
    await wait_for_text(world, "was released", MERCHANT)
    assert await alert_text(world, press(world, refusal, data, by=MERCHANT))
    await reply_text(world, "/id", by=ADMIN)
    assert not [one for one in messages_in(world, ADMIN) if "asks an admin" in one["text"]]
