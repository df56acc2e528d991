"""The everyday commands beside `/pay`: what is open, the same once more, the texts every bot has, the first owner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.app import Service
from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.world import OWNER, World, labels, opened

GUEST, OTHER = 4242, 4343


async def test_open_requests_are_listed_in_pages_newest_first(world: World) -> None:
    for number in range(10):
        world.say(f"/pay {10 + number} DKK Number {number}")
        await world.message(f"Number {number}")
        world.advance(1)
    world.say("/open")
    first = await world.message("Open requests")
    assert [f"Number {n}" in first["text"] for n in range(10)] == [False, False] + [True] * 8
    assert first["text"].index("Number 9") < first["text"].index("Number 2")
    assert [label[0] for label in labels(first)] == ["#"] * 8 + ["O"]
    world.tap(first, "Older")
    second = await world.message("Open requests", but="Number 9")
    assert ("Number 1" in second["text"], "Number 0" in second["text"], labels(second)[-1]) == (True, True, "Newest")
    assert second["message_id"] == first["message_id"]
    world.tap(second, "Newest")
    await world.message("Number 9", but="Number 1\n")


async def test_a_paid_request_is_not_open_any_more_and_a_stranger_sees_none(world: World) -> None:
    world.say("/open")
    await world.message("There are no open requests")
    world.say("/pay 125 DKK Coffee")
    await world.message("Waiting for payment")
    await world.decide("approve")
    await world.message("Paid · TEST")
    world.say("/open", by=GUEST)
    await world.message("access", chat=GUEST)
    query = world.telegram.press_button(world.telegram.transcript[-1].result["message_id"], GUEST, "o:", GUEST)
    assert "access" in await world.answer(query)


@pytest.mark.parametrize("forged", ["o:x", "o:99999999999999999999:p", "o:٣:p", "o:1", "o::::"])
async def test_a_forged_page_is_the_first_page(world: World, forged: str) -> None:
    world.say("/pay 125 DKK Coffee")
    card = await world.message("Waiting for payment")
    world.telegram.press_button(card["message_id"], OWNER, forged, OWNER)
    await world.until(lambda: any(e.method == "answerCallbackQuery" for e in world.telegram.transcript))
    assert not any("went wrong" in e.params["text"] for e in world.sent())


async def test_again_is_a_payment_of_its_own_with_the_same_amount_and_text(world: World) -> None:
    world.say("/pay 149,50 Coffee")
    card = await world.message("Waiting for payment")
    await world.decide("approve")
    await world.message("✅ Paid:")
    message = world.say("/again", reply_to=card["message_id"])
    again = await world.until(lambda: len(world.stripe.store.intents) == 2 and world.sent("149")[2:])
    first, second = world.intent(0), world.intent(1)
    assert (second["amount"], second["currency"], second["description"]) == (14950, "dkk", "Coffee")
    assert first["metadata"]["kvit_payment"] != second["metadata"]["kvit_payment"]
    assert again[0].result["reply_to_message"]["message_id"] == message


@pytest.mark.parametrize(("command", "words"), [("terms", "Physical"), ("paysupport", "refund"), ("privacy", "stores")])
async def test_everybody_can_read_the_texts_that_every_bot_has(world: World, command: str, words: str) -> None:
    world.say(f"/{command}", by=GUEST)
    await world.message(words, chat=GUEST)


@pytest.fixture
async def unowned(clock: FakeClock, tmp_path: Path) -> AsyncIterator[tuple[World, str]]:
    """An installation without an owner, and what its operator was told."""
    told: asyncio.Queue[str] = asyncio.Queue()
    async with opened(clock, tmp_path, owner_ids="") as running:
        await running.stop()
        running.service = Service(running.settings, clock, notify_operator=told.put_nowait)
        await running.service.start()
        yield running, await asyncio.wait_for(told.get(), 10)


async def test_the_first_owner_is_who_opens_the_link_that_the_start_printed(
    unowned: tuple[World, str],
) -> None:
    world, told = unowned
    word = told.partition("?start=")[2]
    assert told.startswith("There is no owner yet.")
    world.say(f"/start {word}x", by=GUEST)
    await world.message("Nothing was changed", chat=GUEST)
    world.say(f"/start {word}", by=GUEST)
    await world.message("now the owner", chat=GUEST)
    world.say("/pay 125 Coffee", by=GUEST)
    await world.message("Waiting for payment", chat=GUEST)
    world.say(f"/start {word}", by=OTHER)
    await world.message("Nothing was changed", chat=OTHER)
    assert not any(word in str(entry.params) for entry in world.telegram.transcript if entry.direction == "out")


async def test_claim_link_written_in_a_group_is_void(unowned: tuple[World, str]) -> None:
    world, told = unowned
    word = told.partition("?start=")[2]
    world.say(f"here it is: https://t.me/KvitDemoBot?start={word}", by=GUEST, chat=-4001)
    await world.message("it no longer works", chat=-4001)
    world.say(f"/start {word}", by=GUEST)
    await world.message("Nothing was changed", chat=GUEST)


async def test_a_claim_link_is_worth_nothing_after_fifteen_minutes(unowned: tuple[World, str]) -> None:
    world, told = unowned
    world.advance(15 * 60 + 1)
    world.say(f"/start {told.partition('?start=')[2]}", by=GUEST)
    await world.message("Nothing was changed", chat=GUEST)


async def test_where_there_is_an_owner_no_link_is_printed(world: World) -> None:
    told: list[str] = []
    await world.stop()
    world.service = Service(world.settings, world.clock, notify_operator=told.append)
    await world.service.start()
    await world.until(lambda: sum(entry.method == "getMe" for entry in world.telegram.transcript) >= 2)
    world.say("/id")
    await world.message("Your Telegram ID")
    assert told == []
