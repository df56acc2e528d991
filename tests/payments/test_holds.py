"""Holds: money that is only reserved is taken or let go by a tap that names it, and its end is told before it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import at_stripe, calls, fault, idle, pass_time, rows, webhooks
from tests.support.people import (
    ADMIN,
    COLLEAGUE,
    GROUP,
    MERCHANT,
    advance_until,
    alert_text,
    open_shop,
    press,
    remove_roles,
    reply,
    reply_text,
)
from tests.support.refund_steps import DAY, held, paid, ref_of, texts, wait_for_text
from tests.support.world import OWNER, World, labels, opened


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


async def test_a_hold_is_reserved_and_says_until_when(world: World) -> None:
    card = await held(world)
    assert "before 1 Dec 2026, 01:00" in card["text"]
    assert labels(card) == ["Charge DKK 125.00", "Release DKK 125.00"]
    assert world.intent()["capture_method"] == "manual"
    assert rows(world, "SELECT amount_received FROM payments")[0]["amount_received"] == 0


async def test_hold_alone_says_what_to_type_and_when_it_is_the_right_way(world: World) -> None:
    said = await reply_text(world, "/hold")
    assert "/hold 149.50 DKK" in said
    assert "may not charge before the goods are sent" in said


async def test_taking_it_needs_one_more_tap_that_names_the_amount(world: World) -> None:
    ref = ref_of(await held(world))
    question = await reply(world, world.say(f"/capture {ref}"), "Charge DKK")
    assert labels(question) == ["Charge DKK 125.00", "Keep it reserved"]
    await idle(world)
    assert calls(world, "capture") == []
    await world.answer(world.tap(question, "Charge"))
    await wait_for_text(world, "✅ Paid:")
    await wait_for_text(world, "✅ Paid · TEST")
    assert world.intent()["status"] == "succeeded"
    assert rows(world, "SELECT amount_received FROM payments")[0]["amount_received"] == 12500


async def test_the_payment_messages_own_buttons_ask_as_well(world: World) -> None:
    card = await held(world)
    world.tap(card, "Release")
    question = await world.message("Release DKK")
    await world.answer(world.tap(question, "Release"))
    await wait_for_text(world, "🚫 Cancelled · TEST")
    await wait_for_text(world, "The customer was not charged")
    assert world.intent()["status"] == "canceled"


async def test_left_as_it_is_nothing_happens_and_it_can_be_taken_later(world: World) -> None:
    ref = ref_of(await held(world))
    question = await reply(world, world.say(f"/capture {ref}"), "Charge DKK")
    await world.answer(world.tap(question, "Keep"))
    await wait_for_text(world, "is still reserved")
    again = await reply(world, world.say(f"/capture {ref}"), "Charge DKK")
    await world.answer(world.tap(again, "Charge"))
    await wait_for_text(world, "✅ Paid:")


async def test_a_merchant_lets_his_own_hold_go_and_takes_none(world: World) -> None:
    ref = ref_of(await held(world, by=MERCHANT, chat=GROUP))
    for person in (MERCHANT, COLLEAGUE):
        assert "Only an admin of the shop can charge" in await reply_text(
            world, f"/capture {ref}", by=person, chat=GROUP
        )
    assert "access" in await reply_text(world, f"/release {ref}", by=COLLEAGUE, chat=GROUP)
    question = await reply(world, world.say(f"/release {ref}", by=MERCHANT, chat=GROUP), "Release", chat=GROUP)
    assert "someone else" in await alert_text(world, world.tap(question, "Release", by=ADMIN))
    await world.answer(world.tap(question, "Release", by=MERCHANT))
    await wait_for_text(world, "🚫 Cancelled · TEST", GROUP)


async def test_a_hold_is_neither_canceled_nor_refunded_and_a_payment_is_no_hold(world: World) -> None:
    ref = ref_of(await held(world))
    assert f"/release {ref}" in await reply_text(world, f"/cancel {ref}")
    assert f"/release {ref}" in await reply_text(world, f"/refund {ref}")
    bought = ref_of(await paid(world))
    for command in ("capture", "release"):
        assert "No money is reserved" in await reply_text(world, f"/{command} {bought}")
    await idle(world)
    assert world.intent(0)["status"] == "requires_capture"


async def test_user_who_wants_a_new_link_meanwhile_is_told_that_the_money_is_reserved_and_not_paid(
    world: World,
) -> None:
    card = await reply(world, world.say("/hold 125 Bicycle"), "Waiting for payment")
    await world.decide("decline")
    await world.answer(world.tap(await world.message("Payment attempt failed"), "New link"))
    await world.message("Waiting for payment")
    await world.decide("approve")
    data = f"n:{world.intent()['metadata']['kvit_payment']}"
    answer = await world.answer(press(world, card, data))
    assert answer.startswith(f"The money for #{ref_of(card)} is reserved.")


async def test_the_chat_is_reminded_a_day_and_an_hour_before_the_end_and_told_the_end(world: World) -> None:
    await held(world)
    await pass_time(world, 5.5 * DAY - 60)
    assert not [one for one in texts(world) if one.startswith("⏰")]
    await pass_time(world, 120)
    await wait_for_text(world, "ends within 24 hours")
    await pass_time(world, DAY - 3600)
    await wait_for_text(world, "ends within an hour")
    await pass_time(world, DAY / 2 + 3600)
    await wait_for_text(world, "the reservation expired")
    await idle(world)
    assert len([one for one in texts(world) if one.startswith("⏰")]) == 2


async def test_a_service_that_slept_through_the_first_reminder_sends_the_second_alone(world: World) -> None:
    await held(world)
    await world.stop()
    world.advance(6.5 * DAY - 1800)
    await world.begin()
    await wait_for_text(world, "ends within an hour")
    await idle(world)
    assert len([one for one in texts(world) if one.startswith("⏰")]) == 1


@pytest.mark.parametrize("verb", ["capture", "cancel"])
async def test_nobody_is_reminded_of_a_hold_that_was_taken_or_let_go_at_stripe_unheard(world: World, verb: str) -> None:
    await held(world)
    await idle(world)
    await webhooks(world, "lose")
    await world.stop()
    await at_stripe(world, f"payment_intents/{world.intent()['id']}/{verb}")
    world.advance(6 * DAY)
    await world.begin()
    await advance_until(world, lambda: rows(world, "SELECT 1 FROM payments WHERE status <> 'authorized'"))
    await idle(world)
    assert not [one for one in texts(world) if one.startswith("⏰")]


async def test_that_a_hold_lapsed_is_found_though_its_event_is_lost(world: World) -> None:
    await held(world)
    await webhooks(world, "lose")
    await pass_time(world, 7 * DAY + 7200)
    await wait_for_text(world, "the reservation expired")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("how", ["drop", "500", "429"])
async def test_whatever_breaks_on_the_way_the_hold_is_taken_once(world: World, how: str, when: str) -> None:
    ref = ref_of(await held(world))
    question = await reply(world, world.say(f"/capture {ref}"), "Charge DKK")
    await fault(world, "capture", how, when, times=4)
    world.tap(question, "Charge")
    await advance_until(world, lambda: [one for one in texts(world) if one.startswith("✅ Paid:")])
    await idle(world)
    assert world.intent()["amount_received"] == 12500
    assert len([one for one in texts(world) if one.startswith("✅ Paid:")]) == 1


async def test_a_hold_that_lapsed_at_the_moment_of_the_tap_is_told_as_lapsed(world: World) -> None:
    ref = ref_of(await held(world))
    question = await reply(world, world.say(f"/capture {ref}"), "Charge DKK")
    await webhooks(world, "lose")
    await world.control("stripe", f"intents/{world.intent()['id']}/expire_hold", {})
    world.tap(question, "Charge")
    await wait_for_text(world, "the reservation expired")
    [row, *_] = rows(world, "SELECT amount_received, status FROM payments")
    assert row == {"amount_received": 0, "status": "canceled"}


async def test_user_who_lost_his_role_meanwhile_takes_nothing(world: World) -> None:
    ref = ref_of(await held(world, by=ADMIN, chat=GROUP))
    question = await reply(world, world.say(f"/capture {ref}", by=ADMIN, chat=GROUP), "Charge DKK", chat=GROUP)
    await world.control("stripe", "down", {"down": True})
    world.tap(question, "Charge", by=ADMIN)
    await advance_until(world, lambda: rows(world, "SELECT 1 FROM payments WHERE error_count > 1"))
    await remove_roles(world, ADMIN)
    await world.control("stripe", "down", {"down": False})
    await advance_until(world, lambda: not rows(world, "SELECT 1 FROM payments WHERE capture_requested_by IS NOT NULL"))
    await pass_time(world, 600)
    assert world.intent()["status"] == "requires_capture"
    assert "request_withdrawn" in {row["action"] for row in rows(world, "SELECT action FROM audit_log")}


async def test_the_same_hold_once_more_is_a_hold(world: World) -> None:
    ref = ref_of(await held(world))
    await reply(world, world.say(f"/again {ref}", by=OWNER), "Waiting for payment")
    assert world.intent()["capture_method"] == "manual"
