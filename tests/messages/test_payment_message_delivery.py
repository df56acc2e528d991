"""A payment's one message, whatever happens to it: deleted, doubled, moved with its group, in a topic that closes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from bot.app import AdapterOverrides
from bot.sandbox.fake_telegram.membership import Membership
from bot.sandbox.shared.fake_clock import FakeClock
from handlers.telegram.messenger import Messenger
from storage.models.payment import PaymentStatus
from tests.support.people import (
    GROUP,
    MERCHANT,
    Gate,
    advance_until,
    break_telegram,
    calls,
    cancel_by_button,
    card_row,
    caught_up,
    chat_of,
    dead_letters,
    open_shop,
    press,
    reply,
    reply_text,
    send_message,
    shown,
    status_is,
)
from tests.support.world import OWNER, Json, World, button, labels, opened

FORUM, TOPIC = -1_002_000_000_001, 77


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


async def pay(world: World, by: int = OWNER, chat: int | None = None) -> Json:
    """A card with a fresh link."""
    chat = chat or by
    world.advance(6)  # the same request within five seconds would be asked about
    return await reply(world, world.say("/pay 125 Tea", by=by, chat=chat), "Waiting for payment", chat=chat)


async def delete(world: World, message: Json) -> None:
    """Somebody takes a message away."""
    place = {"chat_id": message["chat"]["id"], "message_id": message["message_id"]}
    await world.control("telegram", "delete", place)


async def test_deleted_payment_message_is_posted_again_once_while_useful(world: World) -> None:
    card = await pay(world)
    await delete(world, card)
    await world.decide("decline")
    notice = await world.message("No money was taken. Tap New link on the payment message")
    anew = await world.message("Payment attempt failed")
    assert labels(anew) == ["New link", "Cancel"]
    assert anew["reply_to_message"]["message_id"] == card["reply_to_message"]["message_id"]
    assert notice["reply_to_message"]["message_id"] == anew["message_id"]
    await delete(world, anew)
    tap = press(world, anew, button(anew, "New link")["callback_data"])
    assert "new link" in await world.answer(tap)
    await caught_up(world)
    assert len(shown(world)) == 2
    await world.decide("approve")
    paid = await world.message("✅ Paid:")
    assert "reply_to_message" not in paid
    await caught_up(world)
    assert len(shown(world)) == 4
    assert await dead_letters(world) == []


@pytest.mark.parametrize("end", ["approve", "cancel"])
async def test_deleted_payment_message_is_not_posted_again_when_final(world: World, end: str) -> None:
    card = await pay(world)
    await delete(world, card)
    if end == "approve":
        await world.decide("approve")
        await world.message("✅ Paid:")
    else:
        ref = card["text"].split("#")[1][:4]
        await reply_text(world, f"/cancel {ref}")
    await caught_up(world)
    assert len(shown(world)) == 2
    assert await dead_letters(world) == []


async def test_tap_on_a_message_with_unknown_outcome_makes_it_the_payment_message(world: World) -> None:
    await break_telegram(world, "sendMessage", "drop", when="after")
    world.say("/pay 125")
    orphan = await world.message("Waiting for payment")
    await world.answer(press(world, orphan, button(orphan, "Cancel")["callback_data"]))
    await advance_until(world, lambda: len(shown(world)) > 1, step=1)
    await world.answer(world.tap(shown(world)[1], "Cancel the request"))
    await advance_until(world, lambda: "Cancelled" in shown(world)[0]["text"], step=1)
    await caught_up(world)
    row = await card_row(world)
    assert (row.message_id, row.send_attempts) == (orphan["message_id"], 1)
    assert len(shown(world)) == 3


async def test_first_stored_message_stays_the_payment_message(clock: FakeClock, tmp_path: Path) -> None:
    is_open = asyncio.Event()
    is_open.set()
    overrides = AdapterOverrides(messenger=lambda inner: cast("Messenger", Gate(inner, OWNER, is_open)))
    async with opened(clock, tmp_path, overrides=overrides) as world:
        await break_telegram(world, "sendMessage", "drop", when="after")
        world.say("/pay 125")
        orphan = await world.message("Waiting for payment")
        is_open.clear()
        await advance_until(world, lambda: world.telegram.transcript[-1].method == "getMe", step=1)
        await world.answer(press(world, orphan, button(orphan, "Cancel")["callback_data"]))
        is_open.set()
        question = await world.message("Nothing has been cancelled yet")
        await world.answer(world.tap(question, "Cancel the request"))
        await world.message("It was cancelled by the shop")
        await caught_up(world)
        row = await card_row(world)
        assert (row.message_id, row.send_attempts) == (orphan["message_id"], 2)
        assert [message["text"].startswith("🚫 Cancelled ·") for message in shown(world)].count(True) == 1


async def test_forged_button_changes_no_payment_message(world: World) -> None:
    hello = await reply(world, world.say("/id"))
    await break_telegram(world, "sendMessage", "drop", when="after")
    world.say("/pay 125", by=MERCHANT, chat=GROUP)
    orphan = await world.message("Waiting for payment", chat=GROUP)
    data = button(orphan, "Cancel")["callback_data"].replace("c:", "n:")
    await world.answer(press(world, hello, data))
    await advance_until(world, lambda: len(shown(world, GROUP)) == 2, step=1)
    await caught_up(world, GROUP)
    assert (await card_row(world)).message_id == shown(world, GROUP)[1]["message_id"]
    assert shown(world)[0]["text"] == hello["text"]


async def moved(world: World) -> int:
    """The group becomes a supergroup, with the two service messages."""
    return int((await world.control("telegram", "migrate", {"chat_id": GROUP}))["chat_id"])


def moved_unheard(world: World) -> int:
    """The group becomes a supergroup, and the bot does not hear of it."""
    new = Membership(world.telegram.state, world.telegram.users).migrate(GROUP)["chat_id"]
    world.telegram.state.updates.clear()
    return int(new)


async def test_supergroup_keeps_members_and_payment_messages(world: World) -> None:
    card = await pay(world, MERCHANT, GROUP)
    new = await moved(world)
    await pay(world, MERCHANT, new)
    await world.decide("decline", 0)
    anew = await world.message("Payment attempt failed", chat=new)
    assert "reply_to_message" not in anew
    assert (await world.message("❌", chat=new, but="Payment attempt"))["reply_to_message"]["message_id"] == anew[
        "message_id"
    ]
    said = world.say("/status", by=MERCHANT, chat=new, reply_to=anew["message_id"])
    assert card["text"].split("#")[1][:4] in (await reply(world, said, chat=new))["text"]
    assert "is cancelled" in await cancel_by_button(world, anew, by=MERCHANT)
    await caught_up(world, new)
    assert [m["text"].splitlines()[0] for m in shown(world, GROUP)] == ["⏳ Waiting for payment · TEST"]
    assert await dead_letters(world) == []


async def test_unnoticed_group_migration_is_found_by_the_next_send(world: World) -> None:
    await pay(world, MERCHANT, GROUP)
    new = moved_unheard(world)
    await world.decide("approve")
    paid = await world.message("✅ Paid:", chat=new)
    assert "reply_to_message" not in paid
    await pay(world, MERCHANT, new)
    await world.decide("approve")
    await world.message("✅ Paid · TEST", chat=new)
    await caught_up(world, new)
    assert len([m for m in shown(world, new) if m["text"].startswith("✅ Paid:")]) == 2
    assert await dead_letters(world) == []


async def test_a_message_of_the_new_group_that_has_an_old_payment_messages_number_is_left_alone(world: World) -> None:
    for greeting in ("good", "morning"):
        send_message(world, greeting, by=MERCHANT, chat=GROUP)
    old = await pay(world, MERCHANT, GROUP)
    new = await moved(world)
    anew = await world.message("Waiting for payment", chat=new)
    other = await pay(world, MERCHANT, new)
    assert other["message_id"] == old["message_id"]
    await world.decide("approve", 0)
    paid = await world.message("✅ Paid:", chat=new)
    assert paid["reply_to_message"]["message_id"] == anew["message_id"]
    await caught_up(world, new)
    assert chat_of(world, new).messages[old["message_id"]]["text"] == other["text"]


async def test_what_waits_for_a_group_arrives_in_the_supergroup_once_and_in_order(world: World) -> None:
    await pay(world, MERCHANT, GROUP)
    await break_telegram(world, "editMessageText", "429", retry_after=300)
    await world.decide("decline")
    await world.until(lambda: any(e.fault == "429 before" for e in world.telegram.transcript))
    world.say("/id", by=MERCHANT, chat=GROUP)
    await world.until(lambda: not world.telegram.state.updates.pending())
    new = await moved(world)
    await advance_until(world, lambda: len(shown(world, new)) == 3, step=60)
    await caught_up(world, new)
    starts = [m["text"].split(" ")[0] for m in shown(world, new)][:3]
    assert starts == ["❌", "❌", "Your"]
    assert len(shown(world, GROUP)) == 1


async def test_a_topic_keeps_its_payment_messages_notices_and_answers(world: World) -> None:
    await world.service.seed("Kvit", [], [FORUM])
    said = send_message(world, "/pay 125", by=MERCHANT, chat=FORUM, message_thread_id=TOPIC)
    await reply(world, said, "Waiting for payment", chat=FORUM)
    question = send_message(world, "/pay 12,345", by=MERCHANT, chat=FORUM, message_thread_id=TOPIC)
    asked = await reply(world, question, "Which amount", chat=FORUM)
    await world.answer(world.tap(asked, "12.34", by=MERCHANT))
    await reply(world, question, "Waiting for payment", chat=FORUM)
    await world.decide("approve", 0)
    await world.message("✅ Paid:", chat=FORUM)
    send_message(world, "/status", by=MERCHANT, chat=FORUM, message_thread_id=TOPIC)
    await world.message("Everything is working.", chat=FORUM)
    assert {message.get("message_thread_id") for message in shown(world, FORUM)} == {TOPIC}
    assert len(shown(world, FORUM)) == 5


async def test_money_news_of_a_topic_that_is_gone_is_told_in_the_general_one(world: World) -> None:
    await world.service.seed("Kvit", [], [FORUM])
    said = send_message(world, "/pay 125", by=MERCHANT, chat=FORUM, message_thread_id=TOPIC)
    card = await reply(world, said, "Waiting for payment", chat=FORUM)
    chat_of(world, FORUM).topics.discard(TOPIC)
    await world.decide("approve")
    paid = await world.message("✅ Paid:", chat=FORUM)
    assert "message_thread_id" not in paid
    assert "Paid · TEST" in chat_of(world, FORUM).messages[card["message_id"]]["text"]
    assert await dead_letters(world) == []


async def test_a_payment_message_asked_for_in_a_topic_that_closes_meanwhile_stands_in_the_general_one(
    world: World,
) -> None:
    await world.service.seed("Kvit", [], [FORUM])
    await world.control("stripe", "down", {"down": True})
    send_message(world, "/pay 125", by=MERCHANT, chat=FORUM, message_thread_id=TOPIC)
    chat_of(world, FORUM).topics.discard(TOPIC)
    await advance_until(world, lambda: shown(world, FORUM), step=1)
    await world.control("stripe", "down", {"down": False})
    card = await advance_until(world, lambda: [m for m in shown(world, FORUM) if "Waiting for payment" in m["text"]])
    assert "message_thread_id" not in card[0]
    assert len(shown(world, FORUM)) == 1
    assert len(calls(world, "sendMessage")) == 1


async def test_what_waited_for_a_group_is_told_first_in_the_supergroup_that_it_became(world: World) -> None:
    await pay(world, MERCHANT, GROUP)
    await break_telegram(world, "editMessageText", "429", retry_after=300)
    await world.decide("approve")
    await world.until(lambda: any(entry.fault == "429 before" for entry in world.telegram.transcript))
    await status_is(world, PaymentStatus.SUCCEEDED)
    new = await moved(world)
    await world.control("stripe", f"intents/{world.intent()['id']}/refund", {"amount": 3000})

    def told() -> list[str]:
        there = [message["text"] for message in shown(world, new)] if new in world.telegram.state.chats else []
        return [one for one in there if "✅ Paid:" in one or "Refunded:" in one]

    await advance_until(world, lambda: len(told()) == 2, step=20)
    assert "✅ Paid:" in told()[0]
