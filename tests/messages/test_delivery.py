"""How messages get out while Telegram is away, floods, breaks off or shuts the door: once and in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from bot.app import AdapterOverrides
from bot.sandbox.shared.fake_clock import FakeClock
from handlers.telegram.messenger import Messenger
from storage.models.payment import PaymentStatus
from tests.invariants.mutations import MessengerWrapper
from tests.support.people import (
    ADMIN,
    GROUP,
    MERCHANT,
    Gate,
    actions,
    advance_until,
    break_telegram,
    calls,
    card_row,
    caught_up,
    dead_letters,
    open_shop,
    posts,
    press,
    reply,
    reply_text,
    set_down,
    shown,
    status_is,
    wait_for_dead_letters,
)
from tests.support.world import OWNER, Json, World, button, labels, opened

HOUR = 3600


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


async def pay(world: World, by: int = OWNER, chat: int | None = None) -> Json:
    """A card with a fresh link."""
    chat = chat or by
    return await reply(world, world.say("/pay 125 Tea", by=by, chat=chat), "Waiting for payment", chat=chat)


def texts(world: World, chat: int = OWNER) -> list[str]:
    """The first lines of the bot's messages in a chat as they stand now."""
    return [str(message["text"]).splitlines()[0] for message in shown(world, chat)]


async def test_after_a_day_without_telegram_only_the_final_state_is_sent_once(world: World) -> None:
    card = await pay(world)
    await set_down(world, True)
    await world.decide("decline")
    await advance_until(world, lambda: world.intent()["status"] == "canceled", step=HOUR)
    await status_is(world, PaymentStatus.CANCELED)
    before = len(calls(world, "editMessageText"))
    await set_down(world, False)
    world.say("/id")  # whatever came before it stands there by then
    await advance_until(world, lambda: len(shown(world)) >= 3)
    assert len(shown(world)) == 3
    assert texts(world)[:2] == ["🏁 Request closed · TEST", shown(world)[1]["text"]]
    assert shown(world)[1]["text"].startswith("🏁 #")
    assert shown(world)[1]["reply_to_message"]["message_id"] == card["message_id"]
    assert len(calls(world, "editMessageText")) == before + 1
    assert await dead_letters(world) == []


async def test_updates_of_an_outage_are_answered_in_order_and_once(world: World) -> None:
    await pay(world)
    await set_down(world, True)
    await world.decide("approve")
    for text in ("/id", "/status", "/pay 99", "/help"):
        world.say(text)
    for _ in range(3):
        world.advance(HOUR)
    await set_down(world, False)
    world.say("/id")
    await advance_until(world, lambda: len(shown(world)) >= 7)
    assert [said[:14] for said in texts(world)[:6]] == [
        "✅ Paid · TEST",
        "✅ Paid: DKK\u00a012",
        "Your Telegram ",
        "0 requests are",
        "This command a",
        "What you can w",
    ]
    assert len(texts(world)) == 7


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_flood_wait_of_23_minutes_holds_one_chat_and_its_edits_become_one(
    world: World, restarted: bool
) -> None:
    card = await pay(world)
    await break_telegram(world, "editMessageText", "429", retry_after=23 * 60)
    await world.decide("decline")
    await world.until(lambda: any(e.fault == "429 before" for e in world.telegram.transcript))
    if restarted:
        await world.stop()
        await world.begin()
    new_link = button(card, "Cancel")["callback_data"].replace("c:", "n:")
    assert "new link" in await world.answer(press(world, card, new_link))
    await pay(world, MERCHANT)
    await world.decide("approve", 0)
    await status_is(world, PaymentStatus.SUCCEEDED, 0)
    before = len(calls(world, "editMessageText"))
    world.advance(23 * 60 - 1)
    await pay(world, MERCHANT)
    assert texts(world) == ["⏳ Waiting for payment · TEST"]
    assert len(calls(world, "editMessageText")) <= before + 1  # the merchant's first link is no longer fresh
    await advance_until(world, lambda: len(shown(world)) == 2, step=1)
    assert texts(world)[0] == "✅ Paid · TEST"
    assert texts(world)[1].startswith("✅ Paid:")
    edits = [e for e in calls(world, "editMessageText") if int(e.params["chat_id"]) == OWNER]
    assert len(edits) == 1


@pytest.mark.parametrize(("how", "when"), [("drop", "after"), ("drop", "before"), ("500", "after"), ("502", "before")])
async def test_payment_message_with_unknown_outcome_is_repeated_once_and_counted(
    world: World, how: str, when: str
) -> None:
    await break_telegram(world, "sendMessage", how, when=when)
    world.say("/pay 125")
    await advance_until(world, lambda: len(shown(world)) == (2 if when == "after" else 1))
    await caught_up(world)
    row = await card_row(world)
    assert row.send_attempts == 2
    assert row.message_id == shown(world)[-2]["message_id"]
    await world.decide("approve")
    await world.message("✅ Paid:")
    changed = [message["message_id"] for message in shown(world) if message["text"].startswith("✅ Paid · TEST")]
    assert changed == [row.message_id]


async def test_payment_message_that_was_not_sent_is_sent_again_uncounted(world: World) -> None:
    await break_telegram(world, "sendMessage", "429", retry_after=5, times=3)
    world.say("/pay 125")
    await advance_until(world, lambda: shown(world))
    await caught_up(world)
    assert (await card_row(world)).send_attempts == 1
    assert len(shown(world)) == 2


async def test_notification_with_unknown_outcome_is_repeated_once(world: World) -> None:
    await pay(world)
    await break_telegram(world, "sendMessage", "drop", when="after")
    await world.decide("approve")
    await advance_until(world, lambda: len(shown(world)) == 3)
    await caught_up(world)
    assert [said.startswith("✅ Paid") for said in texts(world)] == [True, True, True, False]
    assert await dead_letters(world) == []


async def test_an_edit_that_changes_nothing_is_a_success(world: World) -> None:
    card = await pay(world)
    again = button(card, "Cancel")["callback_data"].replace("c:", "n:")
    assert "new link" in await world.answer(press(world, card, again))
    await caught_up(world)
    told = [e.result for e in world.telegram.transcript if e.method == "editMessageText"]
    assert "message is not modified" in told[-1]["description"]
    assert await dead_letters(world) == []
    await world.decide("approve")
    await world.message("✅ Paid:")
    assert len(shown(world)) == 3


@pytest.mark.parametrize("chat", [MERCHANT, GROUP])
async def test_chat_that_blocks_the_bot_is_dead_lettered_with_one_alert(world: World, chat: int) -> None:
    card = await pay(world, MERCHANT, chat)
    ref = card["text"].split("#")[1][:4]
    if chat == GROUP:
        await world.control("telegram", "kick", {"chat_id": GROUP})
    else:
        await world.control("telegram", "block", {"user_id": MERCHANT})
    await world.decide("approve")
    told = await world.message("the chat is unavailable")
    assert str(chat) in told["text"]
    await caught_up(world)
    assert len(await dead_letters(world)) == 2
    answers = [e.result for e in world.telegram.transcript if isinstance(e.result, dict)]
    assert len([answer for answer in answers if answer.get("error_code") == 403]) <= 1
    assert len([said for said in texts(world) if "⚠️" in said]) == 1
    assert "✅ Paid" in await reply_text(world, f"/status {ref}", by=ADMIN)
    if chat == GROUP:
        await world.control("telegram", "add", {"chat_id": GROUP, "from_id": MERCHANT})
    else:
        await world.control("telegram", "block", {"user_id": MERCHANT, "blocked": False})
    assert "✅ Paid" in await reply_text(world, f"/status {ref}", by=MERCHANT, chat=chat)
    world.advance(6)  # the same request within five seconds would be asked about
    await pay(world, MERCHANT, chat)
    await world.decide("approve")
    await world.until(lambda: texts(world, chat)[-1].startswith("✅ Paid:"))


async def test_unblocked_chat_receives_messages_after_its_next_update(world: World) -> None:
    await pay(world, MERCHANT)
    world.telegram.state.blocked.add(MERCHANT)
    await world.decide("approve")
    await world.message("the chat is unavailable")
    world.telegram.state.blocked.discard(MERCHANT)
    assert "Paid today" in await reply_text(world, "/status", by=MERCHANT)


async def test_no_repeated_alert_to_an_owner_who_blocked_the_bot(world: World) -> None:
    await pay(world)
    await world.control("telegram", "block", {"user_id": OWNER})
    await world.decide("approve")
    assert len(await wait_for_dead_letters(world, 3)) == 3  # the card, the notice, and the word about them
    await caught_up(world, GROUP, by=MERCHANT)
    assert len(await dead_letters(world)) == 3
    assert len(shown(world)) == 1
    assert (await actions(world))[-1] == ("stripe", "synced")


async def test_one_chat_that_is_stuck_holds_up_no_other_and_keeps_its_own_order(
    clock: FakeClock, tmp_path: Path
) -> None:
    is_open = asyncio.Event()
    overrides = AdapterOverrides(messenger=lambda inner: cast("Messenger", Gate(inner, MERCHANT, is_open)))
    async with opened(clock, tmp_path, overrides=overrides) as world:
        await open_shop(world)
        for text in ("/id", "/pay 125", "/status", "/help"):
            world.say(text, by=MERCHANT)
        for _ in range(20):
            await reply_text(world, "/id")
        await pay(world, MERCHANT, GROUP)
        assert shown(world, MERCHANT) == []
        is_open.set()
        await caught_up(world, MERCHANT, by=MERCHANT)
        starts = [said[:14] for said in texts(world, MERCHANT)[:4]]
        assert starts == ["Your Telegram ", "⏳ Waiting for ", "1 request is o", "What you can w"]


class Stumbles(MessengerWrapper):
    """Nobody gets an answer to a tap, and not because of Telegram."""

    async def answer_callback(self, callback_id: str, text: str = "", *, alert: bool = False) -> None:
        raise ZeroDivisionError


async def test_permanently_failed_tap_says_where_to_look(clock: FakeClock, tmp_path: Path) -> None:
    async with opened(clock, tmp_path, overrides=AdapterOverrides(messenger=Stumbles)) as world:
        question = await reply(world, world.say("/pay 1.234"), "Which")
        world.tap(question, "1,234.00")
        await advance_until(world, lambda: [one for one in texts(world) if "It may still have been done" in one])
        assert len(posts(world)) == 1


async def test_every_message_keeps_its_buttons_and_shows_no_preview(world: World) -> None:
    card = await pay(world)
    await world.decide("decline")
    card = await world.message("Payment attempt failed")
    assert labels(card) == ["New link", "Cancel"]
    await world.answer(world.tap(card, "New link"))
    card = await world.message("Waiting for payment")
    assert labels(card) == ["Share", "Copy link", "Pay DKK 125.00", "Cancel"]
    for entry in [*calls(world, "sendMessage"), *calls(world, "editMessageText")]:
        assert entry.params["link_preview_options"] == {"is_disabled": True}


async def test_every_tap_is_answered_though_its_message_is_gone_and_its_data_makes_no_sense(world: World) -> None:
    card = await pay(world)
    cancel = button(card, "Cancel")["callback_data"]
    await world.control("telegram", "delete", {"chat_id": OWNER, "message_id": card["message_id"]})
    nonsense = ["?", "q:x:0", "v:", "s:", "o:", "o:1:1", "n:x", "c:", ":", "🦆" * 16, "q:" + "9" * 60]
    taps = [press(world, card, data) for data in [*nonsense, cancel]]
    question = await world.message("Nothing has been cancelled yet")
    taps += [world.tap(question, "Cancel the request") for _ in range(2)]
    await caught_up(world)
    assert [tap for tap in taps if world.telegram.state.callback_queries[tap].answer is None] == []
    assert world.intent()["status"] == "canceled"
    assert await dead_letters(world, "updates") == []


async def test_tap_with_a_lost_answer_takes_effect_and_blocks_nothing(world: World) -> None:
    card = await pay(world)
    await world.answer(world.tap(card, "Cancel"))
    question = await world.message("Nothing has been cancelled yet")
    await break_telegram(world, "answerCallbackQuery", "drop")
    world.tap(question, "Cancel the request")
    await world.message("It was cancelled by the shop")
    await caught_up(world)
    assert await dead_letters(world, "updates") == []
