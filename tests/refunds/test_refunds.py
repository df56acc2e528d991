"""Refunds: what goes back is shown first, one tap lets it go, and it happens exactly once whatever breaks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import fault, pass_time, rest, rows, webhooks
from tests.support.people import ADMIN, GROUP, MERCHANT, STRANGER, alerted, dismiss, in_time, open_shop, refused, reply
from tests.support.refund_steps import (
    DAY,
    asked,
    back,
    drafted,
    fate,
    move,
    paid,
    promote,
    ref_of,
    refunded,
    refunds,
    texts,
    told,
)
from tests.support.world import OWNER, World, labels, opened


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


async def test_draft_shows_refund_and_remainder_and_moves_nothing(world: World) -> None:
    ref = ref_of(await paid(world))
    draft = await drafted(world, f"/refund {ref} 50 broken cup")
    assert "Refund <b>DKK 50.00</b>".replace("<b>", "").replace("</b>", "") in draft["text"].replace("\u00a0", " ")
    assert "You keep DKK 75.00 of DKK 125.00" in draft["text"].replace("\u00a0", " ")
    assert "broken cup" in draft["text"]
    assert labels(draft) == ["Refund DKK 50.00", "Don't refund"]
    await rest(world)
    assert asked(world) == []


async def test_one_tap_refunds_and_is_shown_and_announced(world: World) -> None:
    card = await paid(world)
    await refunded(world, f"/refund {ref_of(card)}")
    assert "DKK 125.00" in await told(world, "↩️ Refunded:")
    assert (await told(world, "↩️ Refunded · TEST")).startswith("↩️ Refunded · TEST\nDKK 125.00 – Tea")
    assert back(world) == [(12500, "succeeded")]
    assert refunds(world)[0]["metadata"]["kvit_payment"] == world.intent()["metadata"]["kvit_payment"]


async def test_reply_to_the_payment_message_needs_no_reference(world: World) -> None:
    card = await paid(world)
    draft = await reply(world, world.say("/refund 25", reply_to=card["message_id"]), "Refund ")
    await world.answer(world.tap(draft, "Refund"))
    await told(world, "↩️ Refunded:")
    assert (await told(world, "Partly refunded")).count("Total after refund: DKK 100.00") == 1
    assert back(world) == [(2500, "succeeded")]


async def test_two_equal_parts_on_purpose_are_two_refunds(world: World) -> None:
    ref = ref_of(await paid(world))
    await refunded(world, f"/refund {ref} 40")
    await refunded(world, f"/refund {ref} 40")
    await rest(world)
    assert back(world) == [(4000, "succeeded"), (4000, "succeeded")]
    assert len([one for one in texts(world) if one.startswith("↩️ Refunded:")]) == 2
    assert "At most DKK 45.00" in (await refused(world, f"/refund {ref} 46")).replace("\u00a0", " ")


async def test_many_taps_on_one_draft_are_one_refund(world: World) -> None:
    draft = await drafted(world, f"/refund {ref_of(await paid(world))} 40")
    taps = [world.tap(draft, "Refund") for _ in range(5)]
    for tap in taps:
        await world.answer(tap)
    await rest(world)
    assert back(world) == [(4000, "succeeded")]
    assert len({request.idempotency_key for request in asked(world)}) == 1


async def test_two_drafts_that_were_shown_the_same_rest_cannot_both_be_confirmed(world: World) -> None:
    ref = ref_of(await paid(world))
    first, second = [await drafted(world, f"/refund {ref} 100") for _ in range(2)]
    await world.answer(world.tap(first, "Refund"))
    assert "DKK 25.00" in (await alerted(world, world.tap(second, "Refund"))).replace("\u00a0", " ")
    await rest(world)
    assert back(world) == [(10000, "succeeded")]


async def test_a_draft_works_for_ten_minutes(world: World) -> None:
    draft = await drafted(world, f"/refund {ref_of(await paid(world))}")
    world.advance(601)
    assert "has run out" in await alerted(world, world.tap(draft, "Refund"))
    await rest(world)
    assert asked(world) == []


async def test_only_the_requester_confirms_a_draft(world: World) -> None:
    ref = ref_of(await paid(world, by=OWNER, chat=GROUP))
    draft = await drafted(world, f"/refund {ref}", by=OWNER, chat=GROUP)
    for person, words in ((ADMIN, "Only the person who asked"), (MERCHANT, "access"), (STRANGER, "access")):
        assert words in await alerted(world, world.tap(draft, "Refund", by=person))
    await rest(world)
    assert asked(world) == []


async def test_refused_refund_names_the_reason(world: World) -> None:
    open_card = await reply(world, world.say("/pay 30 Bun"), "Waiting for payment")
    assert "Nothing has been paid" in await refused(world, f"/refund {ref_of(open_card)}")
    ref = ref_of(await paid(world))
    for words, said in (("0", "zero"), ("-5", "plus or minus"), ("50 EUR", "DKK"), ("126", "At most")):
        assert said in await refused(world, f"/refund {ref} {words}"), words
    await refunded(world, f"/refund {ref}")
    await told(world, "↩️ Refunded:")
    assert "All of" in await refused(world, f"/refund {ref}")


async def test_an_amount_that_reads_two_ways_is_asked_back(world: World) -> None:
    ref = ref_of(await paid(world, "/pay 2000,00 Sofa"))
    question = await reply(world, world.say(f"/refund {ref} 1.234"))
    assert labels(question) == ["DKK 1,234.00", "DKK 1.23"]
    await world.answer(world.tap(question, "1.23"))
    draft = await world.card("DKK\u00a01.23", but="see the next")
    assert draft["text"].startswith("Refund DKK\u00a01.23")


# Merchants ask, admins decide


async def test_a_merchant_asks_and_an_admin_in_the_group_approves(world: World) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
    wish = world.say(f"/refund {ref} 25 sour milk", by=MERCHANT, chat=GROUP)
    asks = await world.card("asks to refund", chat=GROUP)
    assert "sour milk" in asks["text"]
    assert wish
    assert "access" in await alerted(world, world.tap(asks, "Refund", by=MERCHANT))
    await world.answer(world.tap(asks, "Refund", by=ADMIN))
    await told(world, "↩️ Refunded:", GROUP)
    assert back(world) == [(2500, "succeeded")]
    row = rows(world, "SELECT requested_by, approved_by FROM refunds")[0]
    assert (row["requested_by"], row["approved_by"]) == (MERCHANT, ADMIN)


async def test_a_merchant_in_private_asks_each_admin_in_private(world: World) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=MERCHANT))
    world.say("/start", by=ADMIN, chat=ADMIN)
    await reply(world, world.say(f"/refund {ref} 25", by=MERCHANT, chat=MERCHANT), "have been asked", chat=MERCHANT)
    asks = await world.card("asks to refund", chat=ADMIN)
    await world.card("asks to refund", chat=OWNER)
    await world.answer(world.tap(asks, "Refund", by=ADMIN))
    await told(world, "↩️ Refunded:", MERCHANT)
    assert back(world) == [(2500, "succeeded")]


async def test_merchant_withdraws_a_request_in_private(world: World) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=MERCHANT))
    passed_on = await drafted(world, f"/refund {ref}", by=MERCHANT, chat=MERCHANT, says="have been asked")
    asks = await world.card("asks to refund", chat=OWNER)
    await world.answer(world.tap(passed_on, "t refund", by=MERCHANT))
    await told(world, "declined", MERCHANT)
    assert "already been decided" in await alerted(world, world.tap(asks, "Refund"))
    assert asked(world) == []


async def test_decline_is_told_to_the_requester(world: World) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=MERCHANT))
    await reply(world, world.say(f"/refund {ref}", by=MERCHANT, chat=MERCHANT), chat=MERCHANT)
    asks = await world.card("asks to refund", chat=OWNER)
    await world.answer(world.tap(asks, "Don't refund"))
    await told(world, "was declined", MERCHANT)
    assert "already been decided" in await alerted(
        world, world.telegram.press_button(asks["message_id"], OWNER, "y:" + _id(world), OWNER)
    )
    assert asked(world) == []


async def test_unapproved_request_expires_after_a_day_and_is_announced(world: World) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
    world.say(f"/refund {ref}", by=MERCHANT, chat=GROUP)
    await world.card("asks to refund", chat=GROUP)
    await pass_time(world, DAY + 60)
    await told(world, "nobody approved the refund", GROUP)
    assert asked(world) == []


# Two people, limits


async def test_above_the_limit_a_second_admin_has_to_approve_and_never_the_same(
    clock: FakeClock, tmp_path: Path
) -> None:
    async with opened(clock, tmp_path, refund_approval_above=5000) as world:
        await open_shop(world)
        ref = ref_of(await paid(world, by=OWNER, chat=GROUP))
        draft = await drafted(world, f"/refund {ref} 60", chat=GROUP)
        assert "approved by another admin" in draft["text"]
        await world.answer(world.tap(draft, "Refund"))
        asks = await world.card("asks to refund", chat=GROUP)
        await rest(world)
        assert asked(world) == []
        assert "another admin" in await alerted(world, world.tap(asks, "Refund", by=OWNER))
        await world.answer(world.tap(asks, "Refund", by=ADMIN))
        await told(world, "↩️ Refunded:", GROUP)
        assert back(world) == [(6000, "succeeded")]
        await refunded(world, f"/refund {ref} 50", chat=GROUP)
        await told(world, "DKK 50.00 of #", GROUP)
        await rest(world)
        assert back(world) == [(6000, "succeeded"), (5000, "succeeded")]


async def test_what_one_person_refunds_within_a_day_is_limited_also_in_slices(world: World) -> None:
    await refused(world, "/settings refunds 100")
    ref = ref_of(await paid(world))
    for _ in range(2):
        await refunded(world, f"/refund {ref} 40")
        await rest(world)
    draft = await drafted(world, f"/refund {ref} 40")
    assert "in 24 hours" in await alerted(world, world.tap(draft, "Refund"))
    await rest(world)
    assert len(refunds(world)) == 2
    world.advance(DAY + 1)
    await refunded(world, f"/refund {ref} 40")
    await rest(world)
    assert len(refunds(world)) == 3


async def test_role_lost_between_tap_and_stripe_refunds_nothing(world: World) -> None:
    ref = ref_of(await paid(world, by=ADMIN, chat=GROUP))
    draft = await drafted(world, f"/refund {ref}", by=ADMIN, chat=GROUP)
    await world.control("stripe", "down", {"down": True})
    world.tap(draft, "Refund", by=ADMIN)
    await in_time(world, lambda: rows(world, "SELECT 1 FROM refunds WHERE last_error IS NOT NULL"))
    await dismiss(world, ADMIN)
    await world.control("stripe", "down", {"down": False})
    await in_time(world, lambda: [one for one in texts(world, GROUP) if "was not refunded" in one])
    assert "no longer allowed to" in await told(world, "was not refunded", GROUP)
    assert refunds(world) == []


# What Stripe makes of it


async def test_pending_refund_is_announced_as_pending_then_as_done(world: World) -> None:
    await fate(world, "pending", pending_reason="insufficient_funds")
    ref = ref_of(await paid(world))
    await refunded(world, f"/refund {ref}")
    assert "not enough in your Stripe balance" in await told(world, "has started but is not finished")
    await told(world, "refund not finished yet")
    assert not [one for one in texts(world) if one.startswith("↩️ Refunded:")]
    await move(world, "succeed")
    await told(world, "↩️ Refunded:")
    await rest(world)
    assert len([one for one in texts(world) if "has started but is not finished" in one]) == 1


async def test_a_refund_that_fails_weeks_later_is_told_and_can_be_made_again(world: World) -> None:
    ref = ref_of(await paid(world))
    await refunded(world, f"/refund {ref} 50")
    await told(world, "↩️ Refunded:")
    world.advance(12 * DAY)
    await move(world, "fail", failure_reason="expired_or_canceled_card")
    said = await told(world, "The customer has not received the money")
    assert "the card has expired or was cancelled" in said
    assert "DKK 125.00 can be refunded" in said
    await rest(world)
    assert rows(world, "SELECT amount_refunded, amount_refund_pending FROM payments")[0] == {
        "amount_refunded": 0,
        "amount_refund_pending": 0,
    }
    await refunded(world, f"/refund {ref}")
    await rest(world)
    assert back(world) == [(5000, "failed"), (12500, "succeeded")]


async def test_failure_is_found_without_any_event(world: World) -> None:
    ref = ref_of(await paid(world))
    await refunded(world, f"/refund {ref} 50")
    await told(world, "↩️ Refunded:")
    await webhooks(world, "lose")
    await move(world, "fail")
    await pass_time(world, DAY + 60)
    await told(world, "The customer has not received the money")


async def test_insufficient_balance_can_be_retried_for_ten_minutes(world: World) -> None:
    ref = ref_of(await paid(world))
    await world.control("stripe", "balance", {"available": 0, "refuse": True})
    await refunded(world, f"/refund {ref}")
    short = await world.card("Stripe did not refund")
    await world.control("stripe", "balance", {"available": None})
    await rest(world)
    assert refunds(world) == []
    await world.answer(world.tap(short, "Try again"))
    await told(world, "↩️ Refunded:")
    assert back(world) == [(12500, "succeeded")]
    assert len({request.idempotency_key for request in asked(world)}) == 2


async def test_insufficient_balance_ends_after_ten_minutes(world: World) -> None:
    ref = ref_of(await paid(world))
    await world.control("stripe", "balance", {"available": 0, "refuse": True})
    await refunded(world, f"/refund {ref}")
    short = await world.card("Stripe did not refund")
    await pass_time(world, 660)
    assert "not enough in your Stripe balance in time" in await told(world, "was not refunded")
    assert "already been decided" in await alerted(world, world.tap(short, "Try again"))
    await world.control("stripe", "balance", {"available": None})
    await refunded(world, f"/refund {ref}")
    await rest(world)
    assert back(world) == [(12500, "succeeded")]


async def test_dashboard_refund_appears_on_the_payment_message(world: World) -> None:
    ref = ref_of(await paid(world))
    await world.control("stripe", f"intents/{world.intent()['id']}/refund", {"amount": 3000})
    assert "Dashboard" in await told(world, "↩️ Refunded:")
    await told(world, "Partly refunded")
    assert "At most DKK 95.00" in (await refused(world, f"/refund {ref} 100")).replace("\u00a0", " ")


async def test_a_race_with_the_dashboard_ends_in_what_stripe_has(world: World) -> None:
    ref = ref_of(await paid(world))
    draft = await drafted(world, f"/refund {ref}")
    await webhooks(world, "lose")
    await world.control("stripe", f"intents/{world.intent()['id']}/refund", {"amount": 12500})
    await world.answer(world.tap(draft, "Refund"))
    assert "already been refunded" in await told(world, "was not refunded")
    await rest(world)
    assert back(world) == [(12500, "succeeded")]
    assert rows(world, "SELECT amount_refunded, amount_refund_pending FROM payments")[0] == {
        "amount_refunded": 12500,
        "amount_refund_pending": 0,
    }


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("how", ["drop", "500", "429"])
async def test_any_single_fault_refunds_once(world: World, how: str, when: str) -> None:
    ref = ref_of(await paid(world))
    draft = await drafted(world, f"/refund {ref} 40")
    await fault(world, "refund", how, when, times=4)
    world.tap(draft, "Refund")
    await in_time(world, lambda: [one for one in texts(world) if one.startswith("↩️ Refunded:")])
    await rest(world)
    assert back(world) == [(4000, "succeeded")]
    assert len([one for one in texts(world) if one.startswith("↩️ Refunded:")]) == 1


async def test_status_lists_the_refund_in_its_history(world: World) -> None:
    ref = ref_of(await paid(world))
    await refunded(world, f"/refund {ref} 40")
    await told(world, "↩️ Refunded:")
    said = (await refused(world, f"/status {ref}")).replace("\u00a0", " ")
    assert "Refund of DKK 40.00 prepared" in said
    assert "Refunded DKK 40.00" in said


def _id(world: World) -> str:
    return str(rows(world, "SELECT id FROM refunds")[0]["id"])


async def test_requester_promoted_to_admin_cannot_approve_own_request(world: World) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
    world.say(f"/refund {ref}", by=MERCHANT, chat=GROUP)
    asks = await world.card("asks to refund", chat=GROUP)
    await promote(world, MERCHANT)
    assert "another admin" in await alerted(world, world.tap(asks, "Refund", by=MERCHANT))
    await rest(world)
    assert asked(world) == []


async def test_trying_again_does_not_make_the_ten_minutes_longer(world: World) -> None:
    ref = ref_of(await paid(world))
    await world.control("stripe", "balance", {"available": 0, "refuse": True})
    await refunded(world, f"/refund {ref}")
    short = await world.card("Stripe did not refund")
    assert "valid until 13:10" in short["text"]
    world.advance(540)
    await world.answer(world.tap(short, "Try again"))
    await world.until(lambda: len([one for one in texts(world) if "valid until 13:10" in one]) == 1)
    await pass_time(world, 70)
    await told(world, "was not refunded")
    assert refunds(world) == []


async def test_second_request_waits_for_the_end_of_the_first(world: World) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
    world.say(f"/refund {ref} 10", by=MERCHANT, chat=GROUP)
    asks = await world.card("asks to refund", chat=GROUP)
    answer = plain(await refused(world, f"/refund {ref} 20", by=MERCHANT, chat=GROUP))
    assert "already asked to refund DKK 10.00 of" in answer
    await world.answer(world.tap(asks, "Don't refund", by=MERCHANT))
    await told(world, "declined", GROUP)
    world.say(f"/refund {ref} 20", by=MERCHANT, chat=GROUP)
    await world.until(lambda: [one for one in texts(world, GROUP) if "asks to refund DKK 20.00" in one])


def plain(said: str) -> str:
    return said.replace("\u00a0", " ")
