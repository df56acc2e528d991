"""What is said about money is true when it is said: nothing is called undone that may be done, or stands that fell."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import eventually, fault, idle, rows, webhooks
from tests.support.people import (
    ADMIN,
    GROUP,
    advance_until,
    as_shown,
    break_telegram,
    cancel_by_button,
    open_shop,
    press,
    remove_roles,
    reply,
)
from tests.support.refund_steps import drafted, held, paid, ref_of, texts, wait_for_text
from tests.support.world import OWNER, Json, World, button, opened


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        await reply(running, running.say("/start", by=ADMIN, chat=ADMIN), chat=ADMIN)
        yield running


async def held_up(world: World) -> None:
    """Telegram has refused one edit, and the group's messages wait."""
    await world.until(lambda: any(entry.fault == "429 before" for entry in world.telegram.transcript))
    await idle(world)


async def question(world: World, text: str, label: str, *, by: int = OWNER) -> Json:
    return await reply(world, world.say(text, by=by, chat=by), label, chat=by)


def stands(world: World, message: Json) -> str:
    """A message as it stands now."""
    return str(world.telegram.state.chats[message["chat"]["id"]].messages[message["message_id"]]["text"])


async def test_while_stripe_is_silent_about_a_capture_the_payment_message_does_not_say_that_no_money_moved(
    world: World,
) -> None:
    take = await question(world, f"/capture {ref_of(await held(world))}", "Charge")
    await webhooks(world, "lose")
    await fault(world, "capture", "drop", "after", times=3)
    world.tap(take, "Charge")
    await wait_for_text(world, "Waiting for Stripe")
    assert world.intent()["status"] == "succeeded"
    assert "It is not known yet" in await wait_for_text(world, "Waiting for Stripe")


async def test_pending_cancel_is_not_reported_as_no_money_moved(world: World) -> None:
    card = await question(world, "/pay 125 Tea", "Waiting for payment")
    await idle(world)
    await webhooks(world, "lose")
    await world.control("stripe", "down", {"down": True})
    world.say(f"/cancel {ref_of(card)}")
    assert "It is not known yet" in await wait_for_text(world, "Waiting for Stripe")


async def test_owner_alert_does_not_deny_a_refund_made_before_the_key_failed(world: World) -> None:
    draft = await drafted(world, f"/refund {ref_of(await paid(world))} 40")
    await webhooks(world, "lose")
    await fault(world, "refund", "drop", "after", times=3)
    world.tap(draft, "Refund")
    await eventually(lambda: rows(world, "SELECT 1 FROM refunds WHERE last_error IS NOT NULL"))
    world.stripe.options.missing_permissions = ("refunds.write", "refunds.read", "charges.read", "events.read")
    await advance_until(world, lambda: [one for one in texts(world) if "Stripe does not accept Kvit's key" in one])
    [said] = [one for one in texts(world) if "Stripe does not accept Kvit's key" in one]
    assert "No money has moved" not in said


@pytest.mark.parametrize("first", ["Charge", "Release"])
async def test_second_decision_about_a_hold_is_not_reported_as_sent(world: World, first: str) -> None:
    ref = ref_of(await held(world))
    take = as_shown(await question(world, f"/capture {ref}", "Charge"))
    free = as_shown(await question(world, f"/release {ref}", "Release", by=ADMIN))
    await idle(world)
    await world.control("stripe", "down", {"down": True})
    early, late = (take, free) if first == "Charge" else (free, take)
    labels = {take["message_id"]: ("Charge", OWNER), free["message_id"]: ("Release", ADMIN)}
    label, by = labels[early["message_id"]]
    world.tap(early, label, by=by)
    await eventually(
        lambda: rows(
            world, "SELECT 1 FROM payments WHERE capture_requested_by IS NOT NULL OR cancel_requested_by IS NOT NULL"
        )
    )
    label, by = labels[late["message_id"]]
    assert "Someone else has already decided" in await world.answer(world.tap(late, label, by=by))
    await idle(world)
    assert f"asked to {label.lower()}" not in stands(world, late)


async def test_reserved_is_not_announced_after_release(world: World) -> None:
    card = await reply(world, world.say("/hold 125 Bicycle", chat=GROUP), "Waiting for payment", chat=GROUP)
    await idle(world)
    await break_telegram(world, "editMessageText", "429", retry_after=300)
    await world.decide("approve")
    await held_up(world)
    free = await question(world, f"/release {ref_of(card)}", "Release")
    await world.answer(world.tap(free, "Release"))
    await advance_until(world, lambda: any("Cancelled" in one for one in texts(world, GROUP)), step=20)
    await idle(world)
    assert not [one for one in texts(world, GROUP) if "🔒 Reserved:" in one]


@pytest.mark.long
async def test_not_done_is_not_announced_after_it_was_done(world: World) -> None:
    ref = ref_of(await held(world, chat=GROUP))
    await idle(world)
    await world.control("stripe", "down", {"down": True})
    world.tap(await question(world, f"/capture {ref}", "Charge", by=ADMIN), "Charge", by=ADMIN)
    await advance_until(world, lambda: rows(world, "SELECT 1 FROM payments WHERE last_error IS NOT NULL"))
    await idle(world)
    await remove_roles(world, ADMIN)
    await break_telegram(world, "editMessageText", "429", retry_after=600)
    await world.control("stripe", "down", {"down": False})
    await advance_until(world, lambda: rows(world, "SELECT 1 FROM payments WHERE capture_requested_by IS NULL"))
    await held_up(world)
    await world.answer(world.tap(await question(world, f"/capture {ref}", "Charge"), "Charge"))
    await advance_until(world, lambda: any("✅ Paid:" in one for one in texts(world, GROUP)), step=20)
    await idle(world)
    assert not [one for one in texts(world, GROUP) if "nothing was done" in one]


async def test_closed_dispute_asks_for_no_response(world: World) -> None:
    await paid(world, chat=GROUP)
    await idle(world)
    await break_telegram(world, "editMessageText", "429", retry_after=300)
    await world.control("stripe", f"intents/{world.intent()['id']}/dispute", {})
    await held_up(world)
    dispute = list(world.stripe.store.disputes)[-1]
    await world.control("stripe", f"disputes/{dispute}/close", {"status": "lost"})
    await advance_until(world, lambda: any("lost the dispute" in one for one in texts(world, GROUP)), step=30)
    await idle(world)
    assert not [one for one in texts(world, GROUP) if "you need to answer" in one]


async def test_a_request_that_can_still_be_paid_has_not_ended(world: World) -> None:
    card = await question(world, "/pay 125 Tea", "Waiting for payment")
    await idle(world)
    data = button(card, "Cancel")["callback_data"]
    await world.control("stripe", "down", {"down": True})
    await cancel_by_button(world, card)
    said = await world.answer(press(world, card, data.replace("c:", "n:")))
    assert "is being cancelled" in said


async def test_keep_reserved_button_does_not_claim_a_hold_after_capture(world: World) -> None:
    ref = ref_of(await held(world))
    free = as_shown(await question(world, f"/release {ref}", "Release"))
    take = await question(world, f"/capture {ref}", "Charge", by=ADMIN)
    await world.answer(world.tap(take, "Charge", by=ADMIN))
    await wait_for_text(world, "✅ Paid:")
    assert "already decided" in await world.answer(world.tap(free, "Keep"))
    await idle(world)
    assert "is still reserved" not in stands(world, free)


async def test_no_new_link_is_promised_where_there_is_none(world: World) -> None:
    await question(world, "/pay 125 Tea", "Waiting for payment")
    await world.decide("decline")
    failed = await world.message("Payment attempt failed")
    await idle(world)
    await fault(world, "confirm", "drop", times=3)
    assert "has not answered yet" in await world.answer(world.tap(failed, "New link"))
