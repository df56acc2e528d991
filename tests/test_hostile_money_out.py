"""Money that goes out under attack: slices, second hands, late words, chats that change shops, and odd answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.clock import TurnedClock
from tests.crowd import (
    ADMIN,
    COLLEAGUE,
    GROUP,
    MERCHANT,
    OTHER_GROUP,
    alerted,
    in_time,
    known,
    open_second_shop,
    open_shop,
    press,
    refused,
    reply,
    set_aside,
    set_down,
)
from tests.evidence import pass_time, rest, rows, webhooks
from tests.till import (
    DAY,
    asked,
    back,
    drafted,
    fate,
    held,
    move,
    paid,
    promote,
    ref_of,
    refunded,
    refunds,
    texts,
    told,
)
from storage.payment import PaymentStatus
from tests.world import OWNER, World, opened


@pytest.fixture
async def world(clock: TurnedClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


@pytest.fixture
async def careful(clock: TurnedClock, tmp_path: Path) -> AsyncIterator[World]:
    """A shop in which more than DKK 50 needs two people."""
    async with opened(clock, tmp_path, refund_approval_above=5000) as running:
        await open_shop(running)
        yield running


async def by_hand(world: World, minor: int, number: int = -1) -> None:
    """Somebody refunds in Stripe's Dashboard."""
    await world.control("stripe", f"intents/{world.intent(number)['id']}/refund", {"amount": minor})


# The second person


async def test_slices_of_one_payment_do_not_get_around_the_second_person(careful: World) -> None:
    ref = ref_of(await paid(careful))
    await refunded(careful, f"/refund {ref} 50")
    await rest(careful)
    assert back(careful) == [(5000, "succeeded")]
    draft = await drafted(careful, f"/refund {ref} 50")
    assert "second admin" in draft["text"]
    await careful.answer(careful.tap(draft, "Refund"))
    await rest(careful)
    assert len(asked(careful)) == 1


async def test_whoever_approved_and_taps_after_a_day_hears_that_the_time_is_over(careful: World) -> None:
    ref = ref_of(await paid(careful, by=OWNER, chat=GROUP))
    draft = await drafted(careful, f"/refund {ref} 60", chat=GROUP)
    await careful.answer(careful.tap(draft, "Refund"))
    asks = await careful.card("asks to refund", chat=GROUP)
    await pass_time(careful, DAY + 60)
    await told(careful, "nobody approved the refund", GROUP)
    assert "time is over" in await alerted(careful, careful.tap(asks, "Refund"))
    assert await set_aside(careful, "updates") == []
    assert asked(careful) == []


# Stripe's Dashboard in the middle


async def test_what_was_refunded_by_hand_while_stripe_was_out_of_reach_is_not_refunded_again(world: World) -> None:
    ref = ref_of(await paid(world))
    draft = await drafted(world, f"/refund {ref} 50")
    await world.control("stripe", "down", {"down": True})
    world.tap(draft, "Refund")
    await in_time(world, lambda: rows(world, "SELECT 1 FROM refunds WHERE trouble IS NOT NULL"))
    world.advance(3600)
    await webhooks(world, "lose")
    await by_hand(world, 5000)
    await world.control("stripe", "down", {"down": False})
    await in_time(world, lambda: [one for one in texts(world) if "was not refunded" in one])
    assert back(world) == [(5000, "succeeded")]


async def test_a_draft_shows_what_is_left_at_stripe_though_no_webhook_told_of_it(world: World) -> None:
    ref = ref_of(await paid(world))
    await webhooks(world, "lose")
    await by_hand(world, 5000)
    draft = await drafted(world, f"/refund {ref} 50")
    assert "DKK 25.00 of DKK 125.00 stays" in draft["text"].replace("\u00a0", " ")


# What is told


async def test_success_that_could_not_be_told_before_the_refund_failed_is_not_told_after_it(world: World) -> None:
    ref = ref_of(await paid(world))
    await fate(world, "pending")
    await refunded(world, f"/refund {ref} 50")
    await told(world, "has begun but is not done")
    await rest(world)
    await set_down(world, True)
    await move(world, "succeed")
    await in_time(world, lambda: rows(world, "SELECT 1 FROM refunds WHERE status = 'succeeded'"))
    await move(world, "fail")
    await in_time(world, lambda: rows(world, "SELECT 1 FROM refunds WHERE status = 'failed'"))
    await set_down(world, False)
    await in_time(world, lambda: [one for one in texts(world) if "has not got the money" in one])
    assert not [one for one in texts(world) if one.startswith("↩️ Refunded:")]


async def test_nothing_of_a_shop_is_said_in_a_chat_that_went_over_to_another_shop(world: World) -> None:
    ref = ref_of(await paid(world, chat=GROUP))
    await open_second_shop(world)
    await reply(world, world.say("/setup", chat=GROUP), chat=GROUP)
    which = await world.card("Second", chat=GROUP)
    assert ref
    await world.answer(world.tap(which, "Second"))
    await rest(world)
    before = texts(world, GROUP)
    await by_hand(world, 3000)
    await pass_time(world, 60)
    assert rows(world, "SELECT refunded FROM payments")[0]["refunded"] == 3000
    assert texts(world, GROUP) == before
    await told(world, ref, OWNER)


async def test_an_outage_with_a_refund_under_way_costs_no_edit_for_each_try(world: World) -> None:
    ref = ref_of(await paid(world))
    draft = await drafted(world, f"/refund {ref} 50")
    await world.control("stripe", "down", {"down": True})
    world.tap(draft, "Refund")
    await in_time(world, lambda: rows(world, "SELECT 1 FROM refunds WHERE trouble_count > 1"))
    await rest(world)
    edits = len([e for e in world.telegram.transcript if e.method == "editMessageText"])
    await in_time(world, lambda: rows(world, "SELECT 1 FROM refunds WHERE trouble_count > 6"), step=30)
    await rest(world)
    assert len([e for e in world.telegram.transcript if e.method == "editMessageText"]) == edits


# Holds


async def test_a_hold_that_no_webhook_told_of_is_not_let_go_by_cancel(world: World) -> None:
    card = await reply(world, world.say("/hold 125 Bicycle"), "Waiting for payment")
    await webhooks(world, "lose")
    await world.decide("approve")
    said = await refused(world, f"/cancel {ref_of(card)}")
    assert "has reserved the money" in said
    assert world.intent()["status"] == "requires_capture"


async def test_a_hold_that_no_webhook_told_of_is_not_let_go_when_the_request_ends(world: World) -> None:
    await reply(world, world.say("/hold 125 Bicycle"), "Waiting for payment")
    await rest(world)
    await webhooks(world, "lose")
    await world.decide("approve")
    world.clock.advance(DAY + 1)
    world.stripe.world.alarms.ring()
    await told(world, "🔒 Reserved:")
    assert world.intent()["status"] == "requires_capture"


# Odd answers


@pytest.mark.parametrize("odd", [{"amount": 0}, {"currency": "usd"}])
async def test_one_odd_refund_at_stripe_hides_no_other(world: World, odd: dict[str, object]) -> None:
    ref = ref_of(await paid(world))
    await webhooks(world, "lose")
    await by_hand(world, 1000)
    refunds(world)[0].update(odd)
    await refunded(world, f"/refund {ref} 40")
    await webhooks(world, "deliver")
    await by_hand(world, 500)
    await in_time(world, lambda: rows(world, "SELECT 1 FROM payments WHERE refunded = 4500"))


async def test_two_refunds_that_claim_to_be_the_same_one_are_two(world: World) -> None:
    ref = ref_of(await paid(world))
    await webhooks(world, "lose")
    draft = await drafted(world, f"/refund {ref} 40")
    for _ in range(2):
        await by_hand(world, 1000)
        refunds(world)[-1]["metadata"]["kvit_refund"] = rows(world, "SELECT id FROM refunds")[0]["id"]
    await webhooks(world, "deliver")
    await by_hand(world, 500)
    await rest(world)
    assert draft
    assert rows(world, "SELECT refunded FROM payments")[0]["refunded"] == 2500


@pytest.mark.parametrize("data", ["y:\ud800", "x:" + "9" * 60, "t:", "y:%s", "k:\x00"])
async def test_forged_buttons_about_money_out_stop_nobody(world: World, data: str) -> None:
    card = await paid(world, chat=GROUP)
    for person in (OWNER, COLLEAGUE, 4242):
        assert await world.answer(press(world, card, data, by=person))
    assert await set_aside(world, "updates") == []


_ = (ADMIN, MERCHANT, OTHER_GROUP, known, promote, PaymentStatus, held)
